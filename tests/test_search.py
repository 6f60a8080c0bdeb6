"""The search: what it finds in a real table, that it refuses in words, and that its SQL is always valid."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import MultiDict
from peewee import SqliteDatabase
from playhouse.migrations import Runner

from jobd.errors import Invalid, Unavailable
from jobd.status import Condition, Status
from jobd.store import search as module
from jobd.store.job import Job
from jobd.store.search import FIELDS, Search, search
from jobd.store.tables import INSERT, insert_values

MIGRATIONS = os.path.join(os.path.dirname(module.__file__), "migrations")
NOON = datetime(2014, 10, 24, 12, 0, 0, 123456).timestamp()
BASE = Job(
    id="aaaa-007",
    name="align",
    owner="ann",
    app_id="command-1.0",
    system="local",
    queue="default",
    request={},
    inputs={"reads": ["x.fq"]},
    command=("true",),
    directory="/data/50%_done",
    workspace="/w/1",
    memory=2**30,
    time_limit=3600.0,
    created=NOON,
    updated=NOON,
)
JOBS = [
    BASE,
    replace(BASE, id="bbbb-007", name="Sort", status=Status.RUNNING, started=NOON + 5, updated=NOON + 9,
            nodes=4, archive=True, archive_path="/a/b", archive_system="store"),
    replace(BASE, id="abcc-007", name="call", status=Status.FAILED, exit_code=3, updated=NOON + 60,
            condition=Condition.EXIT_CODE, started=NOON, ended=NOON + 60, local_id="10321", attempt=3),
    replace(BASE, id="dddd-007", name="gone", hidden=True, status=Status.FINISHED, updated=NOON + 70),
    replace(BASE, id="eeee-007", name="bob's", owner="bob", created=NOON + 86400, updated=NOON + 80),
]  # fmt: skip


@pytest.fixture(scope="module")
def table() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(SqliteDatabase(":memory:")) as db:
        Runner(db, MIGRATIONS).up()
        sql = db.connection()
        for job in JOBS:
            sql.execute(INSERT, insert_values(job))
        yield sql


def found(table: sqlite3.Connection, caller: str | None = "ann", **query: str) -> str:
    """The first letters of the names of what is found."""
    words = {key.replace("__", "."): value for key, value in query.items()}
    return " ".join(job.name[0] for job in search(words, caller, direction="asc").jobs(table, 100, 0))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, "a S c"),
        ({"status": "running"}, "S"),
        ({"status.in": "RUNNING,FAILED,ARCHIVING"}, "S c"),
        ({"STATUS.NEQ": "PENDING"}, "S c"),
        ({"status.nin": "RUNNING"}, "a c"),
        ({"status.like": "run*"}, "S"),
        ({"visible": "false"}, "g"),
        ({"visible": "True"}, "a S c"),
        ({"visible.neq": "0"}, "a S c"),
        ({"name": "sort"}, ""),
        ({"name.like": "*OR*"}, "S"),
        ({"name.like": "al"}, ""),
        ({"name.nlike": "a*"}, "S c"),
        ({"name.rlike": "^(al|so)"}, "a S"),
        ({"name.gt": "align"}, "c"),
        ({"directory.like": "*50%_*"}, "a S c"),
        ({"directory.like": "*50__*"}, ""),
        ({"id.like": "A*"}, "a c"),
        ({"id.like": "*07"}, "a S c"),
        ({"nodeCount.gte": "2"}, "S"),
        ({"nodecount.between": "1,3"}, "a c"),
        ({"exitCode.neq": "3"}, "a S"),
        ({"exitCode.nin": "3,4"}, "a S"),
        ({"localId": "10321"}, "c"),
        ({"remoteJobId": "10321"}, "c"),
        ({"localId.nlike": "1*"}, "a S"),
        ({"maxRunTime.lte": "01:00:00"}, "a S c"),
        ({"maxRunTime.lt": "01:00:00"}, ""),
        ({"memoryPerNode": "1"}, "a S c"),
        ({"memoryPerNode.gt": "512MB"}, "a S c"),
        ({"runTime.gte": "60"}, "c"),
        ({"retries": "2"}, "c"),
        ({"inputs.like": "*x.fq*"}, "a S c"),
        ({"archive": "true"}, "S"),
        ({"archive": "false"}, "a c"),
        ({"archivePath.like": "/a*"}, "S"),
        ({"archiveSystem": "store"}, "S"),
        ({"condition": "EXIT_CODE", "exitCode.lt": "4"}, "c"),
        ({"created.on": "2014-10-24"}, "a S c"),
        ({"created.on": "2014-10-23"}, ""),
        ({"created.after": "2014-10-24", "created.before": "2014-10-25"}, "a S c"),
        ({"startTime.gt": str(int(NOON * 1000) + 1)}, "S"),
        ({"startTime": str(int(NOON * 1000))}, "c"),
        ({"startTime.in": f"{int(NOON * 1000)},{int(NOON * 1000) + 5000}"}, "S c"),
        ({"startTime.neq": str(int(NOON * 1000))}, "a S"),
        ({"startTime.lte": str(int(NOON * 1000))}, "c"),
        ({"created.between": "2014-10-24T12:00:00.123,2014-10-24T12:00:00.123"}, "a S c"),
        ({"limit": "3", "offset": "0", "naked": "true", "orderBy": "name"}, "a S c"),
        ({"owner": "bob"}, ""),
    ],
)
def test_what_is_found(table: sqlite3.Connection, query: dict[str, str], names: str) -> None:
    assert found(table, **query) == names


def test_an_administrator_sees_everybodys(table: sqlite3.Connection) -> None:
    assert found(table, None) == "a S c b"
    assert found(table, None, owner="bob") == "b"
    assert found(table, None, created__on="2014-10-25") == "b"


def test_every_repetition_of_a_field_holds(table: sqlite3.Connection) -> None:
    query = MultiDict([("status.neq", "PENDING"), ("status.neq", "RUNNING")])
    assert [job.name for job in search(query, "ann").jobs(table, 100, 0)] == ["call"]


def test_a_date_as_it_is_shown_finds_its_job(table: sqlite3.Connection) -> None:
    shown = datetime.fromtimestamp(NOON).astimezone().isoformat(timespec="milliseconds")
    assert found(table, created=shown) == "a S c"
    assert found(table, created=shown.replace("+", " ")) == "a S c"
    utc = datetime.fromtimestamp(NOON, UTC).isoformat(timespec="milliseconds")
    assert found(table, created=utc.replace("+00:00", "Z")) == "a S c"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("statsu", "RUNNING", "did you mean status"),
        ("status", "BUSY", "RUNNING"),
        ("status.gt", "RUNNING", "no such comparison"),
        ("name.resembles", "x", "like"),
        ("created", "yesterday", "ISO-8601"),
        ("created.after", "9" * 15, "ISO-8601"),
        ("created.on", "9999-12-31", "ISO-8601"),
        ("created.between", "2014-10-24", "comma"),
        ("nodeCount", "many", "a number"),
        ("nodeCount", "1e9", "a number"),
        ("nodeCount", "\u0663", "a number"),
        ("nodeCount.in", "1,,2", "a number"),
        ("maxRunTime", "1h", "01:00:00"),
        ("memoryPerNode", "lots", "GB"),
        ("visible", "maybe", "true or false"),
        ("name.rlike", "(a)\\1", "pattern"),
        ("name.in", ",".join("x" * 600), "text"),
    ],
)
def test_a_fault_names_its_field(key: str, value: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        search({key: value, "name": "fine"}, "ann")
    (fault,) = refused.value.faults
    assert fault.field == key
    assert words in str(fault)


def test_all_faults_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        search({"statsu": "x", "created": "x", "name": "x"}, "ann")
    assert [fault.field for fault in refused.value.faults] == ["statsu", "created"]


def test_order() -> None:
    assert search({}, None).order == "updated desc, seq desc"
    assert search({}, None, "NAME", "ASC").order == "name asc, seq asc"
    for field, direction in (("nme", None), (None, "up")):
        with pytest.raises(Invalid):
            search({}, None, field, direction)


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_can_be_ordered_by(table: sqlite3.Connection, field: str) -> None:
    assert len(search({}, None, field).jobs(table, 100, 0)) == 4


def plan(table: sqlite3.Connection, wanted: Search) -> str:
    rows = table.execute(f"EXPLAIN QUERY PLAN {wanted.statement}", (*wanted.parameters, 50, 0))
    return " ".join(str(row[3]) for row in rows)


@pytest.mark.parametrize("order", [None, "created"])
@pytest.mark.parametrize("caller", ["ann", None])
@pytest.mark.parametrize(
    "query", [{}, {"status": "FAILED"}, {"status.in": "RUNNING,FAILED"}, {"visible": "false"}]
)
def test_long_lists_are_read_in_their_order(
    table: sqlite3.Connection, caller: str | None, query: dict[str, str], order: str | None
) -> None:
    assert "TEMP B-TREE" not in plan(table, search(query, caller, order))


@pytest.mark.parametrize("caller", ["ann", None])
@pytest.mark.parametrize("order", [None, "created"])
@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({"id": "x"}, "(id=?)"),
        ({"id.like": "ab*"}, "(id>? AND id<?)"),
        ({"status": "RUNNING"}, "status=?"),
        ({"status.in": "RUNNING,QUEUED"}, "status=?"),
        ({"name": "align"}, "name=?"),
    ],
)
def test_few_jobs_are_looked_up(
    table: sqlite3.Connection, caller: str | None, query: dict[str, str], index: str, order: str | None
) -> None:
    assert index in plan(table, search(query, caller, order))


def test_a_search_that_takes_too_long_is_ended(
    table: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_SEARCH", 0.05)
    endless = "(WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n)"
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="took longer"):
        Search(((endless, []),), "seq").jobs(table, 1, 0)
    assert time.monotonic() - begun < 5
    assert found(table) == "a S c"


# what others share

SHARED = [
    replace(BASE, id=f"f{number:03}-007", name=f"s{number}", owner="bob", hidden=number == 4,
            created=NOON + 10 * number, updated=NOON + 10 * (number * 7 % 10))
    for number in range(10)
]  # fmt: skip
GIVEN = {"ann": (0, 4, 7), "@lab": (1, 7), "@other": (2,)}
"""By grantee, which of them."""


@pytest.fixture(scope="module")
def sharing() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(SqliteDatabase(":memory:")) as db:
        Runner(db, MIGRATIONS).up()
        sql = db.connection()
        seqs = [sql.execute(INSERT, insert_values(job)).lastrowid for job in (*JOBS, *SHARED)]
        sql.executemany(
            "INSERT INTO pem VALUES (?, ?, 0, 0, 'bob')",
            [(seqs[len(JOBS) + n], grantee) for grantee, numbers in GIVEN.items() for n in numbers],
        )
        yield sql


@pytest.mark.parametrize("order", [None, "created", "name", "tags", "shared", "runTime"])
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_own_and_shared_ones_are_one_list(
    sharing: sqlite3.Connection, order: str | None, direction: str
) -> None:
    """Page by page, in the order of a list of all that was filtered afterwards."""
    wanted = search({}, "ann", order, direction, ["ann", "@lab"])
    everything = search({}, None, order, direction).jobs(sharing, 100, 0)
    names = {job.name for job in JOBS if job.owner == "ann"} | {"s0", "s1", "s7"}
    expected = [job.name for job in everything if job.name in names]
    for size in (1, 2, 3, 100):
        pages = [wanted.jobs(sharing, size, offset) for offset in range(0, 8, size)]
        assert [job.name for page in pages for job in page] == expected


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"shared": "true"}, "s0 s1 s7"),
        ({"shared": "1", "visible": "false"}, "s4"),
        ({"shared": "true", "created.after": str(int(NOON * 1000) + 1)}, "s1 s7"),
        ({"shared": "true", "owner": "ann"}, ""),
        ({"shared": "false", "owner": "bob"}, ""),
        ({"shared": "false"}, "Sort align call"),
        ({"shared.neq": "false", "name.in": "s1,s2"}, "s1"),
        ({"owner": "bob"}, "s0 s1 s7"),
        ({"id.like": "f00*"}, "s0 s1 s7"),
        ({"id": "f007-007"}, "s7"),
        ({"id": "f002-007"}, ""),
        ({"status": "PENDING"}, "align s0 s1 s7"),
    ],
)
def test_what_is_found_of_what_is_shared(
    sharing: sqlite3.Connection, query: dict[str, str], names: str
) -> None:
    found = search(query, "ann", grantees=["ann", "@lab"]).jobs(sharing, 100, 0)
    assert sorted(job.name for job in found) == names.split()


def test_nothing_is_shared_with_nobody_in_particular(sharing: sqlite3.Connection) -> None:
    assert search({"shared": "true"}, "ann").jobs(sharing, 100, 0) == []
    assert search({"shared": "true"}, None).jobs(sharing, 100, 0) == []
    both = MultiDict([("shared", "true"), ("shared", "false")])
    assert search(both, "ann", grantees=["ann"]).jobs(sharing, 100, 0) == []


@pytest.mark.parametrize("order", [None, "created"])
@pytest.mark.parametrize("query", [{}, {"status": "FAILED"}, {"name": "align"}, {"visible": "false"}])
def test_each_part_of_a_list_has_its_index(
    sharing: sqlite3.Connection, query: dict[str, str], order: str | None
) -> None:
    steps = plan(sharing, search(query, "ann", order, grantees=["ann"]))
    own, _, others = steps.partition("LEFT")[2].partition("RIGHT")
    assert "MERGE" in steps
    assert "owner=?" in own
    assert "TEMP B-TREE" not in own or "name" in query
    assert "INTEGER PRIMARY KEY" in others
    assert "COVERING INDEX pem_of (grantee=?)" in others


keys = st.one_of(
    st.tuples(
        st.sampled_from([*FIELDS, "systemId"]),
        st.sampled_from(
            ["", ".eq", ".neq", ".lt", ".lte", ".gt", ".gte", ".in", ".nin", ".like", ".nlike", ".rlike",
             ".between", ".on", ".before", ".after", ".x", "."]
        ),
    ).map("".join),
    st.text(max_size=20),
)  # fmt: skip
values = st.one_of(
    st.text(max_size=40),
    st.integers().map(str),
    st.floats().map(str),
    st.datetimes().map(lambda at: at.isoformat()),
    st.lists(st.integers().map(str), max_size=5).map(",".join),
    st.sampled_from(
        ["true", "RUNNING,FAILED", "01:00:00", "16GB", "a*b", "\ud800", "\0", "'; DROP TABLE job"]
    ),
)


@given(st.dictionaries(keys, values, max_size=4), st.sampled_from([None, "ann"]))
@settings(max_examples=1500, deadline=None)
def test_anything_is_a_search_or_invalid(
    table: sqlite3.Connection, query: dict[str, str], caller: str | None
) -> None:
    with contextlib.suppress(Invalid):
        search(query, caller, grantees=["ann", "@lab"]).jobs(table, 10, 0)


@given(st.dictionaries(keys, values, max_size=3))
@settings(max_examples=300, deadline=None)
def test_nobody_sees_another_persons_jobs(sharing: sqlite3.Connection, query: dict[str, str]) -> None:
    """But those that are shared with them."""
    with contextlib.suppress(Invalid):
        assert {job.owner for job in search(query, "bob").jobs(sharing, 10, 0)} <= {"bob"}
    with contextlib.suppress(Invalid):
        found = search(query, "ann", grantees=["ann", "@lab"]).jobs(sharing, 100, 0)
        assert {job.name for job in found if job.owner != "ann"} <= {"s0", "s1", "s4", "s7"}
