"""A submission as it comes: its fields, in Agave's words and ours, and what is wrong with them in words.

A model of pydantic's checks all fields at once; `faults` says each fault with its field, what is wrong, and
what would be right. Values of a form come as text, so numbers are read from text too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from jobd import units
from jobd.apps.app import COMMAND
from jobd.apps.fields import plain
from jobd.errors import Fault, Invalid
from jobd.store.notifications import Wanted
from jobd.verbs import notification

_SYNONYMS = {"jobName": "name", "softwareName": "appId", "queue": "batchQueue"}
_THEIR_WORDS = {
    "a valid string": "text (in quotes)",
    "a valid integer": "a whole number",
    "a valid list": "a list",
    "a valid dictionary": "a mapping",
}
_MISSING = {"name": "a name of 1 to 64 characters"}
_MOST_PROCESSORS = 1_000_000


def _utf8(value: str) -> str:
    if not value.isprintable() and any("\ud800" <= character <= "\udfff" for character in value):
        raise units.BadUnit("it is not valid Unicode", "UTF-8 text")
    return plain(value)


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise units.BadUnit(f"{value!r} is not absolute", "a path that starts with /")
    return value


def _octal(value: str) -> str:
    if not re.fullmatch("0?[0-7]{3}", value):
        raise units.BadUnit(f"{value!r} is not a umask", 'three octal digits, for example "077"')
    return value


def _trimmed(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _no_boolean(value: object) -> object:
    """Python would take true for 1."""
    if isinstance(value, bool):
        raise units.BadUnit(f"{units.shown(value)} is not a number", "a whole number")
    return value


def _variables(value: Mapping[str, str]) -> Mapping[str, str]:
    for name in value:
        if not name or "=" in name:
            raise units.BadUnit(f"{name!r} is no variable's name", "a name that is not empty and has no '='")
    return value


def _callback(value: object) -> tuple[Wanted, ...]:
    if not (value is None or isinstance(value, str)):
        raise units.BadUnit(f"{units.shown(value)} is no address", "a text; see notifications for more")
    return notification.when_over(value)


Text = Annotated[str, AfterValidator(plain)]
Whole = Annotated[int, BeforeValidator(_no_boolean)]
Count = Annotated[Whole, Field(ge=1, le=_MOST_PROCESSORS)]


class JobRequest(BaseModel):
    """What POST /jobs/v2 takes. Exactly one of `appId` and `command` is needed."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, frozen=True)

    name: Annotated[str, BeforeValidator(_trimmed), Field(min_length=1, max_length=64), AfterValidator(_utf8)]
    app_id: str | None = None
    command: Annotated[list[Text], Field(min_length=1)] | None = None
    execution_system: str | None = None
    batch_queue: str | None = None
    node_count: Count | None = None
    processors_per_node: Count | None = None
    memory_per_node: Annotated[int, BeforeValidator(units.parse_memory)] | None = None
    """Bytes inside; on the wire a number is GB, or a text with its unit."""
    max_run_time: Annotated[int, BeforeValidator(units.parse_run_time)] | None = None
    """Seconds inside; on the wire HH:MM:SS."""
    gpus: Annotated[Whole, Field(ge=0, le=_MOST_PROCESSORS)] = 0
    priority: Annotated[Whole, Field(ge=-1000, le=1000)] = 0
    directory: Annotated[str, AfterValidator(_utf8), AfterValidator(_absolute)] | None = None
    stdin: Annotated[str, Field(min_length=1), AfterValidator(_utf8)] | None = None
    umask: Annotated[str, AfterValidator(_octal)] | None = None
    """Of the program; None: 022."""
    environment: Annotated[dict[Text, Text], AfterValidator(_variables)] | None = None
    inputs: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None
    """By field of the app: a value, or a list of them (apps/values.py checks them)."""
    notifications: Annotated[Any, BeforeValidator(notification.several)] = ()
    callback_url: Annotated[Any, BeforeValidator(_callback)] = ()
    archive: bool | None = None
    """None: as the app has it; what a plain command leaves stays where it is."""
    archive_system: str | None = None
    archive_path: Annotated[str, AfterValidator(_utf8)] | None = None
    archive_on_app_error: bool = True
    """Also what a job that failed has left."""

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """Who is to be told of what."""
        return (*self.notifications, *self.callback_url)

    @property
    def runs_app(self) -> bool:
        """And not a plain command."""
        return self.app_id not in (None, COMMAND)


