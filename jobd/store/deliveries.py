"""Deliveries as people see them: what is still to be told, what was, and what failed; and every try of it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from jobd.store.outbox import DELIVERED, FAILED
from jobd.store.pems import Whose

OPEN = "OPEN"
STATES = (OPEN, DELIVERED, FAILED)


@dataclass(frozen=True)
class Delivery:
    seq: int
    id: str
    notification_id: str
    job_id: str
    owner: str
    event: str
    url: str | None
    created: float
    due: float | None
    """When it is tried next; None: it waits for the one before it, or is over."""
    tries: int
    last_try: float | None
    code: int | None
    words: str
    """What came of the last try."""
    state: str


@dataclass(frozen=True)
class Attempt:
    """One try."""

    delivery_id: str
    event: str
    number: int
    began: float
    ended: float
    delivered: bool
    code: int | None
    words: str


_SELECT = f"""SELECT delivery.seq, delivery.id, notification.id, job.id, delivery.owner, delivery.event, url,
    delivery.created, due, tries, last_try, code, words, coalesce(outcome, '{OPEN}')
    FROM delivery JOIN notification ON notification.seq = notification_seq JOIN job ON job.seq = job_seq"""


def get(sql: sqlite3.Connection, delivery_id: str) -> Delivery | None:
    found = _found(sql, "delivery.id = ?", (delivery_id,))
    return found[0] if found else None


def of_owner(
    sql: sqlite3.Connection, whose: Whose, state: str | None, limit: int, offset: int
) -> list[Delivery]:
    """Those, in that state or any, the newest first."""
    where, parameters = whose.condition("delivery")
    if state is not None:
        where += " AND outcome IS ?"
        parameters.append(None if state == OPEN else state)
    order = "ORDER BY delivery.seq DESC LIMIT ? OFFSET ?"
    return _found(sql, f"{where} {order}", (*parameters, limit, offset))


def of_job(
    sql: sqlite3.Connection, job_seq: int, owner: str | None, state: str | None, limit: int, offset: int
) -> list[Delivery]:
    where = (
        "job_seq = ? AND (? IS NULL OR delivery.owner = ?) AND (? IS NULL OR coalesce(outcome, 'OPEN') = ?)"
        " ORDER BY delivery.seq DESC LIMIT ? OFFSET ?"
    )
    return _found(sql, where, (job_seq, owner, owner, state, state, limit, offset))


def counted(sql: sqlite3.Connection) -> dict[str, int]:
    """How many are open, and how many have failed."""
    rows = sql.execute(
        f"SELECT coalesce(outcome, '{OPEN}'), count(*) FROM delivery WHERE outcome IS NOT '{DELIVERED}'"
        " GROUP BY outcome"
    )
    return dict(rows.fetchall())


def attempts(sql: sqlite3.Connection, notification_seq: int, limit: int, offset: int) -> list[Attempt]:
    """All tries of that notification's deliveries, the newest first."""
    rows = sql.execute(
        "SELECT delivery.id, event, number, began, ended, delivered, delivery_try.code, delivery_try.words"
        " FROM delivery_try JOIN delivery ON seq = delivery_seq WHERE notification_seq = ?"
        " ORDER BY began DESC, number DESC LIMIT ? OFFSET ?",
        (notification_seq, limit, offset),
    )
    return [Attempt(*row) for row in rows]


def _found(sql: sqlite3.Connection, where: str, parameters: tuple[Any, ...]) -> list[Delivery]:
    return [Delivery(*row) for row in sql.execute(f"{_SELECT} WHERE {where}", parameters)]
