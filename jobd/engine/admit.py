"""Which waiting jobs may start now. Runs in the store's writer: what it reads and what it writes are one
transaction, so two turns can never hand out one slot twice. Moving a job to SUBMITTING, with a new tag, is
the intent that T2 wants on disk.

A quota of its queue keeps a job in PENDING; a slot that is not free keeps it in STAGED. Both say so in its
reason.
"""

from __future__ import annotations

import base64
import heapq
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from jobd.config import System
from jobd.engine.slots import Free
from jobd.status import Status
from jobd.store import moves, queries
from jobd.store.job import Job
from jobd.store.writer import Transaction

_MOST_ARRIVALS = 1000
_MOST_STARTS = 250


def new_tag() -> str:
    """Unique per attempt, and short enough for every system's job names: `j` and 13 characters of base32."""
    return "j" + base64.b32encode(os.urandom(9))[:13].decode().lower()


@dataclass
class Admitted:
    jobs: list[Job] = field(default_factory=list)
    """Now in SUBMITTING, to be handed over."""
    more: bool = False
    """There may be others: turn again."""


def admit(tx: Transaction, system: System, now: float) -> Admitted:
    arrivals = list(islice(queries.waiting(tx.sql, system.id, Status.PENDING), _MOST_ARRIVALS))
    free = Free(system.slots, queries.held_slots(tx.sql, system.id)) if system.slots else None
    quotas = _Quotas(tx, system)
    starting = _choose(tx, system, arrivals, free, quotas, now)
    admitted = Admitted([_start(tx, job, gpus) for job, gpus in starting])
    started = {job.seq for job in admitted.jobs}
    staged = sum(_stay(tx, job, free, quotas) for job in arrivals if job.seq not in started)
    admitted.more = len(starting) == _MOST_STARTS or (bool(staged) and len(arrivals) == _MOST_ARRIVALS)
    return admitted


def _choose(
    tx: Transaction, system: System, arrivals: list[Job], free: Free | None, quotas: _Quotas, now: float
) -> list[tuple[Job, tuple[int, ...]]]:
    """Those that start, with the indices of their GPUs. The staged are read only as far as anybody looks."""
    staged = queries.waiting(tx.sql, system.id, Status.STAGED)
    starting: list[tuple[Job, tuple[int, ...]]] = []
    for job in heapq.merge(staged, arrivals, key=lambda job: (-job.priority, job.seq)):
        if (free and free.exhausted) or len(starting) == _MOST_STARTS:
            break
        if (job.not_before and job.not_before > now) or quotas.reached(job):
            continue
        gpus = free.take(job) if free else ()
        if gpus is not None:
            quotas.count(job)
            starting.append((job, gpus))
    return starting


class _Quotas:
    """How many jobs each queue has handed over, of everybody and of each user."""

    def __init__(self, tx: Transaction, system: System) -> None:
        self._queues = {queue.name: queue for queue in system.queues}
        self._all: Counter[str] = Counter()
        self._of_user: Counter[tuple[str, str]] = Counter()
        if any(queue.max_jobs is not None or queue.max_user_jobs is not None for queue in system.queues):
            for queue, owner, number in queries.handed_over(tx.sql, system.id):
                self._all[queue] += number
                self._of_user[queue, owner] += number

    def reached(self, job: Job) -> str:
        """Which quota keeps the job waiting, in words; empty when none does."""
        queue = self._queues.get(job.queue)
        if queue is None:
            return f"Its queue {job.queue} is not configured any more."
        if queue.max_jobs is not None and self._all[job.queue] >= queue.max_jobs:
            return f"Queue {job.queue} takes {queue.max_jobs} jobs at a time."
        if queue.max_user_jobs is not None and self._of_user[job.queue, job.owner] >= queue.max_user_jobs:
            return f"Queue {job.queue} takes {queue.max_user_jobs} jobs of one user at a time."
        return ""

    def count(self, job: Job) -> None:
        self._all[job.queue] += 1
        self._of_user[job.queue, job.owner] += 1


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


def _stay(tx: Transaction, job: Job, free: Free | None, quotas: _Quotas) -> bool:
    """Says why an arrival waits; one that lacks nothing but a slot is STAGED. Returns whether it moved."""
    quota = quotas.reached(job)
    if not quota:
        lacking = free.lacking(job) if free else []
        reason = f"Waits for free {' and '.join(lacking)}." if lacking else "Waits for its turn."
        return moves.move(tx, job, Status.STAGED, reason, reason=reason)
    if quota != job.reason:
        moves.change(tx, job, reason=quota)
    return False
