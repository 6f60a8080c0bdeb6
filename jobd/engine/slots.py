"""What is free on a system whose slots jobd hands out, and who may have it.

Whose turn it is, fair.py says. A job whose turn it is and that does not fit fences what it lacks: those
behind it may start only if they need nothing of that, so a big job is never starved by small ones, while a
job that waits for a GPU does not stop those that need none.
"""

from __future__ import annotations

from collections.abc import Collection

from jobd.config import Slots
from jobd.store.job import Job
from jobd.store.queries import Held


class Free:
    """The slots that are free at one moment; `take` hands them out."""

    def __init__(self, slots: Slots, held: Collection[Held], gpus: Collection[int]) -> None:
        """`gpus`: the indices that are not free."""
        self._processors = slots.processors - sum(one.processors for one in held)
        self._memory = slots.memory - sum(one.memory for one in held)
        self._gpus = [index for index in slots.gpus if index not in gpus]
        self._fenced: set[str] = set()

    @property
    def exhausted(self) -> bool:
        """Nobody else can start, whatever they need: everybody needs a processor."""
        return "processors" in self._fenced

    def take(self, job: Job) -> tuple[int, ...] | None:
        """The indices of the job's GPUs, all its slots being its own now; None when it must wait."""
        lacking = self.lacking(job)
        if lacking:
            self._fenced |= set(lacking)
            return None
        self._processors -= job.nodes * job.processors
        self._memory -= job.nodes * (job.memory or 0)
        taken, self._gpus = self._gpus[: job.gpus], self._gpus[job.gpus :]
        return tuple(taken)

    def lacking(self, job: Job) -> list[str]:
        """What the job needs and cannot have now."""
        short = lacking(job, self._processors, self._memory, len(self._gpus))
        return [
            what for what, amount in needs(job).items() if what in short or (amount and what in self._fenced)
        ]


def needs(job: Job) -> dict[str, int]:
    return {
        "processors": job.nodes * job.processors,
        "memory": job.nodes * (job.memory or 0),
        "GPUs": job.gpus,
    }


def lacking(job: Job, processors: int, memory: int, gpus: int) -> list[str]:
    """What the job needs more of than that."""
    there = {"processors": processors, "memory": memory, "GPUs": gpus}
    return [what for what, amount in needs(job).items() if amount > there[what]]
