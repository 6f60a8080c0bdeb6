"""Putting a job's outputs into its archive. How its program ended is on record, and decides the final status.

    all outputs complete and in view in the archive  >  that, and their digests, in the store  >  the work
    directory removed, by its mark  >  the final status

A crash anywhere between is only work that has to be done again. What can never be is FAILED with condition
ARCHIVING_FAILED: the work directory is as it was, and outputs are served from there.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from jobd.engine.lane import Lane
from jobd.engine.progress import told, try_later, without_progress
from jobd.errors import Forbidden, Refused, Unavailable
from jobd.keeper.persons import Leash
from jobd.status import Condition, Status, ending
from jobd.store import files, moves
from jobd.store.job import Job
from jobd.store.writer import Transaction


async def archive(lane: Lane, job: Job, leash: Leash) -> None:
    """Of a job in ARCHIVING."""
    try:
        if job.archived is None:
            said = await lane.transfers.call(_put_away, lane, job, told(lane, job), leash)
            job = await lane.store.write(lambda tx: _archived(tx, job, said))
        left = await _clear(lane, job, leash)
    except (Refused, Forbidden) as error:
        why = str(error)
        await lane.store.write(lambda tx: _failed(tx, job, why))
    except Unavailable as trouble:
        await try_later(lane, job, trouble)
    else:
        await lane.store.write(lambda tx: _over(tx, job, left))


def _put_away(lane: Lane, job: Job, tell: Any, leash: Leash) -> dict[str, Any]:
    links = {line["name"] for line in job.staging if line["inPlace"]}
    staged = lane.store.query(lambda sql: files.staged(sql, job))
    before = [(one.name, one.size, None if one.name in links else one.mtime) for one in staged]
    return lane.persons.archive(job.owner, job.workspace, job.id, job.archive_path, before, tell, leash)


def _archived(tx: Transaction, job: Job, said: dict[str, Any]) -> Job:
    files.keep_outputs(tx, job, said["files"])
    facts: dict[str, Any] = {"archived": time.time(), "details": without_progress(job)}
    notes = {"notRecorded": said["more"], "notArchived": said["left"]}
    facts["details"] |= {name: value for name, value in notes.items() if value}
    moves.change(tx, job, **facts)
    return replace(job, **facts)


async def _clear(lane: Lane, job: Job, leash: Leash) -> str:
    """Why the work directory is still there; empty: it is not."""
    try:
        removed = await lane.transfers.call(lane.persons.remove, job.owner, job.workspace, job.id, leash)
    except Refused as error:
        return str(error)
    return "" if removed else f"{job.workspace} has lost its mark"


def _over(tx: Transaction, job: Job, left: str) -> None:
    details = without_progress(job) | ({"workDirectory": left} if left else {})
    words = f"Its outputs are in {job.archive_path}."
    if left:
        words += f" Its work directory stays: {left}."
    moves.move(tx, job, ending(job.condition or Condition.LOST), words, details=details)


def _failed(tx: Transaction, job: Job, why: str) -> None:
    facts: dict[str, Any] = {
        "condition": Condition.ARCHIVING_FAILED,
        "reason": why,
        "details": without_progress(job) | {"endedAs": job.condition},
    }
    words = f"Its outputs could not be archived, and are in its work directory. {why}"
    moves.move(tx, job, Status.FAILED, words, **facts)
