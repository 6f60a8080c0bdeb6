"""Resolve: a person decides what jobd refuses to guess, namely whether a job whose hand-over is in doubt was
ever taken (T2)."""

from __future__ import annotations

import time

from jobd.errors import Conflict, Fault, Invalid
from jobd.status import Status
from jobd.store import moves, queries
from jobd.store.job import Job
from jobd.store.writer import Transaction
from jobd.verbs.desk import Caller, Desk, find_writable


async def resolve(
    desk: Desk, caller: Caller, job_id: str, local_id: str | None, never_submitted: bool
) -> Job:
    """With `local_id`: the system has it, under that id. With `never_submitted`: it has not, hand it over
    again.

    Raises Invalid unless exactly one is given, Conflict for a job whose hand-over is not in doubt.
    """
    if bool(local_id) == never_submitted:
        raise Invalid(Fault("localId", "say either localId or neverSubmitted", "one of the two"))
    job = await find_writable(desk, caller, job_id)
    system = desk.settings.system(job.system)
    if system and system.slots:
        raise Conflict(f"{job.system} is run by jobd itself, which finds that out without help")
    if job.status is not Status.SUBMITTING:
        raise Conflict(f"job {job_id} is {job.status}: only one that is SUBMITTING can be in doubt")
    resolved = await desk.store.write(lambda tx: _decide(tx, job, caller, local_id))
    desk.engine.submitted(job.system)
    return resolved


def _decide(tx: Transaction, job: Job, caller: Caller, local_id: str | None) -> Job:
    if local_id:
        words, to = f"{caller.name} says that its system has it as {local_id}.", Status.QUEUED
        facts: dict[str, object] = {"local_id": local_id, "submitted": time.time()}
    else:
        words, to = f"{caller.name} says that its system never took it.", Status.STAGED
        facts = {"gpu_indices": ()}
    if not moves.move(tx, job, to, words, caller.name, reason="", **facts):
        raise Conflict(f"job {job.id} has moved on just now: look again")
    return queries.job(tx.sql, job.id) or job
