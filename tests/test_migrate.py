"""The table of conflicts, one row a test: each kind, for hidden and visible fields, with one value and with
several; and what is true of all of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.apps import app as apps
from jobd.apps import migrate, values
from jobd.apps.app import App
from jobd.apps.migrate import Content, Kind, Migration, Old, State
from jobd.errors import Invalid

NOTHING: dict[str, Any] = {}


def app_of(part: str, *fields: dict[str, Any]) -> App:
    return apps.read({"name": "a", "version": "1", "command": "x", part: list(fields)}, apps.dotted)


def field(most: int = 1, least: int | None = None, **value: Any) -> dict[str, Any]:
    return {"id": "k", "value": value, "semantics": {"maxCardinality": most, "minCardinality": least}}


def moved(app: App, part: str, ran: Any, asked: Any = NOTHING, content: Content | None = None) -> Migration:
    """Of a job that ran with `ran` in that part, and whose request said `asked`."""
    old, none = Old(asked, ran), Old({}, {})
    inputs, parameters = (old, none) if part == "inputs" else (none, old)
    return migrate.migrate(app, inputs, parameters, {}, {}, content or {})


ENUM = {"type": "enumeration", "enumValues": ["red", "blue"]}
HIDDEN = {"visible": False}

PARAMETERS: list[tuple[str, dict[str, Any] | None, Any, Any, Kind | str | None, Any]] = [
    # what the row is about; the field today; what the job ran with; what its request said;
    # the conflict (or a part of the fault); what the field has then
    ("hidden, the same", field(**HIDDEN, default=1), "1", None, None, "1"),
    ("hidden, another default", field(**HIDDEN, default="2"), "1", None, Kind.HIDDEN, "2"),
    ("hidden now, visible then, the same", field(**HIDDEN, default="1"), "1", "1", None, "1"),
    ("hidden now, visible then, another", field(**HIDDEN, default="2"), "1", "1", Kind.HIDDEN, "2"),
    ("hidden, added", field(**HIDDEN, default="2"), None, None, Kind.HIDDEN, "2"),
    ("hidden, several, the same", field(-1, **HIDDEN, default=["1", "2"]), ["1", "2"], None, None,
     ["1", "2"]),
    ("hidden, several, another", field(-1, **HIDDEN, default=["1"]), ["1", "2"], None, Kind.HIDDEN, ["1"]),
    ("hidden, several, another order", field(-1, **HIDDEN, default=["2", "1"]), ["1", "2"], None, Kind.HIDDEN,
     ["2", "1"]),
    ("visible, still taken", field(), "1", "1", None, "1"),
    ("visible now, hidden then", field(default="2"), "1", None, None, "1"),
    ("visible, its default then is kept", field(default="2"), "1", None, None, "1"),
    ("visible, several, still taken", field(-1), ["1", "2"], ["1", "2"], None, ["1", "2"]),
    ("visible, one now where there were several", field(), ["1"], ["1"], None, "1"),
    ("visible, several now where there was one", field(3), "1", "1", None, ["1"]),
    ("another type, the same text", field(), 5, 5, None, "5"),
    ("another type, read as another value", field(type="bool"), "1", "1", Kind.INVALID, True),
    ("optional, and absent", field(), None, None, None, None),
    ("optional, added with a default", field(default="2"), None, None, Kind.ADDED, "2"),
    ("required, added with a default", field(required=True, default="2"), None, None, Kind.ADDED, "2"),
    ("required, added without", field(required=True), None, None, "required now", None),
    ("several, added with a default", field(-1, default=["1", "2"]), None, None, Kind.ADDED, ["1", "2"]),
    ("several, required, added without", field(-1, 2, required=True), None, None, "required now", None),
    ("type, with a default", field(type="number", default=2), "x", "x", Kind.INVALID, 2),
    ("type, without", field(type="number"), "x", "x", "will not do any more", None),
    ("type, required, without", field(type="number", required=True), "x", "x", "will not do any more", None),
    ("choice, with a default", field(**ENUM, default="red"), "green", "green", Kind.INVALID, "red"),
    ("choice, without", field(**ENUM), "green", "green", "will not do any more", None),
    ("pattern, with a default", field(validator="[a-z]+", default="a"), "1", "1", Kind.INVALID, "a"),
    ("pattern, without", field(validator="[a-z]+"), "1", "1", "will not do any more", None),
    ("several, one not taken, with a default", field(-1, **ENUM, default="red"), ["red", "green"],
     ["red", "green"], Kind.INVALID, ["red"]),
    ("several, one not taken, without", field(-1, **ENUM), ["red", "green"], ["red", "green"],
     "will not do any more", None),
    ("too many, with a default", field(default="2"), ["1", "3"], ["1", "3"], Kind.CARDINALITY, "2"),
    ("too many, without", field(), ["1", "3"], ["1", "3"], "will not do any more", None),
    ("too few, with a default", field(3, 2, default=["4", "5"]), "1", "1", Kind.CARDINALITY, ["4", "5"]),
    ("too few, without", field(3, 2), "1", "1", "will not do any more", None),
    ("removed", None, "1", "1", Kind.REMOVED, None),
    ("removed, hidden then", None, "1", None, Kind.REMOVED, None),
    ("removed, several", None, ["1", "2"], ["1", "2"], Kind.REMOVED, None),
    ("removed, and the job did not have it", None, None, None, None, None),
    ("a flag", field(type="bool"), True, "true", None, True),
]  # fmt: skip


def parameter_row(row: tuple[Any, ...]) -> tuple[App, Any, Any, Any, Any]:
    _, today, ran, asked, conflict, then = row
    app = app_of("parameters", *([today] if today else []))
    return app, {} if ran is None else {"k": ran}, {} if asked is None else {"k": asked}, conflict, then


@pytest.mark.parametrize("row", PARAMETERS, ids=[row[0] for row in PARAMETERS])
def test_a_parameter(row: tuple[Any, ...]) -> None:
    app, ran, asked, conflict, then = parameter_row(row)
    found = moved(app, "parameters", ran, asked)
    as_expected(found, "parameters", conflict)
    if not found.faults:
        today, faults = values.checked(app, {}, found.parameters)
        assert not faults
        assert today.as_parameters(app).get("k") == then
    if conflict is None:
        assert found.parameters == asked or values.checked(app, {}, asked)[0] != today


def as_expected(found: Migration, part: str, conflict: Kind | str | None) -> None:
    """A kind: one conflict; text: cannot be migrated, for that; None: neither."""
    flag = migrate.INPUTS if part == "inputs" else migrate.PARAMETERS
    kinds = [one.kind for one in found.conflicts]
    if isinstance(conflict, Kind):
        assert kinds == [conflict]
        assert (found.conflicts[0].field, found.conflicts[0].flag) == (f"{part}.k", flag)
        assert not found.faults
    else:
        assert not kinds
        assert [conflict in fault.problem for fault in found.faults] == ([True] if conflict else [])


SAME, CHANGED, GONE = State.SAME, State.CHANGED, State.VANISHED

INPUTS: list[tuple[str, dict[str, Any], Any, dict[str, State], Kind | str | None, list[str]]] = [
    ("there and the same", field(), ["/a"], {"/a": SAME}, None, ["/a"]),
    ("never looked at", field(), ["/a"], {}, None, ["/a"]),
    ("changed", field(required=True), ["/a"], {"/a": CHANGED}, Kind.CHANGED, ["/a"]),
    ("changed, hidden", field(**HIDDEN, default="/a"), ["/a"], {"/a": CHANGED}, Kind.CHANGED, ["/a"]),
    ("one of several changed", field(-1), ["/a", "/b"], {"/b": CHANGED}, Kind.CHANGED, ["/a", "/b"]),
    ("gone, required", field(required=True), ["/a"], {"/a": GONE}, '"/a" is gone', []),
    ("gone, hidden", field(**HIDDEN, default="/a"), ["/a"], {"/a": GONE}, '"/a" is gone', []),
    ("gone, optional", field(), ["/a"], {"/a": GONE}, Kind.VANISHED, []),
    ("gone, optional, with a default", field(default="/d"), ["/a"], {"/a": GONE}, Kind.VANISHED, ["/d"]),
    ("gone, and so is its default", field(default="/a"), ["/a"], {"/a": GONE}, '"/a" is gone', []),
    ("one of several gone", field(-1, required=True), ["/a", "/b"], {"/a": GONE}, Kind.VANISHED, ["/b"]),
    ("too few left", field(-1, 2), ["/a", "/b"], {"/a": GONE}, '"/a" is gone', []),
    ("all of several gone", field(-1), ["/a", "/b"], {"/a": GONE, "/b": GONE}, Kind.VANISHED, []),
    ("hidden, another default", field(**HIDDEN, default="/b"), ["/a"], {"/a": CHANGED}, Kind.HIDDEN, ["/b"]),
    ("pattern, with a default", field(validator="/d.*", default="/d"), ["/a"], {}, Kind.INVALID, ["/d"]),
    ("pattern, without", field(validator="/d.*"), ["/a"], {}, "will not do any more", []),
    ("too many", field(default="/d"), ["/a", "/b"], {}, Kind.CARDINALITY, ["/d"]),
    ("added with a default", field(default="/d"), None, {}, Kind.ADDED, ["/d"]),
    ("added, required", field(required=True), None, {}, "required now", []),
]  # fmt: skip


@pytest.mark.parametrize("row", INPUTS, ids=[row[0] for row in INPUTS])
def test_an_input(row: tuple[Any, ...]) -> None:
    _, today, ran, states, conflict, then = row
    app = app_of("inputs", today)
    old = {} if ran is None else {"k": ran}
    asked = old if today["value"].get("visible", True) else {}
    content = {("k", source): state for source, state in states.items()}
    found = moved(app, "inputs", old, asked, content)
    as_expected(found, "inputs", conflict)
    if not found.faults:
        today_values, faults = values.checked(app, found.inputs, {})
        assert not faults
        assert today_values.as_inputs().get("k", []) == then


def test_an_input_can_be_changed_and_another_gone() -> None:
    app = app_of("inputs", field(-1))
    content = {("k", "/a"): CHANGED, ("k", "/b"): GONE}
    found = moved(app, "inputs", {"k": ["/a", "/b"]}, {"k": ["/a", "/b"]}, content)
    assert [one.kind for one in found.conflicts] == [Kind.CHANGED, Kind.VANISHED]
    assert found.inputs == {"k": ["/a"]}


def test_what_the_caller_sets_is_no_conflict() -> None:
    app = app_of("parameters", field(**ENUM))
    found = migrate.migrate(app, Old({}, {}), Old({"k": "green"}, {"k": "green"}), {}, {"k": "red"}, {})
    assert (found.conflicts, found.faults, found.parameters) == ([], [], {"k": "red"})


def test_the_app_itself_may_run_something_else() -> None:
    def runs(**change: Any) -> dict[str, Any]:
        return apps.what_runs(apps.body(apps.read({**base, **change}, apps.dotted), {}))

    base = {"name": "a", "version": "1", "command": "x ${k}", "parameters": [field()]}
    app = apps.read(base, apps.dotted)
    assert migrate.of_app(app, runs(), runs(label="another"), 1, 2) == []
    assert migrate.of_app(app, runs(), runs(parameters=[field(default="1")]), 1, 2) == []
    assert migrate.of_app(app, runs(), runs(parameters=[field(), {"id": "new"}]), 1, 2) == []
    (other,) = migrate.of_app(app, runs(), runs(command="y ${k}"), 1, 2)
    assert (other.kind, other.flag, other.was, other.now) == (Kind.APP, migrate.PARAMETERS, 1, 2)
    (shown,) = migrate.of_app(
        app, runs(), runs(parameters=[{**field(), "details": {"showArgument": True, "argument": "-k"}}]), 1, 2
    )
    assert shown.problem.endswith(": k")


def test_only_a_place_that_was_left_open_differs() -> None:
    was, now = {"batchQueue": "a", "nodeCount": 1}, {"batchQueue": "b", "nodeCount": 2}
    (one,) = migrate.of_place(was, now, {"batchQueue": None, "nodeCount": 2})
    assert (one.field, one.kind, one.was, one.now) == ("batchQueue", Kind.PLACE, "a", "b")


# ---- what is true of all of it

SCALARS = st.sampled_from(["1", "2", "red", "green", 5, True])
GIVEN = SCALARS | st.lists(SCALARS, max_size=3)


@st.composite
def any_field(draw: st.DrawFn, name: str) -> dict[str, Any]:
    value: dict[str, Any] = {"type": draw(st.sampled_from(["string", "number", "enumeration", "bool"]))}
    if value["type"] == "enumeration":
        value["enumValues"] = ["1", "red", "green"]
    if draw(st.booleans()):
        value["default"] = draw(GIVEN)
    value |= draw(st.sampled_from([{}, {"required": True}, {"visible": False}]))
    most = draw(st.sampled_from([1, 2, -1]))
    return {"id": name, "value": value, "semantics": {"maxCardinality": most}}


@st.composite
def any_fields(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The parameters of some app."""
    fields = [draw(any_field(name)) for name in sorted(draw(st.sets(st.sampled_from(["a", "b", "c"]))))]
    try:
        app_of("parameters", *fields)
    except Invalid:  # a default that is not one of its field's
        return []
    return fields


