"""Whose turn it is: fair turns between users, priorities within a user only.

Jobs wait in lines, one for each queue, user and kind (does it want GPUs? does it want memory?). All in a line
want the same kinds of slots, so what its first must wait for the others must wait for too, and only the first
is ever looked at: a turn costs the same with ten waiting jobs as with ten thousand. The next line is

    1. of the queue with the highest priority;
    2. one that was passed over too often (`PATIENCE`), so that a big job is reached although its user holds
       more than those who keep the machine busy with small ones;
    3. of the user who holds the smallest share of the system: of its processors, its memory or its GPUs,
       whichever they hold most of (dominant resource fairness: Ghodsi et al., NSDI 2011);
    4. of the user whose last turn is longest ago, or, of those who had none, who was there first;
    5. within a user, of the job with their own highest priority, then the one submitted first.

A first job that lacks slots fences them (slots.py). So a user with ten thousand waiting jobs and one with a
single job have the same claim to the next slot that is free.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from jobd.config import Slots, System
from jobd.engine.slots import needs
from jobd.store import queries
from jobd.store.job import Job
from jobd.store.queries import Held, Line

PATIENCE = 10
"""A line is passed over by no more than so many jobs for each user who waits."""

_Key = tuple[float, ...]


def line_of(job: Job) -> Line:
    return Line(job.queue, job.owner, job.gpus > 0, job.memory is not None)


@dataclass
class Past:
    """What a turn knows of those before it. A restart loses it, and with it the order of one turn."""

    starts: int = 0
    served: dict[str, int] = field(default_factory=dict)
    """By user: the number of the last start that was theirs."""
    since: dict[Line, int] = field(default_factory=dict)
    """By line: how many starts there had been when it was served, or had to wait for something else, last."""

    def serve(self, line: Line) -> None:
        self.starts += 1
        self.served[line.owner] = self.since[line] = self.starts


class Shares:
    """How much of a system each user holds, from 0 to 1; where there are no slots, in processors."""

    def __init__(self, slots: Slots | None, held: Iterable[Held]) -> None:
        self._whole = {"processors": 1, "memory": 0, "GPUs": 0}
        if slots:
            self._whole = {
                "processors": slots.processors,
                "memory": slots.memory,
                "GPUs": len(slots.gpus),
            }
        self._held: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for one in held:
            self._held[one.owner] += Counter(
                {"processors": one.processors, "memory": one.memory, "GPUs": one.gpus}
            )

    def of(self, owner: str) -> float:
        held = self._held[owner]
        return max(held[what] / whole for what, whole in self._whole.items() if whole)

    def add(self, job: Job) -> None:
        self._held[job.owner].update(needs(job))


class Lines:
    """The lines of a system, each with its first job; `next` says whose turn it is."""

    def __init__(self, sql: queries.Connection, system: System, held: list[Held], past: Past, now: float):
        self._past = past
        self._shares = Shares(system.slots, held)
        self._priorities = {queue.name: queue.priority for queue in system.queues}
        self._rest: dict[Line, Iterator[Job]] = {}
        self.first: dict[Line, Job] = {}
        """By line, as far as somebody in it could start at all."""
        for line in queries.lines(sql, system.id):
            self._rest[line] = queries.in_line(sql, system.id, line, _most(system), now)
            self._advance(line)
        self._owners = len({line.owner for line in self.first})
        self._arrived: dict[str, int] = {}
        for line, job in self.first.items():
            self._arrived[line.owner] = min(job.seq, self._arrived.get(line.owner, job.seq))
        past.since = {line: past.since.get(line, past.starts) for line in self.first}
        self._queue = [(self._key(line), line) for line in self.first]
        heapq.heapify(self._queue)

    def next(self) -> Line | None:
        """The line whose turn it is; it has left the order until it is `served`. None: nobody is left."""
        while self._queue:
            key, line = heapq.heappop(self._queue)
            if (today := self._key(line)) <= key:
                return line
            heapq.heappush(self._queue, (today, line))  # its user has had a turn since
        return None

    def serve(self, line: Line) -> None:
        """Its first job starts: the one behind it is the first, and stands in the order again."""
        self._shares.add(self.first[line])
        self._past.serve(line)
        self._advance(line)
        if line in self.first:
            heapq.heappush(self._queue, (self._key(line), line))

    def excuse(self, line: Line) -> None:
        """It waits for something that is no turn: nobody passes it over."""
        self._past.since[line] = self._past.starts

    def _advance(self, line: Line) -> None:
        job = next(self._rest[line], None)
        if job:
            self.first[line] = job
        else:
            self.first.pop(line, None)

    def _key(self, line: Line) -> _Key:
        job, past = self.first[line], self._past
        passed = past.starts - past.since[line]
        return (
            -self._priorities.get(line.queue, 0),
            -passed if passed >= PATIENCE * self._owners else 0,
            self._shares.of(line.owner),
            past.served.get(line.owner, 0),
            self._arrived[line.owner],
            -job.priority,
            job.seq,
        )


def _most(system: System) -> queries.Most:
    """The most that a job can ask for and start some day: slots may have been taken away since it was
    submitted, and then it is in nobody's way."""
    slots = system.slots
    return queries.Most(slots.processors, slots.memory, len(slots.gpus)) if slots else queries.Most()
