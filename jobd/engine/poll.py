"""Hearing how jobs are: one query for all of them, then one transaction for all that follows (T4, T9)."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from jobd.backend import Placed, Report
from jobd.engine.decide import Decided, Decision, absent, decide
from jobd.engine.lane import Lane
from jobd.engine.ticket import placed
from jobd.errors import JobdError
from jobd.status import AT_SYSTEM, Condition, Status
from jobd.store import moves, queries
from jobd.store.job import Job
from jobd.store.writer import Transaction

_CORRECTABLE_FOR = 7 * 86400.0
"""Seconds after which evidence that a LOST job ended otherwise is no longer looked for."""

log = logging.getLogger(__name__)


async def poll(lane: Lane, tags: set[str] | None) -> bool:
    """A turn: asks of those tags, or of all jobs that the system has, and writes down what follows. Returns
    whether there was an answer."""
    number = lane.wanted.add(tags)
    async with lane.polling:
        if lane.wanted.heard >= number:
            return True  # one that began after we asked has seen to it
        number, tags = lane.wanted.last, lane.wanted.take()
        lane.figures.polls += 1
        try:
            await _poll(lane, tags)
        except JobdError as trouble:
            lane.wanted.add(tags)
            _no_answer(lane, str(trouble))
            return False
        lane.wanted.heard = number
        return True


async def _poll(lane: Lane, tags: set[str] | None) -> None:
    jobs = await _jobs(lane, tags)
    reports, took = await lane.ask(_timed, lane, [placed(job) for job in jobs]) if jobs else ({}, 0.0)
    gap = _answered(lane) if tags is None and not lane.sick else None
    decided = [Decided(job, decision) for job in jobs if (decision := _decide(lane, job, reports, gap))]
    if decided:
        written = lane.store.hand_in(lambda tx: _write(tx, decided))
        if any("ended" in item.decision.columns for item in decided):
            lane.bell.set()  # now, so that who starts in its place is in the same commit
        await written
    if any(item.decision.to is Status.CLEANING_UP for item in decided):
        lane.files.set()
    if tags is None:
        changed = any(item.decision.to for item in decided)
        lane.pace.answered(changed, took)


def _timed(lane: Lane, jobs: list[Placed]) -> tuple[Mapping[str, Report | None], float]:
    """Runs in a thread of the lane: the answer, and how many seconds it took, without the wait for a
    thread."""
    began = time.monotonic()
    reports = lane.backend.poll(jobs)
    return reports, time.monotonic() - began


def _no_answer(lane: Lane, trouble: str) -> None:
    """Changes nothing about any job (T4)."""
    lane.figures.failed_polls += 1
    if lane.trouble != trouble:
        log.warning("%s does not answer: %s", lane.system.id, trouble)
    lane.trouble = trouble
    lane.pace.failed()


async def _jobs(lane: Lane, tags: set[str] | None) -> list[Job]:
    """Few are read in the event loop itself, as a single job is."""
    if tags is None:
        return await lane.store.read(lambda sql: _all(sql, lane.system.id))
    found = lane.store.query(lambda sql: queries.by_tags(sql, tags))
    return [job for job in found if job.submitted and _is_here(job, lane)]


def _all(sql: queries.Connection, system: str) -> list[Job]:
    return queries.placed(sql, system) + queries.lost(sql, system, time.time() - _CORRECTABLE_FOR)


def _is_here(job: Job, lane: Lane) -> bool:
    """News comes to all systems that jobd runs itself; only the job's own one knows whom its end lets
    start."""
    return job.system == lane.system.id and job.status in AT_SYSTEM


def _answered(lane: Lane) -> float:
    """Notes a complete answer. Returns the seconds since the one before, as far as they count as watched: an
    outage does not."""
    now = time.monotonic()
    gap = now - lane.answered if lane.answered is not None else 0.0
    lane.answered, lane.last_answer, lane.trouble = now, time.time(), ""
    return min(gap, 3 * max(lane.pace.interval, lane.pace.pause))


def _decide(lane: Lane, job: Job, reports: Mapping[str, Report | None], gap: float | None) -> Decision | None:
    tag = job.tag or ""
    report = reports.get(tag)
    if report is not None:
        return decide(job, report, time.time())
    if gap is None or job.over or tag in reports:
        return None
    return absent(job, gap, lane.system.lost_after, time.time())


def _write(tx: Transaction, decided: list[Decided]) -> None:
    for item in decided:
        job, decision = item.job, item.decision
        if job.condition is Condition.LOST and job.over:
            if decision.to:
                moves.correct(tx, job, decision.to, decision.description, **decision.columns)
        elif decision.to and decision.to is not job.status:
            moves.move(tx, job, decision.to, decision.description, decision.by, **decision.columns)
        else:
            moves.change(tx, job, **decision.columns)


async def forget(lane: Lane, jobs: list[Job]) -> None:
    try:
        await lane.call(lane.backend.forget, [placed(job) for job in jobs])
    except JobdError as trouble:
        log.warning("%s: could not clear up: %s", lane.system.id, trouble)
        return
    await lane.store.write(lambda tx: moves.forgotten(tx, [job.seq for job in jobs]))
