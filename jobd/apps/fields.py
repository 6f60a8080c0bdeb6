"""An app's inputs and parameters, declared in Agave's words, and whether a value is one that they take.

A value is text, a number or a truth value; `normal` gives it the one form in which it is kept and compared,
`text` that in which a program gets it. The checks of one field come in Agave's order, and the first that
fails is told: visible, required, minCardinality, maxCardinality, validator or type.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from jobd import regex, units
from jobd.model import Model, Whole, Wrong, pattern

MOST_VALUES = 10_000
_HALF_PAIR = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_NUMBER = re.compile(r"[-+]?(\d{1,300}(\.\d{0,300})?|\.\d{1,300})([eE][-+]?\d{1,3})?", re.ASCII)
_WORDS = {"true": True, "1": True, "false": False, "0": False}

Scalar = str | int | float | bool
Truth = Annotated[bool, Field(strict=True)]


def _listed(value: object) -> object:
    """One value is a list of it; none is an empty list."""
    if value is None or value == "":
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _compiled(value: object) -> object:
    if not isinstance(value, str) or not value:
        return value or None
    try:
        regex.validator(value)
    except ValueError as error:
        raise Wrong(f"not a pattern that can be taken: {error}", "a regular expression") from None
    return value


def _choices(value: object) -> object:
    """Agave has each choice as a text, or as {text: label}."""
    if not isinstance(value, list):
        return value
    labelled: dict[str, str] = {}
    for place, choice in enumerate(value):
        pairs = choice.items() if isinstance(choice, dict) else [(choice, choice)]
        for word, label in pairs:
            if isinstance(word, bool) or not isinstance(word, str | int | float):
                raise Wrong(f"{units.shown(choice)} will not do", "text, or {text: label}", place)
            labelled[text(word)] = str(label)
    return labelled


FieldId = Annotated[
    str,
    pattern(
        r"(?=.*[a-z])[A-Za-z_][A-Za-z0-9_]{0,63}",
        "a name of up to 64 letters, digits and '_', not in capitals alone: scripts find it as a variable",
    ),
]


class Details(Model):
    label: str = ""
    description: str = ""
    argument: str | None = None
    """What goes before the value: a word of its own, or the same word where it ends with `=`."""
    show_argument: Truth = False
    repeat_argument: Truth = False
    """Before each of several values, not only before the first."""


class Semantics(Model):
    min_cardinality: Annotated[Whole, Field(ge=0)] | None = None
    """None: 1 for what is required, else 0."""
    max_cardinality: Annotated[Whole, Field(ge=-1)] = 1
    """-1: no limit."""
    ontology: tuple[str, ...] = ()
    file_types: tuple[str, ...] = ()


class _Value(Model):
    default: Annotated[tuple[Any, ...], BeforeValidator(_listed)] = ()
    order: Whole = 0
    required: Truth = False
    visible: Truth = True
    """False: nobody may set it, and its default is what the app runs with."""
    validator: Annotated[str | None, BeforeValidator(_compiled)] = None
    """A regular expression for the whole of each value."""
    enquote: Truth = False
    """Agave's protection of a value that holds spaces. Here each value is one argument in any case."""

    @model_validator(mode="before")
    @classmethod
    def _hidden_is_required(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("visible") is False:
            if value.get("required") is False:
                raise Wrong("what is not visible is always used", "true, or nothing", "required")
            return {**value, "required": True}
        return value

    @model_validator(mode="after")
    def _hidden_has_default(self) -> Self:
        if not self.visible and not self.default:
            raise Wrong("what is not visible needs a default", "a default", "default")
        return self


class InputValue(_Value):
    in_place: Truth = False
    """Not copied, only linked to: for what is huge."""


class ParameterValue(_Value):
    type: Literal["string", "number", "enumeration", "bool", "flag"] = "string"
    enum_values: Annotated[Mapping[str, str], BeforeValidator(_choices)] = Field(default_factory=dict)
    """Of an enumeration: each value and its label."""

    @model_validator(mode="after")
    def _of_its_type(self) -> Self:
        if (self.type == "enumeration") != bool(self.enum_values):
            expected = "a list of values" if self.type == "enumeration" else "none: only an enumeration has"
            raise Wrong(f"its type is {self.type}", expected, "enumValues")
        return self


class _Declared(Model):
    """What inputs and parameters have in common."""

    id: FieldId
    details: Details = Details()
    semantics: Semantics = Semantics()
    value: _Value = _Value()
    _default: tuple[Scalar, ...] = PrivateAttr(())

    @property
    def least(self) -> int:
        said = self.semantics.min_cardinality
        return max(said or 0, 1) if self.value.required else said or 0

    @property
    def most(self) -> int | None:
        return None if self.semantics.max_cardinality == -1 else self.semantics.max_cardinality

    @property
    def default(self) -> tuple[Scalar, ...]:
        return self._default

    @model_validator(mode="after")
    def _default_is_taken(self) -> Self:
        if self.most is not None and self.most < max(self.least, 1):
            raise Wrong(f"{self.most} is too few", "at least minCardinality", "semantics", "maxCardinality")
        if self.value.default:
            try:
                self._default = self.taken(self.value.default)
            except units.BadUnit as wrong:
                raise Wrong(wrong.problem, wrong.expected, "value", "default") from None
        return self

    def taken(self, values: Sequence[object]) -> tuple[Scalar, ...]:
        """These values in their normal form. Raises BadUnit: how many there are, then what they are."""
        if len(values) < self.least:
            if not values:
                raise units.BadUnit("this is missing", self.wanted())
            raise units.BadUnit(f"{_count(values)} too few", f"at least {self.least}")
        most = MOST_VALUES if self.most is None else self.most
        if len(values) > most:
            raise units.BadUnit(f"{_count(values)} too many", f"at most {most}")
        return tuple(self.normal(value) for value in values)

    def normal(self, value: object) -> Scalar:
        """Raises BadUnit."""
        raise NotImplementedError

    def wanted(self) -> str:
        """In words, for who left it out."""
        return self.details.label or "a value"

    def _valid(self, word: str) -> None:
        if self.value.validator and not regex.validator(self.value.validator)(word):
            raise units.BadUnit(f"{units.shown(word)} will not do", f"what matches {self.value.validator}")


def _count(values: Sequence[object]) -> str:
    return f"{len(values)} value{'' if len(values) == 1 else 's'} are" if len(values) != 1 else "1 value is"


class Input(_Declared):
    value: InputValue = InputValue()

    def normal(self, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise units.BadUnit(f"{units.shown(value)} is not a file", "a path or a URI, as text")
        source = plain(value)
        self._valid(source)
        return source

    def wanted(self) -> str:
        return self.details.label or "a path or a URI"


class Parameter(_Declared):
    value: ParameterValue = ParameterValue()

    @model_validator(mode="after")
    def _flag_has_argument(self) -> Self:
        if self.value.type == "flag" and not self.details.argument:
            raise Wrong("a flag is given by its argument", "the argument", "details", "argument")
        return self

    def normal(self, value: object) -> Scalar:
        if self.value.type in ("bool", "flag"):
            return truth(value)
        found: Scalar = number(value) if self.value.type == "number" else _word(value)
        if self.value.enum_values and found not in self.value.enum_values:
            raise units.BadUnit(f"{units.shown(value)} will not do", f"one of {self.wanted()}")
        self._valid(text(found))
        return found

    def wanted(self) -> str:
        return ", ".join(self.value.enum_values) or self.details.label or f"a {self.value.type}"


def truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    if word not in _WORDS:
        raise units.BadUnit(f"{units.shown(value)} will not do", "true or false")
    return _WORDS[word]


def number(value: object) -> int | float:
    """From text too, as forms and command lines have it."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        digits = value.strip()
        value = int(digits) if digits.lstrip("+-").isdecimal() else float(digits)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise units.BadUnit(f"{units.shown(value)} will not do", "a number")
    return value


def _word(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise units.BadUnit(f"{units.shown(value)} will not do", "text")
    return plain(text(value))


def plain(value: str) -> str:
    """Text that a program can be given: U+DC80 to U+DCFF stand for bytes that are not UTF-8, as in Python."""
    if "\0" in value:
        raise units.BadUnit("it holds a NUL character", "text without one")
    if not value.isascii() and _HALF_PAIR.search(value):
        raise units.BadUnit("it holds half of a surrogate pair", "Unicode text")
    return value


def text(value: Scalar) -> str:
    """As a program gets it."""
    return value if isinstance(value, str) else json.dumps(value)


def listed(value: object) -> tuple[object, ...]:
    """A submitted value, or an old job's, as its values: null, "" and [] say that there is none."""
    found = _listed(value)
    assert isinstance(found, tuple)
    return found


def single(field: _Declared, values: Iterable[Scalar]) -> Any:
    """A field's values as they are shown: one where there can be only one."""
    found = list(values)
    return found[0] if field.most == 1 and found else found


Declared = Input | Parameter
