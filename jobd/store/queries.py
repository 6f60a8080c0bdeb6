"""What the engine and the verbs ask of the store. Each takes a connection, so that it runs in a reader thread
or inside a transaction of the writer alike; each is served by an index (tests/test_store.py looks at the
plans)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from jobd.status import ACTIVE, AT_SYSTEM, TERMINAL, Status
from jobd.store.job import Event, Job
from jobd.store.tables import SELECT, to_event, to_job

Connection = sqlite3.Connection
_HOLDING = "status IN ('SUBMITTING', 'QUEUED', 'RUNNING')"
"""Those that the system has or is being given, word for word as in the index job_holding."""
_WAITING = "status IN ('PENDING', 'STAGED')"
"""The same with the index job_line."""
LARGEST = 2**63 - 1


def _among(statuses: Collection[Status]) -> str:
    return f"status IN ({', '.join(repr(str(status)) for status in sorted(statuses))})"


_AT_SYSTEM = _among(AT_SYSTEM)


def _marks(values: Collection[Any]) -> str:
    return ", ".join("?" * len(values))


def jobs(sql: sqlite3.Connection, where: str, parameters: Iterable[Any] = ()) -> list[Job]:
    return [to_job(row) for row in sql.execute(f"{SELECT} WHERE {where}", tuple(parameters))]


def job(sql: sqlite3.Connection, job_id: str) -> Job | None:
    found = jobs(sql, "id = ?", (job_id,))
    return found[0] if found else None


def by_tags(sql: sqlite3.Connection, tags: Collection[str]) -> list[Job]:
    return jobs(sql, f"tag IN ({_marks(tags)})", tags)


class Line(NamedTuple):
    """Jobs that wait for the same things: one user's in one queue, of one kind."""

    queue: str
    owner: str
    gpus: bool
    memory: bool


class Most(NamedTuple):
    """The most that one job can ask for and get some day."""

    processors: int = LARGEST
    memory: int = LARGEST
    gpus: int = LARGEST


_KINDS = tuple((gpus, memory) for gpus in (False, True) for memory in (False, True))
_KINDS_THERE = "SELECT " + ", ".join(
    f"EXISTS (SELECT 1 FROM job WHERE {_WAITING} AND system = ?1 AND queue = ?2 AND owner = ?3"
    f" AND (gpus > 0) = {int(gpus)} AND (memory IS NOT NULL) = {int(memory)})"
    for gpus, memory in _KINDS
)


def lines(sql: sqlite3.Connection, system: str) -> Iterator[Line]:
    """Those that there may be: from one user to the next, and one queue to the next, past all the jobs
    between (a comparison of both in one, as SQLite has it, would read them)."""
    head = f"SELECT queue, owner FROM job WHERE {_WAITING} AND system = ? AND"
    same = f"{head} queue = ? AND owner > ? ORDER BY owner LIMIT 1"
    further = f"{head} queue > ? ORDER BY queue, owner LIMIT 1"
    queue = owner = ""
    while at := (
        sql.execute(same, (system, queue, owner)).fetchone()
        or sql.execute(further, (system, queue)).fetchone()
    ):
        queue, owner = at
        there = sql.execute(_KINDS_THERE, (system, queue, owner)).fetchone()
        yield from (Line(queue, owner, *kind) for kind, found in zip(_KINDS, there, strict=True) if found)


def in_line(sql: sqlite3.Connection, system: str, line: Line, most: Most, now: float) -> Iterator[Job]:
    """Its jobs in order, read one by one, without those that are not to start yet or can never."""
    statement = (
        f"{SELECT} WHERE {_WAITING} AND system = ? AND queue = ? AND owner = ?"
        " AND (gpus > 0) = ? AND (memory IS NOT NULL) = ?"
        " AND nodes * processors <= ? AND nodes * coalesce(memory, 0) <= ? AND gpus <= ?"
        " AND (not_before IS NULL OR not_before <= ?) ORDER BY priority DESC, seq"
    )
    return map(to_job, sql.execute(statement, (system, *line, *most, now)))


_MOVING = "status IN ('ARCHIVING', 'CLEANING_UP', 'STAGING_INPUTS')"
"""The same with the index job_moving."""


def to_move(
    sql: sqlite3.Connection,
    system: str,
    busy: Collection[int],
    enough: Collection[str],
    full: Collection[str],
    now: float,
) -> Job | None:
    """The next whose inputs or outputs are to be moved, outputs first. None of `busy`, by their seq; none of
    the owners who have `enough` of them under way; no inputs of those whose disk is `full`."""
    found = jobs(
        sql,
        f"{_MOVING} AND system = ? AND seq NOT IN ({_marks(busy)}) AND owner NOT IN ({_marks(enough)})"
        f" AND (status <> 'STAGING_INPUTS' OR owner NOT IN ({_marks(full)}))"
        " AND (not_before IS NULL OR not_before <= ?) ORDER BY status, priority DESC, seq LIMIT 1",
        (system, *busy, *enough, *full, now),
    )
    return found[0] if found else None


def inputs_to_end(sql: sqlite3.Connection, system: str) -> list[Job]:
    """Those whose inputs are being brought in, or wait for that, and that somebody wants ended."""
    where = f"{_MOVING} AND system = ? AND status = 'STAGING_INPUTS' AND kill_asked IS NOT NULL"
    return jobs(sql, where, (system,))


