"""One execution system, as the turns see it: its backend, the threads in which that is called, the bells that
wake its turns.

A lane has threads of its own, so a system that is sick or slow holds up no other. One that is down is asked
by one call at a time (pace.py); the others wait for what comes of it. What a lane starts runs in tasks that
it keeps track of; one that fails is logged, never silently gone, and the next sweep takes its work up again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from jobd.backend import Backend
from jobd.config import Fetch, System
from jobd.engine.fair import Past
from jobd.engine.pace import Pace, Sickness
from jobd.engine.room import Roomy
from jobd.engine.transfers import Transfers
from jobd.errors import Down, JobdError, Unavailable
from jobd.figures import Figures
from jobd.keeper.persons import Persons
from jobd.store.queries import Line
from jobd.store.store import Store

T = TypeVar("T")

_LEISURE = 0.05
"""Seconds."""

log = logging.getLogger(__name__)


class Wanted:
    """Which jobs somebody wants to hear of: those who ask while a poll is under way share the next one."""

    def __init__(self) -> None:
        self.heard = 0
        """The number of the last request that an answer has met."""
        self.last = 0
        self._tags: set[str] | None = set()

    def add(self, tags: set[str] | None) -> int:
        """None: all. Returns the request's number."""
        self._tags = None if tags is None or self._tags is None else self._tags | tags
        self.last += 1
        return self.last

    def take(self) -> set[str] | None:
        tags, self._tags = self._tags, set()
        return tags


class Places:
    """Which calls may take a thread for handing over: with many jobs to hand over, there is still one for the
    rest; with many of a person whose home does not answer, there is still one for the others' jobs."""

    def __init__(self, threads: int) -> None:
        self._all = asyncio.Semaphore(max(1, threads - 1))
        self._of: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(max(1, threads - 2))
        )

    def look(self, owner: str) -> asyncio.Semaphore:
        """Held by a look whether a job of that person's was taken."""
        return self._of[owner]

    @asynccontextmanager
    async def submit(self, owner: str) -> AsyncIterator[None]:
        """Held by a call that hands a job of that person's over."""
        async with self._of[owner], self._all:
            yield