def read(body: object, at: str = "") -> JobRequest:
    """Raises Invalid with every fault; `at` goes before the fields' names, for one of several requests."""
    if not isinstance(body, dict):
        raise Invalid(Fault(at.rstrip("."), "this is not a job request", "an object with the job's fields"))
    try:
        request = JobRequest.model_validate(_in_one_word(body, at))
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise Invalid(*(one for details in found for one in _all(details, at))) from None
    _check_what_runs(request, at)
    return request


def _in_one_word(body: dict[str, Any], at: str) -> dict[str, Any]:
    """Agave's synonyms, each as the field that it stands for."""
    for synonym in _SYNONYMS.keys() & body.keys():
        if _SYNONYMS[synonym] in body:
            raise Invalid(Fault(f"{at}{synonym}", f"{_SYNONYMS[synonym]} is given too", "one of the two"))
    return {_SYNONYMS.get(name, name): value for name, value in body.items()}


def _check_what_runs(request: JobRequest, at: str) -> None:
    faults = _of_app(request) if request.runs_app else _of_command(request)
    if faults:
        raise Invalid(*(Fault(f"{at}{fault.field}", fault.problem, fault.expected) for fault in faults))


def _of_app(request: JobRequest) -> list[Fault]:
    faults = []
    if request.command is not None:
        faults.append(Fault("command", f"what runs is the app {request.app_id}", "one of the two"))
    if request.directory is not None:
        faults.append(Fault("directory", "a job of an app runs in a directory of its own", "none"))
    return faults


def _of_command(request: JobRequest) -> list[Fault]:
    """A directory that a person named is only ever entered, so nothing is archived from it."""
    faults = []
    if request.command is None:
        faults.append(Fault("command", "this is missing", 'what to run, as a list: ["python", "run.py"]'))
    elif not request.command[0]:
        faults.append(Fault("command.0", "the program's name is empty", "a program"))
    for field in ("inputs", "parameters"):
        if getattr(request, field):
            faults.append(Fault(field, "a plain command has none", "nothing, or an appId"))
    if request.archive and request.directory is not None:
        faults.append(
            Fault("archive", "outputs in a directory of yours stay there", "false, or no directory")
        )
    return faults


def _all(details: Any, at: str) -> list[Fault]:
    """The faults in one of pydantic's errors: one, but for notifications, which have fields of their own."""
    error = details.get("ctx", {}).get("error")
    if not isinstance(error, notification.Faulty):
        return [_in_words(details, at)]
    return [Fault(f"{at}notifications.{one.field}", one.problem, one.expected) for one in error.faults]


def _in_words(details: Any, at: str) -> Fault:
    """One of pydantic's errors as a fault."""
    field = at + ".".join(str(step) for step in details["loc"] if step != "[key]")
    kind, context = details["type"], details.get("ctx", {})
    match kind:
        case "missing":
            return Fault(field, "this is missing", _MISSING.get(details["loc"][-1], "a value"))
        case "extra_forbidden":
            return Fault(field, "there is no such field", _instead(str(details["loc"][-1])))
        case "value_error" if isinstance(context["error"], units.BadUnit):
            return Fault(field, context["error"].problem, context["error"].expected)
        case "string_too_long" | "too_long":
            return Fault(
                field, f"it has {len(details['input'])} characters", f"at most {context['max_length']}"
            )
        case "string_too_short" | "too_short":
            return Fault(
                field, "it is empty", "at least one" if kind == "too_short" else "at least one character"
            )
    expected = details["msg"].removeprefix("Input should be ").split(", unable")[0]
    for theirs, ours in _THEIR_WORDS.items():
        expected = expected.replace(theirs, ours)
    return Fault(field, f"{units.shown(details['input'])} will not do", expected)


def _instead(name: str) -> str:
    fields = {to_camel(field) for field in JobRequest.model_fields} | _SYNONYMS.keys()
    close = difflib.get_close_matches(to_camel(name), fields, n=1)
    return f"{close[0]}?" if close else "one of " + ", ".join(sorted(fields))
