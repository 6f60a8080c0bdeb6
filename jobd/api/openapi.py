"""The OpenAPI 3.1 document, made from the table of routes and the models."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from jobd import __version__
from jobd.api import wire
from jobd.api.routes import RUN_TIME, WISH, Parameter, Route
from jobd.units import MEMORY_FORM, RUN_TIME_FORM
from jobd.verbs.request import JobRequest

Json = dict[str, Any]

_REFERENCE = "#/components/schemas/{model}"
_ONE_OR_MORE = ("/jobs/v2", "/notifications/v2")
"""Where an array is answered by an array."""
_TYPES = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
_SHAPING = (
    Parameter("naked", {"type": "boolean"}, "the result alone, without its envelope"),
    Parameter("pretty", {"type": "boolean"}, "indented"),
    Parameter("filter", {"type": "string"}, "dotted paths of the result to keep, with commas between them"),
)
_PLAIN = r"^[^\u0000]*$"
_WISH: Json = {
    "type": "object",
    "properties": dict(WISH),
    "required": ["event"],
    "additionalProperties": False,
}
_ON_THE_WIRE: Json = {
    "name": {"type": "string", "pattern": r"^[^\u0000]*\S[^\u0000]*$", "maxLength": 64},
    "command": {
        "type": "array",
        "minItems": 1,
        "prefixItems": [{"type": "string", "pattern": r"^[^\u0000]+$"}],
        "items": {"type": "string", "pattern": _PLAIN},
    },
    "maxRunTime": {"type": "string", "pattern": RUN_TIME, "description": RUN_TIME_FORM},
    "memoryPerNode": {
        "description": MEMORY_FORM,
        "anyOf": [
            {"type": "number", "exclusiveMinimum": 0, "maximum": 2**32},
            {"type": "string", "pattern": r"^[1-9][0-9]{0,5}[KMGT]B?$"},
        ],
    },
    "directory": {"type": ["string", "null"], "pattern": r"^/[^\u0000]*$"},
    "stdin": {"type": ["string", "null"], "minLength": 1, "pattern": _PLAIN},
    "umask": {"type": ["string", "null"], "pattern": "^0?[0-7]{3}$"},
    "environment": {
        "type": ["object", "null"],
        "propertyNames": {"pattern": r"^[^=\u0000]+$"},
        "additionalProperties": {"type": "string", "pattern": _PLAIN},
    },
    "archivePath": {"type": ["string", "null"], "pattern": _PLAIN},
    "notifications": {
        "anyOf": [
            {"type": "array", "maxItems": 100, "items": _WISH},
            _WISH,
            {"type": ["string", "null"], "description": "an address that is told of the end"},
        ]
    },
    "callbackUrl": {"type": ["string", "null"], "description": "an address that is told of the end"},
}
"""Fields of a request of which the model knows only what they are read into."""


def document(routes: Iterable[Route]) -> Json:
    routes = tuple(routes)
    paths: Json = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jobd",
            "version": __version__,
            "description": "Runs people's jobs. Over a Unix socket; the kernel says who is calling.",
        },
        "servers": [{"url": "http://localhost"}],
        "paths": paths,
        "components": {"schemas": _schemas(routes)},
    }


def _operation(route: Route) -> Json:
    operation: Json = {
        "summary": route.summary,
        "operationId": _name(route),
        "parameters": [*_in_path(route), *(_parameter(one) for one in _parameters(route))],
        "responses": {
            **{str(code): _response(route, words) for code, words in route.codes.items()},
            "default": {"description": "what went wrong", "content": _json(_ref(wire.Error))},
        },
    }
    if route.body is not None:
        content = {kind: {"schema": route.body} for kind in _TYPES}
        operation["requestBody"] = {"required": route.body_required, "content": content}
    return operation


def _name(route: Route) -> str:
    words = re.findall(r"[a-zA-Z]+", route.path.replace("/v2", ""))
    return "_".join([route.method.lower(), *words])


def _parameters(route: Route) -> tuple[Parameter, ...]:
    return route.parameters if route.stream else (*route.parameters, *_SHAPING)


def _in_path(route: Route) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]


def _parameter(one: Parameter) -> Json:
    described = {"description": one.description} if one.description else {}
    return {"name": one.name, "in": one.place, "schema": dict(one.schema), **described}


def _response(route: Route, words: str) -> Json:
    if route.stream:
        return {"description": words, "content": {"*/*" if "media" in route.path else route.stream: {}}}
    return {"description": words, "content": _json(_wrapped(route))}


def _wrapped(route: Route) -> Json:
    """The envelope, or the result alone for who asked for it naked."""
    assert route.result is not None
    result = _ref(route.result)
    several = {"type": "array", "items": result}
    shapes = [several] if route.many else [result, several] if route.path in _ONE_OR_MORE else [result]
    shapes += [_ref(route.also)] if route.also else []
    envelopes = [{"allOf": [_ref(wire.Envelope)], "properties": {"result": shape}} for shape in shapes]
    return {"anyOf": [*envelopes, *shapes]}


def _ref(model: type[Any]) -> Json:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _schemas(routes: Iterable[Route]) -> Json:
    results = {model for route in routes for model in (route.result, route.also) if model}
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (wire.Error, "serialization"),
        *((model, "serialization") for model in sorted(results, key=lambda model: model.__name__)),
        (JobRequest, "validation"),
    ]
    _, made = models_json_schema(models, ref_template=_REFERENCE)
    schemas: Json = made["$defs"]
    for model in results:
        schemas[model.__name__].pop("required", None)  # `filter` can leave out any field
    schemas["JobRequest"]["properties"].update(_ON_THE_WIRE)
    schemas["JobRequest"]["required"] = ["name"]
    schemas["Envelope"] = _envelope()
    return schemas


def _envelope() -> Json:
    return {
        "type": "object",
        "required": ["status", "message", "version"],
        "properties": {
            "status": {"const": "success"},
            "message": {"type": ["string", "null"]},
            "version": {"type": "string"},
            "result": {},
        },
        "additionalProperties": False,
    }
