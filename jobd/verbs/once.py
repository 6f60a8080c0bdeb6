"""Once per Idempotency-Key: who asks again, since the answer was lost, gets what the first request made."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from jobd.errors import Conflict, Fault, Invalid
from jobd.store import queries
from jobd.store.tables import dump
from jobd.store.writer import Transaction
from jobd.verbs.desk import Caller

_LONGEST = 255


@dataclass(frozen=True)
class Key:
    """An Idempotency-Key and the digest of the request that came with it."""

    key: str
    digest: str


def check(key: Key | None) -> None:
    if key and len(key.key) > _LONGEST:
        raise Invalid(Fault("Idempotency-Key", "it is too long", f"at most {_LONGEST} characters"))


def made_before(sql: queries.Connection, caller: Caller, key: Key | None) -> list[str] | None:
    """The ids of what this key made before; None when it is new. Raises Conflict when it came with another
    request."""
    found = queries.request_key(sql, caller.name, key.key) if key else None
    if key is None or found is None:
        return None
    digest, ids = found
    if digest != key.digest:
        raise Conflict(
            "this Idempotency-Key came with another request before: use a new key for a new request"
        )
    return ids


def remember(tx: Transaction, caller: Caller, key: Key | None, ids: Sequence[str]) -> None:
    """In the transaction that makes them."""
    if key:
        tx.sql.execute(
            "INSERT INTO request_key (owner, key, digest, jobs, created) VALUES (?, ?, ?, ?, ?)",
            (caller.name, key.key, key.digest, dump(list(ids)), time.time()),
        )