class Lane:
    def __init__(
        self,
        store: Store,
        system: System,
        backend: Backend,
        interval: float,
        persons: Persons,
        fetch: Fetch,
    ) -> None:
        """`interval`: the most seconds between two sweeps."""
        self.store = store
        self.persons = persons
        self.fetch = fetch
        self.system = system
        self.backend = backend
        self.last_answer: float | None = None
        """When the last complete answer came."""
        self.pace = Pace(interval, adaptive=system.slots is None)
        self.answered: float | None = None
        """The same in monotonic time."""
        self.trouble = ""
        """Why the system does not answer; empty while it does."""
        self.handing: set[str] = set()
        """Tags that are being handed over."""
        self.submitting = self._make_submitting()
        self.admitting = asyncio.Lock()
        """Held from the choice of jobs until their tags are in `handing`."""
        self.past = Past()
        self.figures = Figures()
        self.waits: dict[Line, str] = {}
        """Why each line waits, as of the last turn."""
        self.full = False
        """All processors were taken then."""
        self._leisurely: asyncio.TimerHandle | None = None
        self.looking: asyncio.Future[dict[str, str]] | None = None
        """The look for room on the disks that is under way."""
        self.roomy = Roomy()
        self.killing: set[str] = set()
        """Tags whose kill is being carried out."""
        self.polling = asyncio.Lock()
        """Never two polls at once (T9)."""
        self.bell = asyncio.Event()
        """Rung when a job may start: one has come, or a slot is free."""
        self.files = asyncio.Event()
        """Rung when there may be something to stage or to archive."""
        self.transfers = Transfers()
        self.news = asyncio.Event()
        self.hurried = asyncio.Event()
        """Set when the next sweep should come sooner."""
        self.wanted = Wanted()
        self.sick: Sickness | None = None
        self._trying = asyncio.Lock()
        """Held by the one call that tries whether the system is still down."""
        self._heard: set[str] = set()
        self._early: set[str] = set()
        """Tags of which there was news before their hand-over was on record."""
        self._threads = self._make_threads()
        self._tasks: set[asyncio.Task[None]] = set()

    def renew(self, system: System, backend: Backend, interval: float, fetch: Fetch) -> None:
        """New settings, for all that begins from now on; what is under way ends as it began."""
        self.fetch = fetch
        self.pace.interval = interval
        if system == self.system:
            return
        before = self._threads
        self.system, self.backend, self.sick = system, backend, None
        self.pace, self.roomy = Pace(interval, adaptive=system.slots is None), Roomy()
        self.hurried.set()
        self._threads, self.submitting = self._make_threads(), self._make_submitting()
        before.shutdown(wait=False)
        self.bell.set()
        self.files.set()

    def _make_threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.system.concurrency, thread_name_prefix=f"lane-{self.system.id}")

    def _make_submitting(self) -> Places:
        return Places(self.system.concurrency)

    def heard(self, tag: str) -> None:
        """There is something new to see of that attempt; while it is being handed over, that waits."""
        if tag in self.handing:
            self._early.add(tag)
        else:
            self._heard.add(tag)
            self.news.set()

    def hand_over(self, tag: str, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work`, the handing over of that attempt. From this moment on nobody else takes it up."""
        self.handing.add(tag)
        self.spawn(self._handing_over(tag, work))

    async def _handing_over(self, tag: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self.handing.discard(tag)
            if tag in self._early:
                self._early.discard(tag)
                self.heard(tag)

    def take_heard(self) -> set[str]:
        tags, self._heard = self._heard, set()
        return tags

    def put_back(self, tags: set[str]) -> None:
        """They could not be looked at: at the next turn, then."""
        self._heard |= tags

    def hurry(self) -> None:
        """Something is about to change there: look soon."""
        self.pace.hurry()
        self.hurried.set()

    def ring_in(self, seconds: float, bell: asyncio.Event | None = None) -> None:
        """Rings the bell, or that one, after that time."""
        asyncio.get_running_loop().call_later(seconds, (bell or self.bell).set)

    def newcomer(self) -> None:
        """A job may start, or is to be told why not. While all is taken there is time for that: a turn costs
        as much as taking the job."""
        if not self.full:
            self.roomy = Roomy()
            self.bell.set()
        elif self._leisurely is None:
            self._leisurely = asyncio.get_running_loop().call_later(_LEISURE, self._ring_leisurely)

    def _ring_leisurely(self) -> None:
        self._leisurely = None
        self.bell.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """A blocking call in one of the lane's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def ask(self, function: Callable[..., T], *arguments: Any) -> T:
        """A call of the backend; while its system is down, when it is this one's turn to try. Raises what
        that raises."""
        while self.sick:
            async with self._trying:
                if self.sick:
                    await asyncio.sleep(max(0.0, self.sick.until - time.monotonic()))
                    return await self._ask(self.sick.longer, function, *arguments)
        return await self._ask(lambda: self.sick or Sickness.begin(self.pace.interval), function, *arguments)

    async def _ask(self, worse: Callable[[], Sickness], function: Callable[..., T], *arguments: Any) -> T:
        try:
            answer = await self.call(function, *arguments)
        except Down as trouble:
            self.sick, self.trouble = worse(), str(trouble)
            raise
        except Unavailable:
            raise  # which says nothing of the system as a whole
        except JobdError:
            self.sick = None
            raise
        self.sick = None
        return answer

    async def stop(self) -> None:
        """Ends the turns, not the jobs. Calls of the backend that are under way are left to themselves; what
        is being staged or archived is ended, for the next daemon to begin again."""
        self.transfers.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except JobdError as trouble:
            log.warning("%s: %s; the next sweep takes it up again", self.system.id, trouble)
        except Exception:
            log.exception("%s: a task failed; the next sweep takes its work up again", self.system.id)
