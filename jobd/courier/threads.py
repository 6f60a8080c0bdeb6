"""A few threads for what only knows how to wait, each kind of it with its own: one that hangs holds up its
kind, and the event loop never."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from jobd.courier.message import Outcome, failed


class Threads:
    def __init__(self, what: str, number: int) -> None:
        self._what = what
        self._free = asyncio.Semaphore(number)
        self._threads = ThreadPoolExecutor(number, what)

    async def do(
        self, work: Callable[[], Outcome], seconds: float, cut: Callable[[], object] = lambda: None
    ) -> Outcome:
        """`work` must not raise. It may take `seconds`, and twice as many to be begun; then it is `cut`, and
        has its thread for as long as it does not mind."""
        try:
            async with asyncio.timeout(2 * seconds):
                await self._free.acquire()
        except TimeoutError:
            return failed(f"too much of {self._what} is waiting: what was begun does not end")
        done = asyncio.get_running_loop().run_in_executor(self._threads, work)
        done.add_done_callback(lambda _: self._free.release())
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(done)
        except TimeoutError:
            cut()
            return failed(f"{self._what} was not over within {seconds:g} s")
