"""Logs: what a job has written, from any place on, and if asked for, what it writes until its end.

A file that grows tells nobody so, so it is looked at again: soon after something came, ever more seldom after
that. The job's end wakes us up, and it was on record before the last look found nothing, so the last line is
never missed. Whoever reads somebody else's is asked for their right to it before each piece.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import PurePosixPath

from jobd.errors import Fault, Invalid, NotFound
from jobd.store.job import Job
from jobd.verbs import outputs
from jobd.verbs.desk import Caller, Desk, check_readable, find

STREAMS = ("stdout", "stderr")

_PIECE = 256 * 1024
_SHORTEST, _LONGEST = 0.02, 0.5
"""Seconds between two looks at a file that did not grow."""


async def read(desk: Desk, caller: Caller, job_id: str, stream: str, offset: int) -> Log:
    """The log, set to the place where reading begins: `offset` bytes from the start, or from the end if it is
    negative. Raises NotFound."""
    if stream not in STREAMS:
        raise Invalid(Fault("stream", f"there is no log {stream!r}", " or ".join(STREAMS)))
    job = await find(desk, caller, job_id)
    outputs.check_there(job)
    log = Log(desk, caller, job, job.stdout if stream == "stdout" else job.stderr)
    await asyncio.to_thread(log.start, offset)
    return log


class Log:
    """Close it in the end. A log that is not there yet is empty."""

    def __init__(self, desk: Desk, caller: Caller, job: Job, path: str) -> None:
        self.at = 0
        """Where the next piece begins, in bytes."""
        self._desk = desk
        self._caller = caller
        self._job = job
        self._name = PurePosixPath(path).name
        self._file: int | None = None
        self._last_size = 0

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def start(self, offset: int) -> None:
        self.at = offset
        if self._opened() and offset < 0:
            self.at = max(0, self._size() + offset)
        self.at = max(0, self.at)

    async def pieces(self, follow: bool) -> AsyncGenerator[bytes, None]:
        """All that there is; with `follow`, until the job's end. An empty piece says that nothing came.
        Raises NotFound when the caller may not read it any more."""
        pause = _SHORTEST
        while True:
            check_readable(self._desk, self._caller, self._job)
            over = self._job.done
            if piece := await asyncio.to_thread(self._read):
                pause = _SHORTEST
                yield piece
            elif over or not follow:
                return
            else:
                yield b""
                await self._until_changed(pause)
                pause = min(pause * 1.5, _LONGEST)

    async def _until_changed(self, seconds: float) -> None:
        with self._desk.store.changes.watch(self._job.id) as changed:
            self._job = await self._desk.store.job(self._job.id) or self._job
            if not self._job.done:
                await asyncio.wait([changed], timeout=seconds)

    def _read(self) -> bytes:
        if not self._opened():
            return b""
        assert self._file is not None
        size = self._size()
        if size < self._last_size:
            self.at = 0  # the job has cut its own log short
        self._last_size = size
        piece = os.pread(self._file, _PIECE, self.at)
        self.at += len(piece)
        return piece

    def _opened(self) -> bool:
        if self._file is None:
            try:
                self._file = outputs.log(self._desk, self._job, self._name)
            except NotFound:
                return False
        return True

    def _size(self) -> int:
        assert self._file is not None
        return os.fstat(self._file).st_size
