"""Delete means hide: the job is gone from listings and from its routes; record, history and outputs stay.
Restore brings it back, and says so where its files have been removed meanwhile.

An active job is killed first, and hidden in the very transaction in which its end goes on record. One whose
outputs are being archived is hidden at once, and that goes on.
"""

from __future__ import annotations

from jobd.errors import Conflict
from jobd.store import moves, queries
from jobd.store.job import Job
from jobd.store.writer import Transaction
from jobd.units import format_moment
from jobd.verbs.desk import Caller, Desk, find_writable
from jobd.verbs.kill import kill


async def delete(desk: Desk, caller: Caller, job_id: str) -> tuple[Job, bool]:
    """The job, and whether it is hidden; if not, it will be as soon as it is over."""
    job = await find_writable(desk, caller, job_id)
    if not job.done:
        job, _ = await kill(desk, caller, job_id, delete=True)
    if job.done and not job.hidden:
        job = await desk.store.write(lambda tx: _hide(tx, job.id, caller))
    return job, job.hidden


async def restore(desk: Desk, caller: Caller, job_id: str) -> Job:
    """Raises Conflict if it is not hidden."""
    seen = await find_writable(desk, caller, job_id, hidden=True)
    return await desk.store.write(lambda tx: _show(tx, seen.id, caller))


def _hide(tx: Transaction, job_id: str, caller: Caller) -> Job:
    job = queries.job(tx.sql, job_id)
    assert job is not None, "rows are never removed"
    if not job.hidden and moves.change(tx, job, hidden=True):
        moves.record(tx, job.seq, "DELETED", caller.name, "Hidden from listings.")
    return queries.job(tx.sql, job_id) or job


def _show(tx: Transaction, job_id: str, caller: Caller) -> Job:
    job = queries.job(tx.sql, job_id)
    assert job is not None, "rows are never removed"
    if not job.hidden:
        raise Conflict(f"job {job_id} is not hidden: there is nothing to restore")
    moves.change(tx, job, hidden=False, delete_asked=None, delete_asked_by=None)
    words = "Back in listings."
    if job.purged is not None:
        words += f" Its files are gone: they were removed on {format_moment(job.purged)}."
    moves.record(tx, job.seq, "RESTORED", caller.name, words)
    return queries.job(tx.sql, job_id) or job
