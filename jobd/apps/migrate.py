"""What becomes of an old job's inputs and parameters under today's app: the conflicts, what a best fit makes
of each, and what cannot be fitted. Pure.

A conflict is any difference between what the job ran with and what it would run with today:

    HIDDEN       a field that nobody may set, whose default is another one now: today's replaces the old
    ADDED        a field that the job did not have, with a default today: the default is put in
    INVALID      a value that is not taken any more (type, range, pattern, choices): the default replaces it;
                 or that another type reads as another value: taken so
    CARDINALITY  too few or too many values now: the default replaces them
    REMOVED      a field that the app has not any more: dropped
    CHANGED      an input of which a source is not as it was: taken as it is now
    VANISHED     an input of which a source is gone: that one is dropped
    APP          the app runs something else with the same values
    PLACE        a system, queue or size that the request left open, and that is another one now

Where the best fit has nothing to put in (no default; a required input is gone) the job cannot be migrated,
however much is ignored. Nothing is matched by similarity, and what the caller sets anew is no conflict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from jobd.apps.app import App
from jobd.apps.fields import Declared, Scalar, listed, single, text
from jobd.apps.values import value as value_of
from jobd.apps.values import words
from jobd.errors import Fault
from jobd.units import BadUnit

Given = Mapping[str, Any]


class Kind(StrEnum):
    HIDDEN = "HIDDEN"
    ADDED = "ADDED"
    INVALID = "INVALID"
    CARDINALITY = "CARDINALITY"
    REMOVED = "REMOVED"
    CHANGED = "CHANGED"
    VANISHED = "VANISHED"
    APP = "APP"
    PLACE = "PLACE"


class State(StrEnum):
    """Of a source, compared with what was staged from it."""

    SAME = "SAME"
    CHANGED = "CHANGED"
    VANISHED = "VANISHED"


INPUTS, PARAMETERS = "ignoreInputConflicts", "ignoreParameterConflicts"
"""Which flag says whether a conflict is ignored."""


@dataclass(frozen=True)
class Conflict:
    field: str
    """Dotted, as in a request: parameters.background."""
    kind: Kind
    flag: str
    was: Any
    now: Any
    problem: str
    """What differs, in words."""
    fit: str
    """What ignoring it does, in words."""

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


Content = Mapping[tuple[str, str], State]
"""By input and source: what has become of it. What is not in it was not looked at."""


@dataclass
class Migration:
    inputs: dict[str, Any]
    parameters: dict[str, Any]
    """As a request has them: what is left to today's defaults is not in there."""
    conflicts: list[Conflict] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    """What cannot be migrated."""


@dataclass(frozen=True)
class Old:
    """What the original asked for, and what it ran with."""

    asked: Given
    ran: Given


@dataclass(frozen=True)
class Fit:
    """A field's values today."""

    values: tuple[Scalar, ...]
    conflict: Conflict | None = None


