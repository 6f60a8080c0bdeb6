"""Notes about jobs, in the store: a name and any value of JSON's. A tag is a note of the name `tag`."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from jobd.store import pems
from jobd.store.tables import dump
from jobd.store.writer import Transaction

TAG = "tag"


@dataclass(frozen=True)
class Note:
    id: str
    job_id: str
    owner: str
    name: str
    value: Any
    created: float
    updated: float


_SELECT = """SELECT note.id, job.id, note.owner, note.name, value, note.created, note.updated
    FROM note JOIN job ON job.seq = job_seq"""

COLUMNS = {"associationIds": "job.id", "name": "note.name", "owner": "note.owner", "uuid": "note.id"}
"""What notes can be looked for by."""


def add(tx: Transaction, job_seq: int, owner: str, name: str, value: Any) -> str:
    """Its id; of a tag that the job has already, that one's."""
    if name == TAG and (there := _tag(tx.sql, job_seq, value)):
        return there
    note_id, now = f"{uuid.uuid4()}-012", time.time()
    tx.sql.execute(
        "INSERT INTO note (id, job_seq, owner, name, value, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (note_id, job_seq, owner, name, dump(value), now, now),
    )
    return note_id


def change(tx: Transaction, note_id: str, name: str, value: Any) -> None:
    tx.sql.execute(
        "UPDATE note SET name = ?, value = ?, updated = ? WHERE id = ?",
        (name, dump(value), time.time(), note_id),
    )


def remove(tx: Transaction, note_id: str) -> None:
    tx.sql.execute("DELETE FROM note WHERE id = ?", (note_id,))


def get(sql: sqlite3.Connection, note_id: str) -> Note | None:
    found = _found(sql, "note.id = ?", (note_id,))
    return found[0] if found else None


def listed(
    sql: sqlite3.Connection, where: Mapping[str, str], of: Collection[str], limit: int, offset: int
) -> list[Note]:
    """In the order in which they were made, those about jobs that are not hidden. `where`: by the words of
    `COLUMNS`; `of`: only about jobs of the first of these grantees, or shared with any of them."""
    conditions = ["job.hidden = 0", *(f"{COLUMNS[word]} = ?" for word in where)]
    parameters: list[Any] = list(where.values())
    if of:
        conditions.append(pems.READABLE)
        parameters += pems.reader(of)
    page = "ORDER BY note.seq LIMIT ? OFFSET ?"
    return _found(sql, f"{' AND '.join(conditions)} {page}", (*parameters, limit, offset))


def count(sql: sqlite3.Connection, job_seq: int) -> int:
    (number,) = sql.execute("SELECT count(*) FROM note WHERE job_seq = ?", (job_seq,)).fetchone()
    return int(number)


def _found(sql: sqlite3.Connection, where: str, parameters: tuple[Any, ...]) -> list[Note]:
    return [_note(*row) for row in sql.execute(f"{_SELECT} WHERE {where}", parameters)]


def _note(
    note_id: str, job_id: str, owner: str, name: str, value: str, created: float, updated: float
) -> Note:
    return Note(note_id, job_id, owner, name, json.loads(value), created, updated)


def _tag(sql: sqlite3.Connection, job_seq: int, word: str) -> str | None:
    where = "name = 'tag' AND json_extract(value, '$') = ? AND job_seq = ?"
    row = sql.execute(f"SELECT id FROM note WHERE {where}", (word, job_seq)).fetchone()
    return row[0] if row else None
