"""What a lane is staging and archiving: the threads in which that is waited for, which are not those of its
backend, and the leash by which each can be ended. Only the event loop's thread comes here."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from jobd.config import System
from jobd.keeper.persons import Leash
from jobd.store.job import Job

P = ParamSpec("P")
T = TypeVar("T")

_MOST = 64


@dataclass
class Room:
    """Who else may begin now."""

    busy: set[int]
    """The seq of those that are under way."""
    left: int
    most_of_user: int
    of_user: Counter[str]

    @property
    def enough(self) -> list[str]:
        """Users who have as many under way as they may."""
        return [owner for owner, number in self.of_user.items() if number >= self.most_of_user]

    def take(self, job: Job) -> None:
        self.busy.add(job.seq)
        self.left -= 1
        self.of_user[job.owner] += 1


class Transfers:
    def __init__(self) -> None:
        self.choosing = asyncio.Lock()
        """Held from the choice of jobs until they count as under way."""
        self._threads = ThreadPoolExecutor(_MOST, thread_name_prefix="transfer")
        self._under_way: dict[int, tuple[Job, Leash]] = {}

    def room(self, system: System) -> Room:
        of_user = Counter(job.owner for job, _ in self._under_way.values())
        left = system.transfers - len(self._under_way)
        return Room(set(self._under_way), left, system.user_transfers, of_user)

    def begin(self, job: Job) -> Leash:
        leash = Leash()
        self._under_way[job.seq] = job, leash
        return leash

    def end(self, job: Job) -> None:
        del self._under_way[job.seq]

    def cut(self, job: Job) -> None:
        """Ends what is being done for the job, if anything is."""
        if job.seq in self._under_way:
            self._under_way[job.seq][1].cut()

    async def call(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*arguments, **options))

    def close(self) -> None:
        """All of it is ended; what it was is begun again by the next daemon."""
        for _, leash in self._under_way.values():
            leash.cut(wait=False)
        self._threads.shutdown(wait=False, cancel_futures=True)
