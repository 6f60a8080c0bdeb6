"""Who waits for a change of which job, and for something to tell. Only the event loop's thread comes here;
nothing is kept for jobs that nobody watches."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from jobd.status import Status

_MOST_UNREAD = 10_000


class Changes:
    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._subscribers: set[asyncio.Queue[tuple[str, Status]]] = set()
        self.fired = asyncio.Event()
        """There is more in the outbox."""

    def publish(self, changed: list[tuple[str, Status]], fired: bool = False) -> None:
        if fired:
            self.fired.set()
        for job_id, status in changed:
            for future in self._waiting.pop(job_id, ()):
                if not future.done():
                    future.set_result(None)
            for subscriber in self._subscribers:
                if subscriber.full():  # a reader that fell behind loses the oldest, not the daemon its memory
                    subscriber.get_nowait()
                subscriber.put_nowait((job_id, status))

    @contextmanager
    def watch(self, job_id: str) -> Iterator[asyncio.Future[None]]:
        """A future that is done at the next change of the job. Enter first, then read the job, then wait:
        nothing is missed."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[job_id].add(future)
        try:
            yield future
        finally:
            future.cancel()
            with suppress(KeyError):
                self._waiting[job_id].discard(future)
                if not self._waiting[job_id]:
                    del self._waiting[job_id]

    @contextmanager
    def subscribe(self) -> Iterator[asyncio.Queue[tuple[str, Status]]]:
        """A queue of all changes from now on: (job id, status)."""
        subscriber: asyncio.Queue[tuple[str, Status]] = asyncio.Queue(_MOST_UNREAD)
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)