def any_app() -> st.SearchStrategy[App]:
    return any_fields().map(lambda fields: app_of("parameters", *fields))


ANY_GIVEN = st.dictionaries(st.sampled_from(["a", "b", "c"]), GIVEN)


@given(any_app(), ANY_GIVEN)
@settings(max_examples=300, deadline=None)
def test_with_nothing_changed_there_is_no_conflict_and_the_request_is_the_same(app: App, asked: Any) -> None:
    ran, faults = values.checked(app, {}, asked)
    if faults:
        return
    found = moved(app, "parameters", ran.as_parameters(app), asked)
    assert not found.conflicts
    assert not found.faults
    assert found.parameters == asked


@given(any_app(), any_app(), ANY_GIVEN)
@settings(max_examples=500, deadline=None)
def test_what_can_be_migrated_is_taken_and_every_difference_is_told(
    before: App, now: App, asked: Any
) -> None:
    ran, faults = values.checked(before, {}, asked)
    if faults:
        return
    then = ran.as_parameters(before)
    found = moved(now, "parameters", then, asked)
    if found.faults:
        return
    today, faults = values.checked(now, {}, found.parameters)
    assert not faults
    told = {one.field.removeprefix("parameters.") for one in found.conflicts}
    for name in {*then, *today.parameters}:
        was = migrate.listed(then.get(name))
        assert migrate.same(was, today.parameters.get(name, ())) or name in told
