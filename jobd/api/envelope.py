"""What every answer is wrapped in, and how a caller shapes it.

    {"status": "success" | "error", "message": string | null, "version": string, "result": ..}

`result` is absent where there is none. `naked=true` gives the result alone, `pretty=true` indents it,
`filter=a,b.c` keeps those fields of it (`*` keeps all). Errors are never naked: who gets one needs its
message. Values are plain JSON already and are turned into text once; nothing is validated on the way out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from jobd import __version__
from jobd.errors import Fault, Invalid, JobdError, TooMany, Unavailable

NOTHING: Any = object()
"""The result of an answer that has none."""

_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_PRETTY = json.JSONEncoder(ensure_ascii=False, indent=2)
_ASCII = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))
_HEADERS = {"Content-Type": "application/json", "Server": f"jobd/{__version__}"}

_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Answer:
    """What a handler has to say."""

    result: Any = NOTHING
    status: int = 200
    message: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shape:
    """How the caller wants it."""

    naked: bool = False
    pretty: bool = False
    paths: tuple[tuple[str, ...], ...] = ()
    """Of `filter`; empty: everything."""


PLAIN = Shape()


def flag(value: object, name: str) -> bool:
    """A truth value as bodies and queries have it: true, "true", 1, "1" mean the same. Raises Invalid."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    if word not in _FLAGS:
        raise Invalid(Fault(name, f"{value!r:.100} is not right", "true or false"))
    return _FLAGS[word]


def shape(query: Mapping[str, str]) -> Shape:
    """Raises Invalid."""
    if not query:
        return PLAIN
    wanted = [path.strip() for path in query.get("filter", "").split(",")]
    paths = tuple(tuple(path.split(".")) for path in wanted if path and path != "*")
    return Shape(
        flag(query.get("naked", False), "naked"),
        flag(query.get("pretty", False), "pretty"),
        () if "*" in wanted else paths,
    )


def kept(result: Any, paths: Sequence[Sequence[str]]) -> Any:
    """The parts of a result, or of each of its items, that the dotted paths name, where they are there."""
    if isinstance(result, list):
        return [kept(item, paths) for item in result]
    if not isinstance(result, dict):
        return result
    inner: dict[str, list[Sequence[str]]] = {}
    for first, *rest in paths:
        if first in result:
            inner.setdefault(first, []).append(rest)
    return {
        name: result[name] if [] in deeper else kept(result[name], deeper) for name, deeper in inner.items()
    }


def text(value: Any, pretty: bool = False) -> bytes:
    """As JSON. What a program was started with need not be Unicode, so some of it may only go as escapes."""
    try:
        encoder = _PRETTY if pretty else _COMPACT
        return encoder.encode(value).encode() + (b"\n" if pretty else b"")
    except UnicodeEncodeError:
        return _ASCII.encode(value).encode()


def wrapped(status: str, message: str | None, result: Any) -> dict[str, Any]:
    envelope: dict[str, Any] = {"status": status, "message": message, "version": __version__}
    if result is not NOTHING:
        envelope["result"] = result
    return envelope


def response(answer: Answer, wanted: Shape = PLAIN) -> web.Response:
    result = answer.result
    if wanted.paths and result is not NOTHING:
        result = kept(result, wanted.paths)
    if wanted.naked:
        body = {} if result is NOTHING else result
    else:
        body = wrapped("success", answer.message, result)
    headers = {**_HEADERS, **answer.headers} if answer.headers else _HEADERS
    return web.Response(status=answer.status, body=text(body, wanted.pretty), headers=headers)


def error(failure: JobdError, pretty: bool = False, headers: Mapping[str, str] | None = None) -> web.Response:
    result: Any = NOTHING
    if isinstance(failure, Invalid):
        result = {"errors": [fault.as_dict() for fault in failure.faults]}
    if failure.conflicts:
        result = {**(result if result is not NOTHING else {"errors": []}), "conflicts": failure.conflicts}
    more = dict(headers or {})
    if isinstance(failure, Unavailable | TooMany):
        more["Retry-After"] = str(max(1, math.ceil(failure.retry_after)))
    body = text(wrapped("error", str(failure), result), pretty)
    return web.Response(status=failure.code, body=body, headers={**_HEADERS, **more})
