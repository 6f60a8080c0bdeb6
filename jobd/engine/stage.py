"""Bringing a job's inputs in. What was staged, and the move to STAGED, are one transaction.

What can never be is FAILED with condition STAGING_FAILED, and says which input and why. What nobody could
answer (a file system that hangs) is tried again. A job that fails here, or is ended, leaves no work
directory: all that was in it were copies.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from jobd.engine.lane import Lane
from jobd.engine.progress import told, try_later, without_progress
from jobd.errors import Forbidden, JobdError, Refused, Unavailable
from jobd.keeper.persons import Leash
from jobd.status import Condition, Status
from jobd.store import files, moves, queries
from jobd.store.job import Job
from jobd.store.writer import Transaction

log = logging.getLogger(__name__)


async def stage(lane: Lane, job: Job, leash: Leash) -> None:
    """Of a job in STAGING_INPUTS."""
    if await _ended_instead(lane, job):
        return
    try:
        rows = await lane.transfers.call(_bring_in, lane, job, told(lane, job), leash)
    except (Refused, Forbidden) as error:
        await _end(lane, job, Status.FAILED, Condition.STAGING_FAILED, str(error))
    except Unavailable as trouble:
        if not await _ended_instead(lane, job):
            await try_later(lane, job, trouble)
    else:
        await lane.store.write(lambda tx: _staged(tx, job, rows))
    lane.bell.set()


def _bring_in(lane: Lane, job: Job, tell: Any, leash: Leash) -> list[dict[str, Any]]:
    fetch = lane.fetch
    limits = {
        "idle": fetch.idle_timeout,
        "total": fetch.total_timeout,
        "size": fetch.max_size,
        "redirects": fetch.max_redirects,
    }
    return lane.persons.stage(job.owner, job.workspace, job.id, job.staging, limits, tell, leash)


def _staged(tx: Transaction, job: Job, rows: list[dict[str, Any]]) -> None:
    current = queries.job(tx.sql, job.id) or job
    if current.kill_asked:  # in the last moment: the next turn ends it
        return
    files.keep_staged(tx, job, rows)
    size = sum(row["size"] for row in rows if row["name"] in {line["name"] for line in job.staging})
    words = f"Its inputs are in its work directory: {size} bytes."
    moves.move(tx, job, Status.STAGED, words, details=without_progress(job))


async def _ended_instead(lane: Lane, job: Job) -> bool:
    """Somebody wants an end of it."""
    current = await lane.store.job(job.id)
    if current is None or not current.kill_asked:
        return False
    await _end(lane, current, Status.STOPPED, Condition.KILLED, "")
    return True


async def _end(lane: Lane, job: Job, to: Status, condition: Condition, reason: str) -> None:
    try:
        await lane.transfers.call(lane.persons.remove, job.owner, job.workspace, job.id, Leash())
    except JobdError as trouble:
        log.warning("%s: the work directory of %s stays: %s", lane.system.id, job.id, trouble)
    facts = {"condition": condition, "evidence": "never handed over", "ended": time.time(), "reason": reason}
    words = f"Its inputs could not be brought in. {reason}"
    by = moves.DAEMON
    if condition is Condition.KILLED:
        words, by = "Killed while its inputs were brought in.", job.kill_asked_by or by
    await lane.store.write(
        lambda tx: moves.move(tx, job, to, words, by, details=without_progress(job), **facts)
    )
