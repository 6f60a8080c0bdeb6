"""What bars a whole line from starting, in words: drained, a quota of its queue, a disk that is full.

One after the other, the first that holds is the one that is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from jobd.config import Queue, System
from jobd.store import drains, queries
from jobd.store.job import Job
from jobd.store.queries import Held, Line


class Bars:
    def __init__(
        self, sql: queries.Connection, system: System, held: Iterable[Held], full: Mapping[str, str]
    ) -> None:
        """`full`: by user, in words, where there is too little room for their jobs."""
        self._system = system
        self._drained = {one.queue: one for one in drains.in_force(sql) if one.system == system.id}
        self._full = full
        self._all: Counter[str] = Counter()
        self._of_user: Counter[tuple[str, str]] = Counter()
        for one in held:
            self._all[one.queue] += one.jobs
            self._of_user[one.queue, one.owner] += one.jobs

    def count(self, job: Job) -> None:
        """It starts."""
        self._all[job.queue] += 1
        self._of_user[job.queue, job.owner] += 1

    def before(self, line: Line) -> str:
        """Empty when nothing bars it."""
        queue = self._system.queue(line.queue)
        if queue is None:
            return f"Its queue {line.queue} is not configured any more."
        return self._drain(queue) or self._quota(queue, line.owner) or self._full.get(line.owner, "")

    def _drain(self, queue: Queue) -> str:
        drain = self._drained.get("") or self._drained.get(queue.name)
        if drain is None:
            return ""
        what = f"Queue {drain.queue}" if drain.queue else self._system.id
        return f"{what} was drained by {drain.began_by}: {drain.reason}"

    def _quota(self, queue: Queue, owner: str) -> str:
        if queue.max_jobs is not None and self._all[queue.name] >= queue.max_jobs:
            return f"Queue {queue.name} takes {queue.max_jobs} jobs at a time."
        if queue.max_user_jobs is not None and self._of_user[queue.name, owner] >= queue.max_user_jobs:
            return f"Queue {queue.name} takes {queue.max_user_jobs} jobs of one user at a time."
        return ""
