"""What a submission says to an app, checked: every fault of every field at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobd.apps.app import App
from jobd.apps.fields import Declared, Scalar, listed, single
from jobd.errors import Fault
from jobd.units import BadUnit, shown

Given = Mapping[str, Any]


@dataclass(frozen=True)
class Values:
    """What a job runs with, defaults and hidden ones included; a field without a value is absent."""

    inputs: dict[str, tuple[str, ...]]
    parameters: dict[str, tuple[Scalar, ...]]

    def as_inputs(self) -> dict[str, list[str]]:
        return {field: list(values) for field, values in self.inputs.items()}

    def as_parameters(self, app: App) -> dict[str, Any]:
        fields = {field.id: field for field in app.parameters}
        return {field: single(fields[field], values) for field, values in self.parameters.items()}


def checked(app: App, inputs: Given, parameters: Given, at: str = "") -> tuple[Values, list[Fault]]:
    """The values, and what is wrong with them. `at` goes before the fields' names."""
    faults: list[Fault] = []
    found_inputs = _part(app.in_order(app.inputs), inputs, f"{at}inputs.", faults)
    found_parameters = _part(app.in_order(app.parameters), parameters, f"{at}parameters.", faults)
    return Values(found_inputs, found_parameters), faults


def _part(fields: Sequence[Declared], given: Given, at: str, faults: list[Fault]) -> dict[str, Any]:
    faults += _unknown([field.id for field in fields], given, at)
    found: dict[str, Any] = {}
    for field in fields:
        try:
            values = value(field, listed(given.get(field.id)))
        except BadUnit as wrong:
            faults.append(Fault(f"{at}{field.id}", wrong.problem, wrong.expected))
        else:
            if values:
                found[field.id] = values
    return found


def value(field: Declared, given: Sequence[object]) -> tuple[Scalar, ...]:
    """A field's values where these were given. Raises BadUnit."""
    if given and not field.value.visible:
        raise BadUnit("this is not for you to set", f"nothing: the app uses {words(field.default)}")
    if not given and (field.default or not field.least):
        return field.default
    return field.taken(given)


def words(values: Sequence[object]) -> str:
    """Values as they are shown to people."""
    return ", ".join(map(shown, values)) or "nothing"


def _unknown(known: Sequence[str], given: Given, at: str) -> Iterator[Fault]:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            expected = f"{near[0]}?" if near else ", ".join(known) or "none: the app has none"
            yield Fault(f"{at}{name:.100}", "the app has no such field", expected)
