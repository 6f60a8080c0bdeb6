"""Long readings of people's files, in threads of their own: whoever asks for a log must not wait for somebody
else's gigabytes. One at a time for each person; what nobody waits for any more is ended."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from jobd.keeper.persons import Leash

T = TypeVar("T")

_MOST = 4


class Aside:
    """Only the event loop's thread comes here."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_MOST, thread_name_prefix="aside")
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(1))

    async def read(self, whose: str, work: Callable[[Leash], T]) -> T:
        """What `work` returns, which is given a leash that ends it."""
        leash = Leash()
        async with self._turns[whose]:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, work, leash)
            except asyncio.CancelledError:
                leash.cut()
                raise
