"""Looking after the file: is it whole, has it become far too large, can the write-ahead log be short again?

No ANALYZE: every query has its index (tests/test_store.py), and statistics could only lead it to another one.
"""

from __future__ import annotations

import sqlite3

_WORTH_IT = 16 * 1024 * 1024
"""Bytes that a vacuum has to give back, beside a quarter of the file: nothing is written while it runs."""


def damage(sql: sqlite3.Connection) -> str:
    """What SQLite finds wrong with the file; empty when it is whole. Reads all of it."""
    try:
        (found,) = sql.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else str(found)


def tidy(sql: sqlite3.Connection) -> None:
    """In the writer's thread, outside any transaction."""
    free, size, pages = (_pragma(sql, name) for name in ("freelist_count", "page_size", "page_count"))
    if free * size >= _WORTH_IT and free * 4 >= pages:
        sql.execute("VACUUM")
    sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _pragma(sql: sqlite3.Connection, name: str) -> int:
    (value,) = sql.execute(f"PRAGMA {name}").fetchone()
    return int(value)
