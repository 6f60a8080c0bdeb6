"""A long past for a store: copies of real jobs, by the hundred thousand, written while no daemon is there."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

_NUMBERS = """
    WITH RECURSIVE number(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM number WHERE i < :last),
    drawn AS MATERIALIZED (SELECT i, lower(hex(randomblob(18))) AS h FROM number)
"""
_ID = " || '-' || ".join(
    f"substr(h, {at}, {length})" for at, length in ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
)
APART = 30.0
"""Seconds from one job to the next."""
_AT = f"(:now - (:total - i) * {APART})"
_NEW = {
    "seq": "i",
    "id": f"{_ID} || '-007'",
    "tag": "'j' || substr(h, 1, 13)",
    "name": "'fit-' || (i % 1000)",
    "owner": "CASE WHEN i % 4 THEN 'person' || (i % 7) ELSE :owner END",
    "created": _AT,
    "submitted": f"{_AT} + 0.1",
    "started": f"{_AT} + 0.1",
    "ended": f"{_AT} + 20",
    "updated": f"{_AT} + 20",
    "kept": "0",
}
"""What differs between the copies; everything else is the original's."""


def fill(path: Path, total: int, owner: str, finished: str, failed: str) -> None:
    """Adds copies of two real jobs (by id), one in twenty of them of the failed one, until there are `total`
    jobs: one every 30 seconds until now, a quarter of them the owner's."""
    with _bulk(path) as sql:
        (first,) = sql.execute("SELECT coalesce(max(seq), 0) + 1 FROM job").fetchone()
        limits = {"first": first, "last": total, "total": total, "now": time.time(), "owner": owner}
        if first <= total:
            _copy_jobs(sql, {**limits, "finished": finished, "failed": failed})


def _copy_jobs(sql: sqlite3.Connection, values: dict[str, object]) -> None:
    columns = [row[1] for row in sql.execute("PRAGMA table_info(job)")]
    copied = ", ".join(_NEW.get(name, name) for name in columns)
    sql.execute(
        f"{_NUMBERS} INSERT INTO job ({', '.join(columns)}) SELECT {copied} FROM drawn JOIN"
        " (SELECT * FROM job WHERE id IN (:finished, :failed)) AS original"
        " ON original.id = CASE WHEN i % 20 THEN :finished ELSE :failed END",
        values,
    )
    sql.execute(
        "INSERT INTO history (job_seq, status, created, created_by, description)"
        " SELECT new.seq, line.status, new.created, line.created_by, line.description FROM job AS new"
        " JOIN job AS original ON original.id = CASE WHEN new.seq % 20 THEN :finished ELSE :failed END"
        " JOIN history AS line ON line.job_seq = original.seq WHERE new.seq BETWEEN :first AND :last",
        values,
    )


@contextlib.contextmanager
def _bulk(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction without indexes and without safety."""
    with contextlib.closing(sqlite3.connect(path)) as sql:
        sql.execute("PRAGMA journal_mode = OFF")
        sql.execute("PRAGMA synchronous = OFF")
        sql.execute("PRAGMA cache_size = -200000")
        indexes = sql.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql > ''"
        ).fetchall()
        for name, _ in indexes:
            sql.execute(f"DROP INDEX {name}")
        yield sql
        for _, statement in indexes:
            sql.execute(statement)
        sql.commit()
        sql.execute("PRAGMA journal_mode = WAL")


def drop(state: Path) -> None:
    """The store as a whole."""
    for path in state.glob("jobd.db*"):
        path.unlink()


def forget_waiting(path: Path) -> None:
    """Takes out every job that has not been started."""
    with contextlib.closing(sqlite3.connect(path)) as sql:
        waiting = "SELECT seq FROM job WHERE status IN ('PENDING', 'STAGED')"
        sql.execute("DELETE FROM request_key")
        sql.execute(f"DELETE FROM history WHERE job_seq IN ({waiting})")
        sql.execute(f"DELETE FROM job WHERE seq IN ({waiting})")
        sql.commit()
