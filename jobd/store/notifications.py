"""Notifications in the store: who wants to be told of which event of which job, where, and how persistently.

The wish, and a summary of what came of it; each telling is a delivery of the outbox's (outbox.py). One that
has fired keeps its row, since a resubmission recreates it.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jobd.store.pems import Whose
from jobd.store.tables import dump
from jobd.store.writer import Transaction


@dataclass(frozen=True)
class Wanted:
    """What somebody asked for, checked."""

    event: str
    """A status, a condition, or `*`."""
    url: str | None
    """http(s) or mailto; None: a command."""
    command: tuple[str, ...]
    persistent: bool
    """Told every time; else once."""
    policy: dict[str, Any]
    """How often, and at which intervals, delivering is tried; all of its fields, as on the wire."""
    body: Any = None
    """What is said, with macros: a text, or an object or list of JSON's; None: the usual."""
    digest: float | None = None
    """Seconds for which what is to be told of jobs of one name is gathered; None: each by itself."""


@dataclass(frozen=True)
class Told:
    """What came of a notification so far."""

    fired: float | None = None
    """When its event happened, the last time."""
    open: int = 0
    """What is still to be delivered."""
    tries: int = 0
    last_try: float | None = None
    code: int | None = None
    """What the receiver answered then."""
    outcome: str | None = None
    """DELIVERED, FAILED; of the one that was tried last."""


@dataclass(frozen=True)
class Notification:
    seq: int
    id: str
    job_id: str
    owner: str
    wanted: Wanted
    created: float
    updated: float
    told: Told


COLUMNS = "notification.event, url, notification.command, persistent, policy, notification.body, digest"
"""Of what is wanted; `wanted` makes it of them."""
_LAST = "FROM delivery WHERE notification_seq = notification.seq ORDER BY coalesce(last_try, 0) DESC LIMIT 1"
_SELECT = f"""SELECT notification.seq, notification.id, job.id, notification.owner, {COLUMNS},
    notification.created, notification.updated, fired,
    (SELECT count(*) FROM delivery WHERE notification_seq = notification.seq AND outcome IS NULL),
    (SELECT coalesce(sum(tries), 0) FROM delivery WHERE notification_seq = notification.seq),
    (SELECT last_try {_LAST}), (SELECT code {_LAST}), (SELECT outcome {_LAST})
    FROM notification JOIN job ON job.seq = job_seq"""
_WRITTEN = ("event", "url", "command", "persistent", "policy", "body", "digest")


def add(tx: Transaction, job_seq: int, owner: str, wanted: Iterable[Wanted]) -> list[str]:
    """Their ids, which published clients know by their ending."""
    ids = []
    for one in wanted:
        ids.append(f"{uuid.uuid4()}-011")
        now = time.time()
        tx.sql.execute(
            f"INSERT INTO notification (id, job_seq, owner, created, updated, {', '.join(_WRITTEN)})"
            f" VALUES (?, ?, ?, ?, ?{', ?' * len(_WRITTEN)})",
            (ids[-1], job_seq, owner, now, now, *_columns(one)),
        )
    return ids


def change(tx: Transaction, notification_id: str, wanted: Wanted) -> None:
    tx.sql.execute(
        f"UPDATE notification SET {', '.join(f'{name} = ?' for name in _WRITTEN)}, updated = ? WHERE id = ?",
        (*_columns(wanted), time.time(), notification_id),
    )


def remove(tx: Transaction, notification_id: str) -> None:
    tx.sql.execute("DELETE FROM notification WHERE id = ?", (notification_id,))


def get(sql: sqlite3.Connection, notification_id: str) -> Notification | None:
    found = _found(sql, "notification.id = ?", (notification_id,))
    return found[0] if found else None


def of_job(sql: sqlite3.Connection, job_seq: int, owner: str | None) -> list[Notification]:
    """That person's, or everybody's, in the order in which they were made."""
    where = "job_seq = ? AND (? IS NULL OR notification.owner = ?) ORDER BY notification.seq"
    return _found(sql, where, (job_seq, owner, owner))


def owned(sql: sqlite3.Connection, whose: Whose, limit: int, offset: int) -> list[Notification]:
    """Those, the newest first."""
    where, parameters = whose.condition("notification")
    order = "ORDER BY notification.seq DESC LIMIT ? OFFSET ?"
    return _found(sql, f"{where} {order}", (*parameters, limit, offset))


def count(sql: sqlite3.Connection, job_seq: int, owner: str) -> int:
    """How many of that person's there are about the job."""
    statement = "SELECT count(*) FROM notification WHERE job_seq = ? AND owner = ?"
    (number,) = sql.execute(statement, (job_seq, owner)).fetchone()
    return int(number)


def _found(sql: sqlite3.Connection, where: str, parameters: tuple[Any, ...]) -> list[Notification]:
    return [_notification(*row) for row in sql.execute(f"{_SELECT} WHERE {where}", parameters)]


def _notification(seq: int, own_id: str, job_id: str, owner: str, *rest: Any) -> Notification:
    *columns, created, updated, fired, open_, tries, last_try, code, outcome = rest
    told = Told(fired, open_, tries, last_try, code, outcome)
    return Notification(seq, own_id, job_id, owner, wanted(columns), created, updated, told)


def wanted(columns: Sequence[Any]) -> Wanted:
    event, url, command, persistent, policy, body, digest = columns
    return Wanted(
        event, url, tuple(json.loads(command)), bool(persistent), json.loads(policy), json.loads(body), digest
    )


def _columns(wanted: Wanted) -> tuple[Any, ...]:
    return (
        wanted.event, wanted.url, dump(wanted.command), wanted.persistent, dump(wanted.policy),
        dump(wanted.body), wanted.digest,
    )  # fmt: skip
