"""Which waiting jobs may start now. Runs in the store's writer: what it reads and what it writes are one
transaction, so two turns can never hand out one slot twice. Moving a job to SUBMITTING, with a new tag, is
the intent that T2 wants on disk.

Jobs wait in PENDING. One whose turn it is, and which lacks nothing but a free slot, is STAGED. Why each line
waits (fair.py) is found out at every turn and kept beside the store: a reason written into ten thousand jobs
would be old before it was written.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jobd.config import System
from jobd.engine.bars import Bars
from jobd.engine.fair import Lines, Past, line_of
from jobd.engine.slots import Free, lacking
from jobd.status import Status
from jobd.store import moves, queries
from jobd.store.job import Job
from jobd.store.queries import Held, Line
from jobd.store.writer import Transaction

_MOST_STARTS = 250

TURN = "Waits for its turn."


def new_tag() -> str:
    """Unique per attempt, and short enough for every system's job names: `j` and 13 characters of base32."""
    return "j" + base64.b32encode(os.urandom(9))[:13].decode().lower()


@dataclass
class Admitted:
    jobs: list[Job] = field(default_factory=list)
    """Now in SUBMITTING, to be handed over."""
    waits: dict[Line, str] = field(default_factory=dict)
    """Why each line that waits does so."""
    full: bool = False
    """Processors were short: who comes now can but wait, most likely."""
    more: bool = False
    """There may be others: turn again."""


def admit(
    tx: Transaction,
    system: System,
    now: float,
    past: Past | None = None,
    full: Mapping[str, str] | None = None,
) -> Admitted:
    """`full`: by user, in words, where there is too little room for their jobs."""
    held = queries.held(tx.sql, system.id)
    free = _free(tx, system, held)
    lines = Lines(tx.sql, system, held, past or Past(), now)
    bars = Bars(tx.sql, system, held, full or {})
    starting = _choose(lines, bars, free)
    waits = {line: bars.before(line) or _stage(tx, job, free) for line, job in lines.first.items()}
    jobs = [_start(tx, job, gpus) for job, gpus in starting]
    exhausted = free is not None and free.exhausted
    return Admitted(jobs, waits, full=exhausted, more=len(jobs) == _MOST_STARTS)


def why(job: Job, system: System, waits: Mapping[Line, str]) -> str:
    """Why a job that waits does so; `waits` is of the last turn."""
    if job.not_before and job.not_before > time.time():
        return job.reason  # it is to be handed over again, later
    slots = system.slots
    beyond = lacking(job, slots.processors, slots.memory, len(slots.gpus)) if slots else []
    if beyond:
        return f"{system.id} has fewer {' and '.join(beyond)} now than it asks for."
    return waits.get(line_of(job), TURN)


def _free(tx: Transaction, system: System, held: list[Held]) -> Free | None:
    if system.slots is None:
        return None
    gpus = queries.held_gpus(tx.sql, system.id) if system.slots.gpus else frozenset()
    return Free(system.slots, held, gpus)


def _choose(lines: Lines, bars: Bars, free: Free | None) -> list[tuple[Job, tuple[int, ...]]]:
    """Those that start, with the indices of their GPUs."""
    starting: list[tuple[Job, tuple[int, ...]]] = []
    while len(starting) < _MOST_STARTS and not (free and free.exhausted):
        line = lines.next()
        if line is None:
            break
        if bars.before(line):
            lines.excuse(line)
            continue
        job = lines.first[line]
        gpus = free.take(job) if free else ()
        if gpus is not None:
            bars.count(job)
            lines.serve(line)
            starting.append((job, gpus))
    return starting


def _stage(tx: Transaction, job: Job, free: Free | None) -> str:
    """The first of a line that nothing bars. Returns what it waits for."""
    missing = free.lacking(job) if free else []
    if not missing:
        return TURN
    words = f"Waits for free {' and '.join(missing)}."
    if job.status is Status.PENDING:
        moves.move(tx, job, Status.STAGED, words)
    return words


def _start(tx: Transaction, job: Job, gpus: tuple[int, ...]) -> Job:
    tag = new_tag()
    facts: dict[str, Any] = {
        "attempt": job.attempt + 1,
        "tag": tag,
        "gpu_indices": gpus,
        "reason": "",
        "not_before": None,
    }
    moves.move(tx, job, Status.SUBMITTING, f"Handing over as {tag}.", **facts)
    return replace(job, status=Status.SUBMITTING, **facts)
