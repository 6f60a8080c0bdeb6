"""With whom jobs are shared: permissions, which Agave's routes call pems.

A grantee is a user's name, or `@` and a group's. Who is in a group is never kept: whoever asks says in which
they are at that moment, in the kernel's word for a caller (`Caller.groups`), in the group database's for
somebody who is not there (`may_read_unseen`).
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from jobd import people
from jobd.store.writer import Transaction


class Right(IntEnum):
    """The greater one includes the smaller."""

    NONE = 0
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Pem:
    """What one user or group may do with a job."""

    grantee: str
    right: Right


SHARED_WITH = "SELECT job_seq FROM pem WHERE grantee IN (SELECT value FROM json_each(?))"
"""Jobs by their seq; the parameter is what `listed` makes of grantees."""


READABLE = f"(job.owner = ? OR job_seq IN ({SHARED_WITH}))"
"""Of rows that have a job, which is joined; the parameters are what `reader` makes of grantees."""


@dataclass(frozen=True)
class Whose:
    """Which notifications are meant, or what is to be told for them: rows with an owner, about a job, which
    is joined."""

    owner: str | None
    """None: everybody's."""
    reader: Collection[str] = ()
    """Only about jobs that these grantees may read; none: about any."""

    def condition(self, table: str) -> tuple[str, list[Any]]:
        """With its parameters."""
        conditions: list[str] = []
        parameters: list[Any] = []
        if self.owner is not None:
            conditions.append(f"{table}.owner = ?")
            parameters.append(self.owner)
        if self.reader:
            conditions.append(READABLE)
            parameters += reader(self.reader)
        return " AND ".join(conditions) or "TRUE", parameters


def grantees(name: str, groups: Iterable[str]) -> list[str]:
    """What a person goes by here."""
    return [name, *(f"@{group}" for group in groups)]


def listed(those: Collection[str]) -> str:
    """Any number of them as one parameter."""
    return json.dumps([*those])


def reader(those: Collection[str]) -> list[str]:
    """The first of whom is a person by their own name."""
    return [next(iter(those)), listed(those)]


def right(sql: sqlite3.Connection, job_seq: int, those: Collection[str]) -> Right:
    """The greatest that any of these grantees has."""
    statement = "SELECT max(write) FROM pem WHERE job_seq = ? AND grantee IN (SELECT value FROM json_each(?))"
    (write,) = sql.execute(statement, (job_seq, listed(those))).fetchone()
    return Right.NONE if write is None else Right.WRITE if write else Right.READ


def may_read_unseen(
    sql: sqlite3.Connection, job_seq: int, owner: str, name: str, admin_group: str | None
) -> bool:
    """May that person read that owner's job now, who is not connected and so cannot be asked for their
    groups? Not for the event loop: the group database can be a network's (its word is believed for a
    minute)."""
    if name == owner or people.is_admin(name, admin_group):
        return True
    return right(sql, job_seq, grantees(name, people.groups_of(name))) >= Right.READ


def those_with_any(sql: sqlite3.Connection, those: Collection[str]) -> list[str]:
    """Which of these grantees anything is shared with."""
    statement = "SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM pem WHERE grantee = value)"
    return [grantee for (grantee,) in sql.execute(statement, (listed(those),))]


def of_job(sql: sqlite3.Connection, job_seq: int, limit: int = -1, offset: int = 0) -> list[Pem]:
    """By name; a negative limit is none."""
    statement = "SELECT grantee, write FROM pem WHERE job_seq = ? ORDER BY grantee LIMIT ? OFFSET ?"
    found = sql.execute(statement, (job_seq, limit, offset))
    return [Pem(grantee, Right.WRITE if write else Right.READ) for grantee, write in found]


def put(tx: Transaction, job_seq: int, pem: Pem, by: str) -> None:
    """In place of what that grantee had; NONE takes it away."""
    tx.sql.execute("DELETE FROM pem WHERE job_seq = ? AND grantee = ?", (job_seq, pem.grantee))
    if pem.right is not Right.NONE:
        tx.sql.execute(
            "INSERT INTO pem (job_seq, grantee, write, granted, granted_by) VALUES (?, ?, ?, ?, ?)",
            (job_seq, pem.grantee, pem.right is Right.WRITE, time.time(), by),
        )