class Unfit(Exception):
    """The field cannot be migrated."""

    def __init__(self, problem: str, expected: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.expected = expected


def migrate(
    app: App, inputs: Old, parameters: Old, set_inputs: Given, set_parameters: Given, content: Content
) -> Migration:
    """`set_..`: values that the caller gives anew; they are checked with the rest of the new request."""
    into = Migration({}, {})
    into.inputs = _part(app.in_order(app.inputs), inputs, set_inputs, "inputs", content, into)
    into.parameters = _part(app.in_order(app.parameters), parameters, set_parameters, "parameters", {}, into)
    return into


def _part(
    fields: Sequence[Declared], old: Old, anew: Given, part: str, content: Content, into: Migration
) -> dict[str, Any]:
    """One part of the new request."""
    request = {name: value for name, value in old.asked.items() if name in {field.id for field in fields}}
    into.conflicts += _removed(fields, old, part)
    for declared in fields:
        if declared.id in anew:
            continue
        try:
            fit = _fit(declared, listed(old.ran.get(declared.id)), part)
            fit = _with_content(declared, fit, content, into) if part == "inputs" else fit
        except Unfit as unfit:
            into.faults.append(Fault(f"{part}.{declared.id}", unfit.problem, unfit.expected))
        else:
            into.conflicts += [fit.conflict] if fit.conflict else []
            _ask_for(declared, fit.values, request)
    return {**request, **anew}


def _removed(fields: Sequence[Declared], old: Old, part: str) -> list[Conflict]:
    known = {field.id for field in fields}
    return [
        _conflict(
            part, name, Kind.REMOVED, listed(value), (), "the app has no such field any more", "dropped"
        )
        for name, value in old.ran.items()
        if name not in known and listed(value)
    ]


def _fit(declared: Declared, was: tuple[Any, ...], part: str) -> Fit:
    """Raises Unfit."""
    if not declared.value.visible:
        return _hidden(declared, was, part)
    if not was:
        return _absent(declared, part)
    try:
        now = declared.taken(was)
    except BadUnit as wrong:
        return _defaulted(declared, was, part, wrong)
    if same(was, now):
        return Fit(now)
    problem = f"{words(was)} is read as {words(now)} now"
    return Fit(now, _conflict(part, declared.id, Kind.INVALID, was, now, problem, "taken as it is read now"))


def _hidden(declared: Declared, was: tuple[Any, ...], part: str) -> Fit:
    now = declared.default
    if same(was, now):
        return Fit(now)
    problem = (
        f"hidden, it was {words(was)} and is {words(now)} now"
        if was
        else f"hidden, the job did not have it, and it is {words(now)} now"
    )
    fit = "today's default replaces it" if was else "today's default is put in"
    return Fit(now, _conflict(part, declared.id, Kind.HIDDEN, was, now, problem, fit))


def _absent(declared: Declared, part: str) -> Fit:
    now = declared.default
    if not now and declared.least:
        raise Unfit("required now, the job did not have it, and there is no default", declared.wanted())
    if not now:
        return Fit(())
    problem = f"the job did not have it, and its default is {words(now)} now"
    return Fit(now, _conflict(part, declared.id, Kind.ADDED, (), now, problem, "today's default is put in"))


def _defaulted(declared: Declared, was: tuple[Any, ...], part: str, wrong: BadUnit) -> Fit:
    now = declared.default
    if not now:
        raise Unfit(f"{words(was)} will not do any more, and there is no default", wrong.expected)
    many = len(was) < declared.least or (declared.most is not None and len(was) > declared.most)
    kind = Kind.CARDINALITY if many else Kind.INVALID
    problem = f"{words(was)} will not do any more (expected {wrong.expected})"
    return Fit(now, _conflict(part, declared.id, kind, was, now, problem, "today's default replaces it"))


def _with_content(declared: Declared, fit: Fit, content: Content, into: Migration) -> Fit:
    """With what has become of the files themselves."""
    states = {source: content.get((declared.id, str(source)), State.SAME) for source in fit.values}
    changed = tuple(source for source in fit.values if states[source] is State.CHANGED)
    gone = tuple(source for source in fit.values if states[source] is State.VANISHED)
    left = tuple(source for source in fit.values if states[source] is not State.VANISHED)
    if changed:
        problem = f"{words(changed)} is not as it was when the job had it"
        into.conflicts.append(
            _conflict("inputs", declared.id, Kind.CHANGED, changed, changed, problem, "taken as it is now")
        )
    if not gone:
        return fit
    problem, way = f"{words(gone)} is gone", "left out"
    if not left and declared.default:
        left, way = tuple(one for one in declared.default if one not in gone), "today's default replaces it"
    if len(left) < declared.least or (declared.default and not left):
        raise Unfit(problem, "a file that is there")
    into.conflicts.append(_conflict("inputs", declared.id, Kind.VANISHED, fit.values, left, problem, way))
    return replace(fit, values=left)


def _ask_for(declared: Declared, values: tuple[Scalar, ...], request: dict[str, Any]) -> None:
    """Has the request say these values, as it did, or by leaving them to the default."""
    if declared.id in request and _says(declared, request[declared.id], values):
        return
    if same(values, declared.default):
        request.pop(declared.id, None)
    else:
        request[declared.id] = single(declared, values)


def _says(declared: Declared, value: object, values: tuple[Scalar, ...]) -> bool:
    """However it is spelt there, or left to the default."""
    try:
        return same(value_of(declared, listed(value)), values)
    except BadUnit:
        return False


def same(these: Sequence[Any], those: Sequence[Any]) -> bool:
    """As a program would see them: 5 and "5" are one value."""
    return [*map(text, these)] == [*map(text, those)]


def _conflict(
    part: str, name: str, kind: Kind, was: Sequence[Any], now: Sequence[Any], problem: str, fit: str
) -> Conflict:
    flag = INPUTS if part == "inputs" else PARAMETERS
    return Conflict(f"{part}.{name}", kind, flag, _shown(was), _shown(now), problem, fit)


def _shown(values: Sequence[Any]) -> Any:
    """One value as itself, none as null."""
    found = list(values)
    return found if len(found) > 1 else found[0] if found else None


def of_app(app: App, was: Given, now: Given, old: int | None, new: int) -> list[Conflict]:
    """What the app itself executes; `was` and `now` as `apps.what_runs` has them."""
    different = [name for name in now if name != "fields" and was.get(name) != now[name]]
    fields = was.get("fields", {})
    different += [name for name, how in now["fields"].items() if name in fields and fields[name] != how]
    if not different:
        return []
    problem = f"revision {new} of {app.id} runs something else than revision {old}: {', '.join(different)}"
    return [Conflict("appId", Kind.APP, PARAMETERS, old, new, problem, "today's revision runs")]


def of_place(was: Given, now: Given, asked: Given) -> list[Conflict]:
    """Of what the request left open, what is another one now; the names are those of the request."""
    return [
        Conflict(
            name,
            Kind.PLACE,
            PARAMETERS,
            was[name],
            now[name],
            f"it was {words(listed(was[name]))}, and would be {words(listed(now[name]))} now",
            "taken as it is now",
        )
        for name in now
        if asked.get(name) is None and was[name] != now[name]
    ]
