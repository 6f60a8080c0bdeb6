"""What an app is: a program with declared inputs and parameters, and what its jobs get unless they say
otherwise.

    command       one line, split into arguments once, here, as a shell would split it; or the list of them.
                  ${..} stands for an input, a parameter or a fact of the job (template.py)
    templatePath  instead: a script, run as it is; its values reach it as variables and arguments

Relative paths and ${JOBD_APP_PATH} count from `deploymentPath`, which is where the app's file is unless it
says otherwise. An app is told from its revisions before by the digest of all that it says and of those of
its own files that it names.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, ValidationError, model_validator

from jobd import model, units
from jobd.apps import template
from jobd.apps.fields import Declared, Input, Parameter, Truth
from jobd.errors import Fault, Invalid
from jobd.model import Count, Model, Name, Wrong, pattern

COMMAND = "command-1.0"
"""The built-in app that a plain command is kept as, so that links and resubmission take one path."""
_MOST_PROCESSORS = 1_000_000


def _words(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError as error:
        raise Wrong(f"it cannot be split into arguments: {str(error).lower()}", "quotes that close") from None


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _memory(value: object) -> object:
    return value if value is None else units.parse_memory(value)


def _run_time(value: object) -> object:
    return value if value is None else units.parse_run_time(value)


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise Wrong(f"{value!r} is not absolute", "a path that starts with /")
    return os.path.normpath(value)


def _beneath(value: str) -> str:
    if value.startswith("/") or ".." in value.split("/"):
        raise Wrong(f"{value!r} is not beneath deploymentPath", "a relative path without ..")
    return os.path.normpath(value)


def _as_size(value: int | None) -> str | None:
    return None if value is None else f"{value}B"


def _as_run_time(value: int | None) -> str | None:
    return None if value is None else units.format_run_time(value)


Size = Annotated[Count, Field(le=_MOST_PROCESSORS)]


class App(Model):
    name: Name
    version: Annotated[str, pattern(r"[0-9A-Za-z][0-9A-Za-z._+-]{0,31}", "such as 1.0 or 0.1.2")]
    label: str = ""
    short_description: str = ""
    long_description: str = ""
    help_uri: str = Field(default="", alias="helpURI")
    tags: tuple[str, ...] = ()
    available: Truth = True
    """False: no new jobs."""
    execution_type: Literal["CLI", "HPC"] | None = None
    parallelism: Literal["SERIAL", "PARALLEL", "PTHREAD"] | None = None
    """These two are for people and Agave's clients: where a job goes and what it gets is said below."""
    execution_systems: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = ()
    """Where it runs, the first being its default; none: wherever the daemon has a system."""
    command: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    template_path: Annotated[str, AfterValidator(_beneath)] | None = None
    deployment_path: Annotated[str, AfterValidator(_absolute)] | None = None
    default_queue: str | None = None
    default_node_count: Size | None = None
    default_processors_per_node: Size | None = None
    default_memory_per_node: Annotated[
        int | None, BeforeValidator(_memory), PlainSerializer(_as_size, when_used="json")
    ] = None
    """Bytes inside; written as a number of GB, or a size with its unit."""
    default_max_run_time: Annotated[
        int | None, BeforeValidator(_run_time), PlainSerializer(_as_run_time, when_used="json")
    ] = None
    """Seconds inside; written as HH:MM:SS."""
    archive: Truth = True
    """Of jobs that do not say."""
    inputs: tuple[Input, ...] = ()
    parameters: tuple[Parameter, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.name}-{self.version}"

    def fields(self) -> tuple[Declared, ...]:
        """Inputs, then parameters, each in their order."""
        return (*self.in_order(self.inputs), *self.in_order(self.parameters))

    @staticmethod
    def in_order(fields: tuple[Any, ...]) -> list[Any]:
        return sorted(fields, key=lambda field: field.value.order)

    def files(self) -> list[str]:
        """Its own files that what it runs names, relative to `deploymentPath`."""
        if self.template_path:
            return [self.template_path]
        start = f"${{{template.APP_PATH}}}/"
        named = (word.removeprefix(start) for word in self.command if word.startswith(start))
        return [os.path.normpath(path) for path in named if "$" not in path and ".." not in path.split("/")]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        self._check_what_runs()
        self._check_ids()
        self._check_macros()
        return self

    def _check_what_runs(self) -> None:
        if bool(self.command) == bool(self.template_path):
            problem = "command and templatePath are both given" if self.command else "there is nothing to run"
            raise Wrong(problem, "command or templatePath", "command")
        if not self.deployment_path and (self.template_path or self.files()):
            raise Wrong("it names files of its own", "the directory that they are in", "deploymentPath")
        if len(self.id) > 64:
            raise Wrong(f"{self.id} is longer than 64 characters", "a shorter name", "name")

    def _check_ids(self) -> None:
        seen: set[str] = set()
        for part, fields in (("inputs", self.inputs), ("parameters", self.parameters)):
            for place, field in enumerate(fields):
                if field.id in seen:
                    raise Wrong(f"there is another {field.id!r}", "an id of its own", part, place, "id")
                seen.add(field.id)

    def _check_macros(self) -> None:
        known = {field.id for field in self.fields()} | template.FACTS
        for place, word in enumerate(self.command):
            for name in template.macros(word):
                if name not in known:
                    raise Wrong(f"${{{name}}} means nothing here", ", ".join(sorted(known)), "command", place)