def owners_waiting(sql: sqlite3.Connection, system: str) -> set[str]:
    """Whose jobs wait there, to start or for inputs."""
    statement = f"SELECT DISTINCT owner FROM job WHERE {_MOVING} AND system = ? AND status = 'STAGING_INPUTS'"
    return {line.owner for line in lines(sql, system)} | {
        owner for (owner,) in sql.execute(statement, (system,))
    }


_PURGEABLE = f"hidden = 1 AND purged IS NULL AND {_among(TERMINAL)}"


def to_purge(sql: sqlite3.Connection, before: float, limit: int) -> list[Job]:
    """Jobs that have been hidden since before that time, and have their files."""
    return jobs(sql, f"{_PURGEABLE} AND updated < ? ORDER BY updated LIMIT ?", (before, limit))


def hidden(sql: sqlite3.Connection, owner: str | None, limit: int, offset: int) -> list[Job]:
    """The same, whenever that was; of one owner or of all."""
    where = f"{_PURGEABLE} AND (? IS NULL OR owner = ?) ORDER BY updated, seq LIMIT ? OFFSET ?"
    return jobs(sql, where, (owner, owner, limit, offset))


def placed(sql: sqlite3.Connection, system: str) -> list[Job]:
    """All that the system has and that is not known to be over."""
    return jobs(sql, f"{_AT_SYSTEM} AND system = ? AND submitted IS NOT NULL", (system,))


def submitting(sql: sqlite3.Connection, system: str) -> list[Job]:
    """Those whose handing over was begun."""
    return jobs(sql, "status = ? AND system = ?", (Status.SUBMITTING, system))


def kill_asked(sql: sqlite3.Connection, system: str) -> list[Job]:
    """Jobs that the system has and that somebody wants ended."""
    return jobs(
        sql, f"{_AT_SYSTEM} AND system = ? AND submitted IS NOT NULL AND kill_asked IS NOT NULL", (system,)
    )


def kept(sql: sqlite3.Connection, system: str, ended_before: float, limit: int) -> list[Job]:
    """Jobs long over, for which their backend still keeps something."""
    return jobs(sql, "kept = 1 AND ended < ? AND system = ? LIMIT ?", (ended_before, system, limit))


def active(sql: sqlite3.Connection) -> dict[str, int]:
    """How many jobs that are not over each system has."""
    statement = f"SELECT system, count(*) FROM job WHERE {_among(ACTIVE)} GROUP BY system"
    return dict(sql.execute(statement).fetchall())


def active_of(sql: sqlite3.Connection, owner: str) -> int:
    """How many jobs of that user are not over."""
    statement = (
        "SELECT count(*) FROM job WHERE owner = ? AND hidden IN (0, 1)"  # as the index has it
        f" AND {_among(ACTIVE)}"
    )
    (number,) = sql.execute(statement, (owner,)).fetchone()
    return int(number)


def lost(sql: sqlite3.Connection, system: str, since: float) -> list[Job]:
    """Jobs that ended as LOST after that time: late evidence may still correct them."""
    return jobs(sql, "condition = 'LOST' AND ended > ? AND system = ? AND tag IS NOT NULL", (since, system))


@dataclass(frozen=True)
class Held:
    """What one user's jobs in one queue hold together: those that the system has or is being given."""

    queue: str
    owner: str
    jobs: int
    processors: int
    memory: int
    gpus: int


def held(sql: sqlite3.Connection, system: str) -> list[Held]:
    rows = sql.execute(
        "SELECT queue, owner, count(*), sum(nodes * processors), sum(nodes * coalesce(memory, 0)), sum(gpus)"
        f" FROM job WHERE {_HOLDING} AND system = ? GROUP BY queue, owner",
        (system,),
    )
    return [Held(*row) for row in rows]


def held_gpus(sql: sqlite3.Connection, system: str) -> frozenset[int]:
    rows = sql.execute(f"SELECT gpu_indices FROM job WHERE {_HOLDING} AND system = ? AND gpus > 0", (system,))
    return frozenset(index for (indices,) in rows for index in json.loads(indices))


def history(sql: sqlite3.Connection, seq: int, limit: int, offset: int, descending: bool) -> list[Event]:
    order = "DESC" if descending else "ASC"
    rows = sql.execute(
        "SELECT status, created, created_by, description FROM history"
        f" WHERE job_seq = ? ORDER BY seq {order} LIMIT ? OFFSET ?",
        (seq, limit, offset),
    )
    return [to_event(row) for row in rows]


def environment(sql: sqlite3.Connection, digest: str) -> dict[str, str]:
    (body,) = sql.execute("SELECT body FROM environment WHERE digest = ?", (digest,)).fetchone()
    return json.loads(body)  # type: ignore[no-any-return]


def request_key(sql: sqlite3.Connection, owner: str, key: str) -> tuple[str, list[str]] | None:
    """Digest and job ids of the request that came with that key before."""
    row = sql.execute(
        "SELECT digest, jobs FROM request_key WHERE owner = ? AND key = ?", (owner, key)
    ).fetchone()
    return (row[0], json.loads(row[1])) if row else None


def active_by_status(sql: sqlite3.Connection) -> list[tuple[str, str, int]]:
    """(system, status, how many) of the jobs that are not over."""
    statement = f"SELECT system, status, count(*) FROM job WHERE {_among(ACTIVE)} GROUP BY status, system"
    return sql.execute(statement).fetchall()


def stored(sql: sqlite3.Connection) -> int:
    """How many jobs there are: rows are never removed."""
    (number,) = sql.execute("SELECT coalesce(max(seq), 0) FROM job").fetchone()
    return int(number)
