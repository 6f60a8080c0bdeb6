"""Notifications in the store: who wants to be told of which event of which job, where, and how persistently.

Only the wish: what has been delivered of it, and what has not yet, is for an outbox to know, which names the
notification by its `seq`. One that has fired keeps its row, since a resubmission recreates it.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Notification:
    seq: int
    id: str
    job_id: str
    owner: str
    wanted: Wanted
    created: float
    updated: float


_SELECT = """SELECT notification.seq, notification.id, job.id, notification.owner, event, url,
    notification.command, persistent, policy, notification.created, notification.updated
    FROM notification JOIN job ON job.seq = job_seq"""


def add(tx: Transaction, job_seq: int, owner: str, wanted: Iterable[Wanted]) -> list[str]:
    """Their ids, which published clients know by their ending."""
    ids = []
    for one in wanted:
        ids.append(f"{uuid.uuid4()}-011")
        now = time.time()
        tx.sql.execute(
            "INSERT INTO notification (id, job_seq, owner, event, url, command, persistent, policy, created,"
            " updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (ids[-1], job_seq, owner, *_columns(one), now, now),
        )
    return ids


def change(tx: Transaction, notification_id: str, wanted: Wanted) -> None:
    tx.sql.execute(
        "UPDATE notification SET event = ?, url = ?, command = ?, persistent = ?, policy = ?, updated = ?"
        " WHERE id = ?",
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


def owned(sql: sqlite3.Connection, owner: str | None, limit: int, offset: int) -> list[Notification]:
    """That person's, or everybody's, of all their jobs, the newest first."""
    order = "ORDER BY notification.seq DESC LIMIT ? OFFSET ?"
    if owner is None:
        return _found(sql, f"TRUE {order}", (limit, offset))
    return _found(sql, f"notification.owner = ? {order}", (owner, limit, offset))


def _found(sql: sqlite3.Connection, where: str, parameters: tuple[Any, ...]) -> list[Notification]:
    return [_notification(*row) for row in sql.execute(f"{_SELECT} WHERE {where}", parameters)]


def _notification(seq: int, own_id: str, job_id: str, owner: str, *rest: Any) -> Notification:
    event, url, command, persistent, policy, created, updated = rest
    wanted = Wanted(event, url, tuple(json.loads(command)), bool(persistent), json.loads(policy))
    return Notification(seq, own_id, job_id, owner, wanted, created, updated)


def _columns(wanted: Wanted) -> tuple[Any, ...]:
    return wanted.event, wanted.url, dump(wanted.command), wanted.persistent, dump(wanted.policy)