BUILT_IN = App.model_validate(
    {
        "name": "command",
        "version": "1.0",
        "label": "A plain command",
        "shortDescription": "What a job is that names no app: its `command` runs as it is.",
        "command": ["${command}"],
        "archive": False,
        "parameters": [
            {"id": "command", "value": {"required": True}, "semantics": {"maxCardinality": -1}},
        ],
    }
)
_SYNONYMS = {"executionSystem": "executionSystems"}
_OF_DAEMONS = frozenset({"id", "revision", "digest", "isPublic", "owner", "uuid", "lastModified", "_links"})
"""What a reply tells of an app, and who sends one back does not have to take out; nor what is null there."""


def read(value: object, fault: model.ToFault) -> App:
    """An app from plain data. Raises Invalid with every fault, each made by `fault`."""
    if not isinstance(value, dict):
        raise Invalid(fault((), "this is not an app", "a mapping with name, version, command .."))
    said = {
        _SYNONYMS.get(key, key): inner
        for key, inner in value.items()
        if inner is not None and key not in _OF_DAEMONS
    }
    try:
        app = App.model_validate(said, by_alias=True, by_name=False)
    except ValidationError as error:
        raise Invalid(*model.faults(error, fault, App)) from None
    if value.get("id", app.id) != app.id:
        raise Invalid(fault(("id",), f"{units.shown(value['id'])} is not name-version", app.id))
    if app.id == COMMAND:
        raise Invalid(fault(("name",), f"{COMMAND} is jobd's own", "another name or version"))
    return app


def dotted(path: model.Path, problem: str, expected: str) -> Fault:
    """For what did not come in a file."""
    return Fault(".".join(map(str, path)), problem, expected)


def body(app: App, digests: Mapping[str, str]) -> dict[str, Any]:
    """As it is kept: what it says, and the digests of its own files."""
    said = app.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return {**said, "files": dict(digests)} if digests else said


def digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=256)
def of_text(text: str) -> App:
    """The app of a body that was kept, as JSON."""
    said = json.loads(text)
    said.pop("files", None)
    return App.model_validate(said, by_alias=True, by_name=False)


def what_runs(body: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a kept app that says what its jobs execute, apart from their values."""
    app = of_text(json.dumps(body))
    of_fields = {
        field.id: [field.details.model_dump(include=_IN_ARGUMENTS), field.value.order]
        for field in app.fields()
    }
    names = ("command", "templatePath", "deploymentPath", "files")
    return {**{name: body.get(name) for name in names}, "fields": of_fields}


_IN_ARGUMENTS = {"argument", "show_argument", "repeat_argument"}
