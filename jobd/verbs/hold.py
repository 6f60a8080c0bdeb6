"""Hold keeps a job from starting; release lets it go on from where it was. A job that runs is not held: kill
it or let it run."""

from __future__ import annotations

from typing import Any

from jobd.errors import Conflict
from jobd.status import PLACED, WAITING, Status
from jobd.store import moves, queries
from jobd.store.backup import RESTORED
from jobd.store.job import Job
from jobd.store.writer import Transaction
from jobd.verbs.desk import Caller, Desk, find_writable


async def hold(desk: Desk, caller: Caller, job_id: str) -> Job:
    """Raises Conflict for a job that runs, is just being handed over, or is over."""
    job = await find_writable(desk, caller, job_id)
    if job.status is Status.PAUSED:
        return job
    if job.status is Status.QUEUED:
        await desk.engine.ask(job, lambda backend, placed: backend.hold(placed))
    elif job.status not in WAITING:
        raise Conflict(f"job {job_id} is {job.status}: only a job that waits can be held")
    return await desk.store.write(lambda tx: _pause(tx, job, caller))


async def release(desk: Desk, caller: Caller, job_id: str) -> Job:
    """Raises Conflict for a job that is not held."""
    job = await find_writable(desk, caller, job_id)
    if job.status is not Status.PAUSED or job.held_from is None:
        raise Conflict(f"job {job_id} is {job.status}: only a held job can be released")
    if job.held_from in PLACED:
        await desk.engine.ask(job, lambda backend, placed: backend.release(placed))
    released = await desk.store.write(lambda tx: _resume(tx, job, caller))
    desk.engine.submitted(job.system)
    desk.engine.to_stage(job.system)
    return released


def _pause(tx: Transaction, job: Job, caller: Caller) -> Job:
    current = queries.job(tx.sql, job.id)
    if current and {job.status, current.status} <= WAITING:  # between these two it moves by itself
        job = current
    words = f"Held by {caller.name}."
    facts = {"held_from": job.status, "reason": words}
    return _moved(tx, job, Status.PAUSED, words, caller, facts)


def _resume(tx: Transaction, job: Job, caller: Caller) -> Job:
    assert job.held_from is not None
    details = {name: fact for name, fact in job.details.items() if name != RESTORED}
    facts = {"held_from": None, "reason": "", "details": details}
    return _moved(tx, job, job.held_from, "Released.", caller, facts)


def _moved(tx: Transaction, job: Job, to: Status, words: str, caller: Caller, facts: dict[str, Any]) -> Job:
    """The job after the move; a poll that saw the same in the meantime is as good."""
    moved = moves.move(tx, job, to, words, caller.name, **facts)
    current = queries.job(tx.sql, job.id) or job
    if not moved and current.status is not to:
        raise Conflict(f"job {job.id} has moved on from {job.status} to {current.status}: look again")
    return current
