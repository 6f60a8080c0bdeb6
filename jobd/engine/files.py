"""Which jobs' files may be moved now: inputs into the work directory before a job is STAGED (stage.py),
outputs into the archive after its end (archive.py).

So many at a time on a system, and so many of one user's; inputs only where there is room for them. Nothing of
it lives in memory alone: a job in STAGING_INPUTS or ARCHIVING that nobody is at is begun again, whatever
ended the first try.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace

from jobd.engine import archive, stage
from jobd.engine.lane import Lane
from jobd.engine.progress import PAUSE
from jobd.engine.transfers import Room
from jobd.keeper.persons import Leash
from jobd.status import Status
from jobd.store import moves, queries
from jobd.store.job import Job
from jobd.store.writer import Transaction


async def begin(lane: Lane, full: Collection[str]) -> None:
    """A turn: begins what may begin now. `full`: users whose disk has no room for inputs."""
    async with lane.transfers.choosing:
        room = lane.transfers.room(lane.system)
        chosen = await lane.store.write(lambda tx: _choose(tx, lane.system.id, room, full, time.time()))
        for job in chosen:
            lane.spawn(_work(lane, job, lane.transfers.begin(job)))


async def _work(lane: Lane, job: Job, leash: Leash) -> None:
    work = stage.stage if job.status is Status.STAGING_INPUTS else archive.archive
    try:
        await work(lane, job, leash)
    except BaseException:
        lane.ring_in(PAUSE, lane.files)
        raise
    else:
        lane.files.set()
    finally:
        lane.transfers.end(job)


def _choose(tx: Transaction, system: str, room: Room, full: Collection[str], now: float) -> list[Job]:
    """Those that begin, outputs before inputs. A job that is to be ended needs no room. Runs in the store's
    writer."""
    chosen = [job for job in queries.inputs_to_end(tx.sql, system) if job.seq not in room.busy]
    for job in chosen:
        room.take(job)
    while room.left > 0 and (one := queries.to_move(tx.sql, system, room.busy, room.enough, full, now)):
        room.take(one)
        chosen.append(_begun(tx, one))
    return chosen


def _begun(tx: Transaction, job: Job) -> Job:
    if job.status is Status.CLEANING_UP:
        moves.move(tx, job, Status.ARCHIVING, f"Its outputs go to {job.archive_path}.", not_before=None)
        return replace(job, status=Status.ARCHIVING, not_before=None)
    reason = "" if job.status is Status.STAGING_INPUTS else job.reason
    moves.change(tx, job, reason=reason, not_before=None)
    return replace(job, reason=reason, not_before=None)
