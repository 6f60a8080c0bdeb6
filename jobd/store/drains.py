"""What is drained: a system, or one queue of it, from which no waiting job starts until it is resumed.

On disk, so that it outlives the daemon; rows stay, as the history of who did it and why."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from jobd.store.writer import Transaction

_SELECT = "SELECT system, queue, reason, began, began_by, ended, ended_by FROM drain"


@dataclass(frozen=True)
class Drain:
    system: str
    queue: str
    """Empty: the whole system."""
    reason: str
    began: float
    began_by: str
    ended: float | None = None
    """None: it is in force."""
    ended_by: str | None = None


def begin(tx: Transaction, system: str, queue: str, reason: str, by: str) -> None:
    """A second drain of the same takes the place of the first."""
    end(tx, system, queue, by)
    tx.sql.execute(
        "INSERT INTO drain (system, queue, reason, began, began_by) VALUES (?, ?, ?, ?, ?)",
        (system, queue, reason, time.time(), by),
    )


def end(tx: Transaction, system: str, queue: str, by: str) -> bool:
    """Whether it was drained."""
    done = tx.sql.execute(
        "UPDATE drain SET ended = ?, ended_by = ? WHERE system = ? AND queue = ? AND ended IS NULL",
        (time.time(), by, system, queue),
    )
    return bool(done.rowcount)


def in_force(sql: sqlite3.Connection) -> list[Drain]:
    return [Drain(*row) for row in sql.execute(f"{_SELECT} WHERE ended IS NULL")]


def history(sql: sqlite3.Connection, system: str, limit: int, offset: int) -> list[Drain]:
    """The latest first."""
    statement = f"{_SELECT} WHERE system = ? ORDER BY seq DESC LIMIT ? OFFSET ?"
    return [Drain(*row) for row in sql.execute(statement, (system, limit, offset))]
