"""Kill (alias cancel, stop). The wish is on disk first; then the engine carries it out, and the reply waits
for the end (T6).

A job that no system has yet is stopped by a line in the store. One that is being handed over is killed when
it comes out of that (T7). One that is over stays as it ended, and so does one whose outputs are being
archived: there is nothing left to kill.
"""

from __future__ import annotations

import asyncio
import time

from jobd.status import WAITING, Condition, Status
from jobd.store import moves, queries
from jobd.store.backup import RESTORED
from jobd.store.job import Job
from jobd.store.writer import Transaction
from jobd.verbs.desk import Caller, Desk, find_writable


async def kill(desk: Desk, caller: Caller, job_id: str, *, delete: bool = False) -> tuple[Job, bool]:
    """The job, and whether it is over; if not, that goes on (`Settings.kill_wait` bounds the waiting). With
    `delete`, it is hidden when it is over."""
    seen = await find_writable(desk, caller, job_id)
    job = await desk.store.write(lambda tx: _ask(tx, seen.id, caller, delete))
    if not job.done:
        desk.engine.kill_asked(job)
    if not job.over:
        job = await until_over(desk, job, desk.settings.kill_wait)
    return job, job.over


async def until_over(desk: Desk, job: Job, seconds: float) -> Job:
    """The job when it is over, or as it is after that time."""
    deadline = time.monotonic() + seconds
    while True:
        with desk.store.changes.watch(job.id) as changed:
            current = await desk.store.job(job.id)
            left = deadline - time.monotonic()
            if current is None or current.over or left <= 0:
                return current or job
            await asyncio.wait([changed], timeout=left)


def _ask(tx: Transaction, job_id: str, caller: Caller, delete: bool) -> Job:
    """Writes the wish down, or the end at once where nobody has the job yet. Returns the job as it is
    then."""
    job = queries.job(tx.sql, job_id)
    assert job is not None, "rows are never removed"
    now = time.time()
    if job.done:
        return job
    wish: dict[str, object] = {}
    if job.kill_asked is None:
        wish |= {"kill_asked": now, "kill_asked_by": caller.name}
    if delete and job.delete_asked is None:
        wish |= {"delete_asked": now, "delete_asked_by": caller.name}
    if wish:
        moves.change(tx, job, **wish)
        job = queries.job(tx.sql, job_id) or job
    if job.status in WAITING or (job.status is Status.PAUSED and job.submitted is None):
        doubt = job.details.get(RESTORED, "")
        evidence = "not known to have been handed over" if doubt else "never handed over"
        ending = {"condition": Condition.KILLED, "evidence": evidence, "ended": now, "reason": doubt}
        words = f"Killed before it was handed over. {doubt}".rstrip()
        moves.move(tx, job, Status.STOPPED, words, caller.name, **ending)
    elif "kill_asked" in wish:
        moves.record(tx, job.seq, "KILL_ASKED", caller.name, "Asked to end.")
    return queries.job(tx.sql, job_id) or job
