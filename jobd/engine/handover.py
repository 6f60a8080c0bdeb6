"""Giving a job to its system, once (T2).

The intent is on disk already: the job is in SUBMITTING with its tag. A backend that says Unavailable may have
taken it all the same, and so may one that was asked by a daemon that died: then it is *found*, more than once
and by complete answers, before anything is submitted again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from jobd.backend import Phase, Placed, Report, Ticket
from jobd.engine import kill
from jobd.engine.decide import decide
from jobd.engine.lane import Lane
from jobd.engine.ticket import ticket
from jobd.errors import Down, Refused, Unavailable
from jobd.status import AT_SYSTEM, Condition, Status
from jobd.store import moves, queries
from jobd.store.backup import RESTORED
from jobd.store.job import Job
from jobd.store.writer import Transaction

_BETWEEN_LOOKS = 1.0
_LONGEST_PAUSE = 60.0

log = logging.getLogger(__name__)


def begin(lane: Lane, job: Job) -> None:
    """A job just moved to SUBMITTING goes to its backend."""
    lane.hand_over(job.tag or "", _hand_over(lane, job))


def take_up(lane: Lane, job: Job) -> None:
    """A job is in SUBMITTING and nobody is at it: a former daemon, or a full disk, cut its hand-over
    short."""
    if job.tag not in lane.handing:
        lane.hand_over(job.tag or "", _look_up(lane, job, "Its hand-over was interrupted."))


async def _hand_over(lane: Lane, job: Job) -> None:
    try:
        async with lane.submitting.submit(job.owner):
            placed = await lane.ask(_submit, lane, job)
    except Refused as refusal:
        await _refuse(lane, job, str(refusal))
    except Unavailable as trouble:
        log.warning("%s: handing over %s is in doubt: %s", lane.system.id, job.id, trouble)
        await _look_up(lane, job, str(trouble))
    except Exception as fault:  # a backend's bug must neither leave a job in SUBMITTING nor submit it twice
        log.exception("%s: handing over %s failed", lane.system.id, job.id)
        await _look_up(lane, job, f"The backend failed: {fault!r}")
    else:
        await _take(lane, job, placed)


def _submit(lane: Lane, job: Job) -> Placed:
    """Runs in a thread of the lane."""
    digest = job.environment
    sent = None if digest is None else lane.store.query(lambda sql: queries.environment(sql, digest))
    return lane.backend.submit(ticket(job, lane.system, sent))


async def _look_up(lane: Lane, job: Job, why: str) -> None:
    """Asks the system whether it has the job, until that is certain; then goes on from there."""
    order = ticket(job, lane.system, {})  # whatever it would run with, it is found by its tag
    words = f"Looking up whether it was taken. {why}"
    if not await lane.store.write(lambda tx: moves.change(tx, job, reason=words)):
        return  # it has moved on since it was seen
    placed = await _find(lane, order)
    if placed:
        await _take(lane, job, placed)
    else:
        pause = min(2.0 ** (job.attempt - 1), _LONGEST_PAUSE)
        await lane.store.write(lambda tx: _never_taken(tx, job, time.time() + pause, why))
        lane.ring_in(pause)


async def _find(lane: Lane, order: Ticket) -> Placed | None:
    clean, pause = 0, _BETWEEN_LOOKS
    while True:
        try:
            async with lane.submitting.look(order.user):
                placed = await lane.ask(lane.backend.find, order)
        except Down:
            continue  # the next call waits until there is reason to try again
        except Exception as trouble:  # a backend's bug is no answer either
            lane.trouble = str(trouble) or repr(trouble)
            pause = min(pause * 2, _LONGEST_PAUSE)
        else:
            clean, pause = clean + 1, _BETWEEN_LOOKS
            if placed or clean == lane.backend.looks:
                return placed
        await asyncio.sleep(pause)


async def _take(lane: Lane, job: Job, placed: Placed) -> None:
    """The system has it: that goes on record, and so does what is known of it already."""
    current = await lane.store.write(lambda tx: _place(tx, job, placed))
    if current is None:
        log.warning("%s: %s was resolved by a person while it was handed over", lane.system.id, job.id)
        return
    if current.status not in AT_SYSTEM:
        lane.bell.set()
        lane.files.set()
        return
    lane.hurry()
    if current.kill_asked:
        kill.begin(lane, current)


def _place(tx: Transaction, job: Job, placed: Placed) -> Job | None:
    """The job as it is then; None if it has moved since it was seen."""
    report = placed.report or Report(Phase.QUEUED, "the system has taken it")
    if report.phase is Phase.ENDED and report.started:  # so quick that it is over: its history tells both
        running = Report(Phase.RUNNING, report.evidence, started=report.started, details=report.details)
        ran = _move(tx, job, running, _facts(placed, running))
        return ran and _move(tx, ran, report, {})
    return _move(tx, job, report, _facts(placed, report))


def _facts(placed: Placed, report: Report) -> dict[str, Any]:
    return {
        "local_id": placed.local_id or None,
        "handle": dict(placed.handle),
        "submitted": placed.submitted,
        "kept": True,
        "reason": report.reason,
    }


def _move(tx: Transaction, job: Job, report: Report, facts: dict[str, Any]) -> Job | None:
    decision = decide(job, report, time.time())
    assert decision is not None, "a job that is just being placed moves with every report"
    assert decision.to is not None
    columns = {**facts, **decision.columns}
    if not moves.move(tx, job, decision.to, decision.description, decision.by, **columns):
        return None
    return queries.job(tx.sql, job.id)


async def _refuse(lane: Lane, job: Job, words: str) -> None:
    """The system will never take it: in its own words."""
    facts: dict[str, Any] = {
        "condition": Condition.LAUNCH_FAILED,
        "evidence": "refused",
        "reason": words,
        "ended": time.time(),
    }
    await lane.store.write(lambda tx: moves.move(tx, job, Status.FAILED, f"Refused. {words}", **facts))
    lane.bell.set()


def _never_taken(tx: Transaction, job: Job, not_before: float, why: str) -> None:
    """It is free to be handed over again under a new tag, after a pause that grows with each attempt, unless
    somebody has stopped it meanwhile (T7). Of what a backup brought back nobody knows that: it is held."""
    current = queries.job(tx.sql, job.id)
    if current is None or (current.status, current.attempt) != (Status.SUBMITTING, job.attempt):
        return
    facts: dict[str, Any] = {"gpu_indices": ()}
    if current.kill_asked:
        facts |= {"condition": Condition.KILLED, "evidence": "never taken", "ended": time.time()}
        words, by = "Killed before its system took it.", current.kill_asked_by or moves.DAEMON
        moves.move(tx, current, Status.STOPPED, words, by, reason="", **facts)
        return
    if doubt := current.details.get(RESTORED):
        words = f"{current.system} knows nothing of it. {doubt}"
        moves.move(tx, current, Status.PAUSED, words, reason=words, held_from=Status.STAGED, **facts)
        return
    words = f"Its system never took it: it is handed over again. {why}".strip()
    moves.move(tx, current, Status.STAGED, words, reason=words, not_before=not_before, **facts)
