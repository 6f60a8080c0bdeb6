"""Notes about jobs: a name and any value, by whoever may change the job, for whoever may read it. A tag is a
note of the name `tag`, whose value is one word.

    {"associationIds": ["..-007"], "name": "tag", "value": "baseline"}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from jobd.errors import Conflict, Fault, Invalid, NotFound
from jobd.model import Model, Wrong, faults, pattern
from jobd.store import notes
from jobd.store.job import Job
from jobd.store.notes import COLUMNS, TAG, Note
from jobd.store.tables import dump
from jobd.store.writer import Transaction
from jobd.units import format_size, shown
from jobd.verbs.desk import Caller, Desk, find_writable, may_read

MOST = 1000
"""About one job."""
LARGEST = 64 * 1024
"""Bytes of a value as JSON."""
TAG_FORM = r"[^\s,*\x00-\x1f\x7f\ud800-\udfff]{1,64}"
_TAG_WORDS = "one word of at most 64 characters, without commas and *"


def _in_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Name = Annotated[str, pattern(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,128}", "1 to 128 printable characters")]


class Body(Model):
    association_ids: Annotated[tuple[str, ...], BeforeValidator(_in_list), Field(min_length=1, max_length=1)]
    """Of the job that it is about."""
    name: Name
    value: Any

    @model_validator(mode="after")
    def _fits(self) -> Body:
        if self.name == TAG and not _is_tag(self.value):
            raise Wrong(f"{shown(self.value)} is no tag", _TAG_WORDS, "value")
        if len(dump(self.value)) > LARGEST:
            raise Wrong("it is too large", f"at most {format_size(LARGEST)} as JSON", "value")
        return self


async def add(desk: Desk, caller: Caller, body: Mapping[str, Any]) -> Note:
    """Of a tag that the job has already, that one. Raises Invalid, NotFound, Forbidden, Conflict when there
    are too many."""
    wanted = _read(body)
    job = await find_writable(desk, caller, wanted.association_ids[0])
    return await desk.store.write(lambda tx: _add(tx, caller, job, wanted))


async def details(desk: Desk, caller: Caller, note_id: str) -> Note:
    found = await desk.store.read(lambda sql: notes.get(sql, note_id))
    job = found and await desk.store.job(found.job_id)
    if not (found and job and not job.hidden and may_read(desk, caller, job)):
        raise NotFound(f"no metadata {note_id}")
    return found


async def change(desk: Desk, caller: Caller, note_id: str, body: Mapping[str, Any]) -> Note:
    """With these fields; the others stay."""
    found = await details(desk, caller, note_id)
    before = {"associationIds": [found.job_id], "name": found.name, "value": found.value}
    wanted = _read({**before, **body})
    if wanted.association_ids != (found.job_id,):
        raise Invalid(Fault("associationIds", "a note stays with its job", found.job_id))
    await find_writable(desk, caller, found.job_id)
    await desk.store.write(lambda tx: notes.change(tx, note_id, wanted.name, wanted.value))
    return await details(desk, caller, note_id)


async def remove(desk: Desk, caller: Caller, note_id: str) -> Note:
    """As it was."""
    found = await details(desk, caller, note_id)
    await find_writable(desk, caller, found.job_id)
    await desk.store.write(lambda tx: notes.remove(tx, note_id))
    return found


async def listing(desk: Desk, caller: Caller, query: str | None, limit: int, offset: int) -> list[Note]:
    """Those that the query fits, about jobs that the caller may read. Raises Invalid."""
    where = _query(query)
    of = [] if caller.admin else caller.grantees
    return await desk.store.read(lambda sql: notes.listed(sql, where, of, limit, offset))


def _is_tag(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(TAG_FORM, value) is not None


def _read(body: Mapping[str, Any]) -> Body:
    def fault(path: Sequence[str | int], problem: str, expected: str) -> Fault:
        return Fault(".".join(map(str, path)), problem, expected)

    try:
        return Body.model_validate(body, by_name=False)
    except ValidationError as error:
        raise Invalid(*faults(error, fault, Body)) from None


def _add(tx: Transaction, caller: Caller, job: Job, wanted: Body) -> Note:
    made = notes.get(tx.sql, notes.add(tx, job.seq, caller.name, wanted.name, wanted.value))
    if notes.count(tx.sql, job.seq) > MOST:
        raise Conflict(f"job {job.id} would have more than {MOST} notes")
    assert made is not None
    return made


def _query(text: str | None) -> dict[str, str]:
    """Of Agave's queries, which are MongoDB's, those that ask for equality."""
    if text is None:
        return {}
    form = '{"associationIds": "<a job\'s id>"}'
    try:
        asked = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid(Fault("q", f"broken JSON: {error}", form)) from None
    if not isinstance(asked, dict):
        raise Invalid(Fault("q", f"{shown(asked)} is no query", form))
    wrong = [_query_fault(name, value) for name, value in asked.items() if not _is_asked(name, value)]
    if wrong:
        raise Invalid(*wrong)
    return asked


def _is_asked(name: str, value: object) -> bool:
    return name in COLUMNS and isinstance(value, str) and value.isprintable()


def _query_fault(name: str, value: object) -> Fault:
    if name in COLUMNS:
        return Fault(f"q.{name}"[:100], f"{shown(value)} cannot be looked for", "a text that it equals")
    return Fault(f"q.{name}"[:100], "notes cannot be looked for by this", f"one of {', '.join(COLUMNS)}")
