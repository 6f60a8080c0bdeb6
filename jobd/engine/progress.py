"""What staging and archiving have in common: how far they are, put down in the job's details while it lasts,
and another try of what nobody could answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from jobd.engine.lane import Lane
from jobd.errors import Unavailable
from jobd.store import moves
from jobd.store.job import Job

PAUSE = 5.0
"""Seconds until it is tried again."""
_TELL_EVERY = 2.0
"""Seconds between two words on how far it is: each is a change of the job."""

log = logging.getLogger(__name__)


def told(lane: Lane, job: Job) -> Callable[[dict[str, Any]], None]:
    """What hears, in an errand's thread, how far it is, and puts that down now and then."""
    loop = asyncio.get_running_loop()
    due = time.monotonic() + _TELL_EVERY

    def hear(news: dict[str, Any]) -> None:
        nonlocal due
        if (now := time.monotonic()) >= due:
            due = now + _TELL_EVERY
            loop.call_soon_threadsafe(lambda: lane.spawn(_put_down(lane, job, news)))

    return hear


async def _put_down(lane: Lane, job: Job, news: dict[str, Any]) -> None:
    details = job.details | {"progress": news}
    await lane.store.write(lambda tx: moves.change(tx, job, details=details))


async def try_later(lane: Lane, job: Job, trouble: Unavailable) -> None:
    log.warning("%s: %s of %s is tried again: %s", lane.system.id, job.status, job.id, trouble)
    details = job.details | {"progress": {"trouble": str(trouble)}}
    later = time.time() + PAUSE
    await lane.store.write(lambda tx: moves.change(tx, job, details=details, not_before=later))
    lane.ring_in(PAUSE, lane.files)


def without_progress(job: Job) -> dict[str, Any]:
    return {name: value for name, value in job.details.items() if name != "progress"}
