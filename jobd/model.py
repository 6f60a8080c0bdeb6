"""What comes in files, as models of pydantic's, and what is wrong with it in words: shared by the
configuration and the apps.

Keys are camelCase, as on the wire; one that a model does not know is a fault, with what may have been meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from jobd import units
from jobd.errors import Fault

Path = tuple[str | int, ...]
ToFault = Callable[[Path, str, str], Fault]
"""Makes a fault of the path to a value, what is wrong, and what would be right."""


class Wrong(units.BadUnit):
    """A fault that belongs to something inside the value that was being checked: `at` leads to it."""

    def __init__(self, problem: str, expected: str, *at: str | int) -> None:
        super().__init__(problem, expected)
        self.at = at


class Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


def pattern(pattern: str, expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise Wrong(f"{units.shown(value)} will not do", expected)
        return value

    return AfterValidator(check)


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise Wrong(f"{units.shown(value)} will not do", "a whole number")
    return value


Whole = Annotated[int, BeforeValidator(_number)]
Count = Annotated[Whole, Field(ge=1)]
Name = Annotated[
    str,
    pattern(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
        "1 to 64 letters, digits, '.', '_' and '-', a letter or digit first",
    ),
]


def faults(
    error: ValidationError, fault: ToFault, root: type[Model], derived: Collection[str] = ()
) -> Iterator[Fault]:
    """Everything that is wrong, in words. `derived`: fields that nobody may write."""
    for details in error.errors(include_url=False):
        if _of_its_own(details):
            yield _in_words(details, fault, lambda path: _options(path, root) - set(derived))


def _of_its_own(details: Any) -> bool:
    """Not merely the consequence of another: a default that could not be made, a list emptied of what was
    wrong."""
    emptied = details["type"] == "too_short" and details["input"]
    return details["type"] != "default_factory_not_called" and not emptied


def _in_words(details: Any, fault: ToFault, options: Callable[[Path], set[str]]) -> Fault:
    """One of pydantic's errors as a fault."""
    path = tuple(step for step in details["loc"] if step != "[key]")
    kind, message, value = details["type"], details["msg"], details["input"]
    if kind == "extra_forbidden":
        return fault(path, *_unknown(str(path[-1]), options(path)))
    if kind == "missing":
        return fault(path, "this is missing", "a value")
    if kind == "value_error":
        wrong = details["ctx"]["error"]
        return fault((*path, *getattr(wrong, "at", ())), wrong.problem, wrong.expected)
    expected = _EXPECTED.get(kind.partition("_")[0], message.removeprefix("Input should be "))
    return fault(path, f"{units.shown(value)} will not do", expected)


_EXPECTED = {
    "int": "a whole number",
    "bool": "true or false",
    "string": "text, in quotes if it looks like something else",
    "path": "a path",
    "tuple": "a list",
    "too": "at least one",
    "model": "a mapping (option: value)",
    "mapping": "a mapping (name: value)",
    "dict": "a mapping (name: value)",
}
"""By the first word of pydantic's type of error; where it has none of these its own message says what it
expects."""


def _options(path: Path, root: type[Model]) -> set[str]:
    """The keys that there are beside the last of the path."""
    here = root
    for step in path[:-1]:
        fields = {field.alias: field for field in here.model_fields.values()}
        if step in fields:
            here = next(_models(fields[step].annotation), here)
    return {str(field.alias) for field in here.model_fields.values()}


def _models(annotation: object) -> Iterator[type[Model]]:
    """The models in a type: System in tuple[System, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _unknown(word: str, options: set[str]) -> tuple[str, str]:
    import difflib

    close = difflib.get_close_matches(to_camel(word), options, n=1, cutoff=0.8)
    if close:
        return f"there is no such option; did you mean {close[0]}?", ""
    return "there is no such option", "one of " + ", ".join(sorted(options))
