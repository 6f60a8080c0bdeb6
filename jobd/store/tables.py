"""The columns of the table `job`: exactly the fields of `Job`, in their order. What SQLite has no type for is
kept as JSON text.

Rows become values by one comprehension and no object-relational layer: at a hundred thousand jobs that is
what a list costs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from jobd.status import Condition, Status
from jobd.store.job import Event, Job

COLUMNS = tuple(field.name for field in fields(Job))
SELECT = f"SELECT {', '.join(COLUMNS)} FROM job"
_INSERTED = tuple(name for name in COLUMNS if name != "seq")
INSERT = f"INSERT INTO job ({', '.join(_INSERTED)}) VALUES ({', '.join('?' * len(_INSERTED))})"

Row = Sequence[Any]


def dump(value: Any) -> str:
    """As ASCII, so that arguments that are not UTF-8 (lone surrogates in Python) come back as they were."""
    return json.dumps(value, separators=(",", ":"))


def _tuple(text: str) -> tuple[Any, ...]:
    return tuple(json.loads(text)) if text != "[]" else ()


def _mapping(text: str) -> dict[str, Any]:
    return json.loads(text) if text != "{}" else {}


_READ: Mapping[str, Callable[[Any], Any]] = {
    "request": _mapping,
    "command": _tuple,
    "handle": _mapping,
    "gpu_indices": _tuple,
    "details": _mapping,
    "inputs": _mapping,
    "parameters": _mapping,
    "staging": _tuple,
    "migrated": _tuple,
    "archive": bool,
    "hidden": bool,
    "kept": bool,
    "status": Status,
    "held_from": lambda value: value and Status(value),
    "condition": lambda value: value and Condition(value),
}
_WRITTEN_AS_JSON = frozenset(name for name, read in _READ.items() if read in (_mapping, _tuple))
_READERS = tuple((at, _READ[name]) for at, name in enumerate(COLUMNS) if name in _READ)


def to_job(row: Row) -> Job:
    values = list(row)
    for at, read in _READERS:
        values[at] = read(values[at])
    return Job(*values)


def to_event(row: Row) -> Event:
    return Event(*row)


def to_sql(name: str, value: Any) -> Any:
    """One column's value as SQLite takes it."""
    return dump(value) if name in _WRITTEN_AS_JSON else value


def insert_values(job: Job) -> list[Any]:
    return [to_sql(name, getattr(job, name)) for name in _INSERTED]
