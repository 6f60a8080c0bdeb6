"""Connections to the SQLite file, and the errors that its disk can give.

WAL, so that readers and the one writer do not wait for each other; synchronous=FULL, so that what is
committed survives a power failure (T1). Connections are per thread and never cross a fork: the daemon does
not fork, the keeper does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from peewee import InterfaceError, OperationalError, SqliteDatabase

from jobd.errors import Unavailable

APPLICATION_ID = 0x6A6F6264  # "jobd"

_PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "full",
    "foreign_keys": 1,
    "busy_timeout": 10_000,
    "cache_size": -4_000,  # KiB, negative by SQLite's convention; each thread that reads has its own
    "temp_store": "memory",
}


def database(path: Path, *, read_only: bool = False) -> SqliteDatabase:
    pragmas = {**_PRAGMAS, "query_only": 1} if read_only else _PRAGMAS
    return SqliteDatabase(str(path), pragmas=pragmas)


def connection(db: SqliteDatabase) -> sqlite3.Connection:
    """This thread's own connection. Statements run on it directly: on the hot paths the layers above cost
    more than SQLite."""
    return cast(sqlite3.Connection, db.connection())  # type: ignore[no-untyped-call]


@contextmanager
def disk_errors() -> Iterator[None]:
    """Says what a full or broken disk means to the caller: nothing was changed, try again."""
    try:
        yield
    except (sqlite3.OperationalError, OperationalError, InterfaceError) as error:
        words = str(error)
        if "no such" in words or "syntax" in words:  # a mistake of ours, not of the disk
            raise
        raise Unavailable(f"the store cannot be used now: {words}", retry_after=5.0) from error
