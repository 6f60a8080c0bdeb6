"""Apps in the store: every revision of each, and which of them is in force.

A revision's number belongs to one app of that id among those that one person can see, their own and the
machine's: a job's owner, its app's id and the number name it for good.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from jobd.store.search import like_pattern
from jobd.store.tables import dump
from jobd.store.writer import Transaction

MACHINE = ""
"""The owner of the apps that everybody has."""
_SELECT = "SELECT owner, id, revision, digest, body, source, created FROM app"


@dataclass(frozen=True)
class Revision:
    owner: str
    id: str
    revision: int
    digest: str
    text: str
    """The app, as JSON."""
    source: str
    created: float

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


def in_force(sql: sqlite3.Connection, person: str, app_id: str) -> Revision | None:
    """Today's app of that id for that person; their own goes before the machine's."""
    return _first(sql, "in_force = 1 AND id = ? AND owner IN (?, '') ORDER BY owner DESC", (app_id, person))


def revision(sql: sqlite3.Connection, person: str, app_id: str, number: int) -> Revision | None:
    return _first(sql, "id = ? AND revision = ? AND owner IN (?, '')", (app_id, number, person))


def listed(sql: sqlite3.Connection, person: str, like: str, limit: int, offset: int) -> list[Revision]:
    """Those in force, by id. `like`: with `*` for anything."""
    where = "in_force = 1 AND owner IN (?, '') AND id LIKE ? ESCAPE '\\' ORDER BY id, owner LIMIT ? OFFSET ?"
    return _all(sql, where, (person, like_pattern(like), limit, offset))


def put(
    tx: Transaction, owner: str, app_id: str, digest: str, body: Mapping[str, Any], source: str = ""
) -> Revision:
    """Brings an app into force: as it is if it is the same as before, else as a new revision."""
    last = _first(tx.sql, "owner = ? AND id = ? ORDER BY revision DESC LIMIT 1", (owner, app_id))
    if last and last.digest == digest:
        tx.sql.execute(
            "UPDATE app SET in_force = 1, source = ? WHERE owner = ? AND id = ? AND revision = ?",
            (source, owner, app_id, last.revision),
        )
        return last
    withdraw(tx, owner, app_id)
    (number,) = tx.sql.execute(
        "SELECT coalesce(max(revision), 0) + 1 FROM app WHERE id = ?", (app_id,)
    ).fetchone()
    row = (owner, app_id, number, digest, dump(body), source, time.time())
    tx.sql.execute(
        "INSERT INTO app (owner, id, revision, digest, body, source, created, in_force)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
        row,
    )
    return Revision(*row)


def withdraw(tx: Transaction, owner: str, app_id: str) -> bool:
    """Whether it was in force. Its revisions stay."""
    done = tx.sql.execute(
        "UPDATE app SET in_force = 0 WHERE owner = ? AND id = ? AND in_force = 1", (owner, app_id)
    )
    return bool(done.rowcount)


def withdraw_machines(tx: Transaction, but_ids: Collection[str], but_sources: Collection[str]) -> list[str]:
    """Those of the machine's whose files are gone; the ids. A file that is faulty now keeps its app."""
    gone = [
        one.id
        for one in _all(tx.sql, "in_force = 1 AND owner = ''", ())
        if one.id not in but_ids and one.source not in but_sources
    ]
    for app_id in gone:
        withdraw(tx, MACHINE, app_id)
    return gone


def _all(sql: sqlite3.Connection, where: str, parameters: tuple[Any, ...]) -> list[Revision]:
    return [Revision(*row) for row in sql.execute(f"{_SELECT} WHERE {where}", parameters)]


def _first(sql: sqlite3.Connection, where: str, parameters: tuple[Any, ...]) -> Revision | None:
    found = _all(sql, where, parameters)
    return found[0] if found else None
