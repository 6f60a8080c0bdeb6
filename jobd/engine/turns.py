"""The turns of a lane, and what sets them off: a bell, news, or the time. Each can be done again at any
time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from jobd.engine import admit, files, handover, kill, room
from jobd.engine.lane import Lane
from jobd.engine.poll import forget, poll
from jobd.errors import JobdError
from jobd.store import queries

_KEEP_EVIDENCE = 600.0
"""Seconds for which what a backend keeps of a job stays there after its end is in the store."""
_MOST_FORGOTTEN = 1000
_AFTER_A_FAULT = 1.0
_LONGEST_LOOK = 5.0

log = logging.getLogger(__name__)


async def start(lane: Lane) -> None:
    """Takes up what a daemon before this one left, then goes on at each bell."""
    await _take_up(lane)
    lane.spawn(_sweeps(lane))
    lane.spawn(_at_each(lane, lane.bell, start_waiting))
    lane.spawn(_at_each(lane, lane.files, move_files))
    lane.spawn(_at_each(lane, lane.news, listen))


async def start_waiting(lane: Lane) -> None:
    """Hands over the jobs that may start now; to a system that does not answer, none."""
    if lane.sick:
        return
    async with lane.admitting:
        full = await _short_of_room(lane)
        admitted = await lane.store.write(
            lambda tx: admit.admit(tx, lane.system, time.time(), lane.past, full)
        )
        lane.waits, lane.full = admitted.waits, admitted.full
        for job in admitted.jobs:
            lane.figures.started += 1
            if job.attempt == 1:
                lane.figures.waited.add(max(0.0, time.time() - job.created))
            handover.begin(lane, job)
    if admitted.more:
        lane.bell.set()


async def move_files(lane: Lane) -> None:
    """Begins what may be staged or archived now."""
    await files.begin(lane, await _short_of_room(lane))


async def _short_of_room(lane: Lane) -> dict[str, str]:
    """By user, in words. A file system that does not answer holds up nothing but that question."""
    if lane.system.min_free is None:
        return {}
    owners = lane.store.query(lambda sql: queries.owners_waiting(sql, lane.system.id))
    if lane.roomy.holds(owners):
        return {}
    if lane.looking is None or lane.looking.done():
        lane.looking = asyncio.ensure_future(_look_for_room(lane, owners))
    look = lane.looking  # the next one may have begun by the time we go on
    done, _ = await asyncio.wait([look], timeout=_LONGEST_LOOK)
    return look.result() if done else {}


async def _look_for_room(lane: Lane, owners: set[str]) -> dict[str, str]:
    short = await lane.call(room.short, lane.system, owners)
    lane.roomy.note(owners, short)
    return short


async def listen(lane: Lane) -> None:
    """Looks at the jobs of which there was news."""
    tags = lane.take_heard()
    answered = False
    try:
        answered = await poll(lane, tags)
    finally:
        if not answered:
            lane.put_back(tags)


async def sweep(lane: Lane) -> None:
    """Looks at everything: what news may have missed, what a fault has cut short, kills still to be carried
    out, slots that nobody knew were free."""
    await poll(lane, None)
    await _take_up(lane)
    for job in await lane.store.read(lambda sql: queries.kill_asked(sql, lane.system.id)):
        kill.begin(lane, job)
    lane.bell.set()
    lane.files.set()


async def _sweeps(lane: Lane) -> None:
    while True:
        try:
            await sweep(lane)
        except Exception as fault:
            _log_fault(lane, fault)
        await _rest(lane)


async def _rest(lane: Lane) -> None:
    """Until the next sweep; when somebody hurries it meanwhile, less long."""
    deadline = time.monotonic() + lane.pace.pause
    while (left := deadline - time.monotonic()) > 0:
        lane.hurried.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(lane.hurried.wait(), left)
            deadline = min(deadline, time.monotonic() + lane.pace.pause)


async def _take_up(lane: Lane) -> None:
    """Hand-overs that were begun and that nobody is at are looked up, not repeated (T2)."""
    async with lane.admitting:
        for job in await lane.store.read(lambda sql: queries.submitting(sql, lane.system.id)):
            handover.take_up(lane, job)


async def clear_up(lane: Lane) -> None:
    """Lets the backend remove what it kept for jobs that ended a while ago."""
    before = time.time() - _KEEP_EVIDENCE
    jobs = await lane.store.read(lambda sql: queries.kept(sql, lane.system.id, before, _MOST_FORGOTTEN))
    if jobs:
        await forget(lane, jobs)


async def _at_each(lane: Lane, event: asyncio.Event, turn: Callable[[Lane], Awaitable[None]]) -> None:
    while True:
        await event.wait()
        event.clear()
        try:
            await turn(lane)
        except Exception as fault:
            _log_fault(lane, fault)
            await asyncio.sleep(_AFTER_A_FAULT)
            event.set()


def _log_fault(lane: Lane, fault: Exception) -> None:
    trace = None if isinstance(fault, JobdError) else fault
    log.warning("%s: a turn failed and is done again: %s", lane.system.id, fault, exc_info=trace)
