"""Carrying out a kill that is on record: asked again, less and less often, until the job is known to be over
(T6).

The wish is in the store, so a daemon that dies in between, or a system that is down, only delays it.
"""

from __future__ import annotations

import asyncio
import logging

from jobd.engine.lane import Lane
from jobd.engine.poll import poll
from jobd.engine.ticket import placed
from jobd.errors import JobdError
from jobd.store.job import Job

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0

log = logging.getLogger(__name__)


def begin(lane: Lane, job: Job) -> None:
    """Carries out the kill of a job that its system has, unless that is being done already."""
    if job.tag and job.tag not in lane.killing:
        lane.killing.add(job.tag)
        lane.spawn(_carry_out(lane, job, job.tag))


async def _carry_out(lane: Lane, job: Job, tag: str) -> None:
    try:
        await _until_over(lane, job, tag)
    finally:
        lane.killing.discard(tag)


async def _until_over(lane: Lane, job: Job, tag: str) -> None:
    pause = _FIRST_PAUSE
    current: Job | None = job
    while current is not None and not current.done and current.tag == tag:
        with lane.store.changes.watch(job.id) as changed:
            try:
                await lane.ask(lane.backend.kill, placed(current))
            except JobdError as trouble:
                log.warning("%s: kill of %s is not through: %s", lane.system.id, job.id, trouble)
            await asyncio.wait([changed], timeout=pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
        current = await lane.store.job(job.id)
        if current and not current.done:
            await poll(lane, {tag})
            current = await lane.store.job(job.id)
