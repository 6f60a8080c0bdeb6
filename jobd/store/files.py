"""What is known of a job's files: its inputs as they were staged, its outputs as they were archived.

A name that is no UTF-8 is kept as the bytes that it is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from jobd.store.job import Job
from jobd.store.writer import Transaction


@dataclass(frozen=True)
class Staged:
    """A file, a directory, or a file in one, as it was brought in. Of a directory: the size of all its files,
    and the digest that `sha256sum` over them would have."""

    input: str
    source: str
    """As the plan has it: an absolute path or a URL."""
    name: str
    """In the work directory."""
    size: int
    sha256: str | None
    """None: it is used in its place, and was not read."""
    mtime: float | None
    inode: int | None
    """Of the original."""
    etag: str | None


@dataclass(frozen=True)
class Output:
    path: str
    size: int
    sha256: str | None


def keep_staged(tx: Transaction, job: Job, rows: Iterable[Mapping[str, Any]]) -> None:
    """In place of what was staged before."""
    tx.sql.execute("DELETE FROM staged WHERE job_seq = ?", (job.seq,))
    values = ((job.seq, *map(_text, astuple(Staged(**row)))) for row in rows)
    tx.sql.executemany("INSERT INTO staged VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def staged(sql: sqlite3.Connection, job: Job) -> list[Staged]:
    columns = "input, source, name, size, sha256, mtime, inode, etag"
    found = sql.execute(f"SELECT {columns} FROM staged WHERE job_seq = ? ORDER BY name", (job.seq,))
    return [Staged(*map(_name, row)) for row in found]


def sources(sql: sqlite3.Connection, job: Job) -> list[Staged]:
    """One for each line of its plan, without the files within directories."""
    lines = {(line["input"], line["source"], line["name"]) for line in job.staging}
    return [one for one in staged(sql, job) if (one.input, one.source, one.name) in lines]


def keep_outputs(tx: Transaction, job: Job, rows: Iterable[Mapping[str, Any]]) -> None:
    tx.sql.execute("DELETE FROM output WHERE job_seq = ?", (job.seq,))
    values = ((job.seq, _text(row["path"]), row["size"], row["sha256"]) for row in rows)
    tx.sql.executemany("INSERT INTO output VALUES (?, ?, ?, ?)", values)


def outputs(sql: sqlite3.Connection, job: Job) -> list[Output]:
    found = sql.execute("SELECT path, size, sha256 FROM output WHERE job_seq = ? ORDER BY path", (job.seq,))
    return [Output(*map(_name, row)) for row in found]


_IS_OUTPUT = " OR ".join(
    f"EXISTS (SELECT 1 FROM output WHERE job_seq = ?1 AND {condition})"
    for condition in (
        "path IN (?2, CAST(?2 AS TEXT))",
        "path >= CAST(?3 AS TEXT) AND path < CAST(?4 AS TEXT)",
        "path >= ?3 AND path < ?4",
    )
)


def is_output(sql: sqlite3.Connection, job: Job, path: str) -> bool:
    """Is that on record, or something beneath it? Names are kept as text, or as bytes."""
    parameters = (job.seq, *map(os.fsencode, (path, f"{path}/", f"{path}0")))  # 0 comes next after /
    (found,) = sql.execute(f"SELECT {_IS_OUTPUT}", parameters).fetchone()
    return bool(found)


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return os.fsencode(value)
    return value


def _name(value: Any) -> Any:
    return os.fsdecode(value) if isinstance(value, bytes) else value
