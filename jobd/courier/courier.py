"""The daemon's end of the courier: its process (main.py), the socket by which messages go to it, and what
came of each.

It is started at the first message, and again when it has died, more and more slowly if it does nothing but
die. After a change of the configuration another one takes over; what the old one has under way, it ends. What
a message costs the daemon is a line of JSON each way.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobd.config import Notifications
from jobd.courier.lines import Lines
from jobd.courier.message import Message, Outcome, failed
from jobd.errors import Unavailable
from jobd.keeper.link import interpreter

__all__ = ["Courier", "Message", "Outcome"]

_START_WAIT = 60.0
"""Seconds; a machine full of jobs is slow."""
SILENCE = 60.0
"""Seconds, over all limits that a message has, after which a courier that says nothing is taken to hang."""
_LONGEST_PAUSE = 30.0
_STEADY = 60.0
"""Seconds after which a courier has not died at its start."""
_COURIERS = 3
"""That try to carry a message before it is a failure: they end, too, when the configuration is read again."""
_ENDING = "the daemon is ending"


class Courier:
    def __init__(self, settings: Notifications) -> None:
        self._settings = settings
        self._start: asyncio.Task[_Channel] | None = None
        """Its result is the courier that we have."""
        self._started = 0.0
        self._quick_ends = 0
        self._closed = False

    async def send(self, message: Message) -> Outcome:
        """Never raises for a receiver's sake. That a courier has ended is not the receiver's fault: another
        one tries it again."""
        outcome = _DIED
        try:
            for _ in range(_COURIERS):
                outcome = await (await self._ready()).ask(message)
                if outcome is not _DIED:
                    break
        except Unavailable as error:
            return failed(str(error))
        return outcome

    def renew(self, settings: Notifications) -> None:
        """The configuration was read again. (What files it names say, is read by the next courier.)"""
        self._settings = settings
        start, self._start = self._start, None
        self._started = 0.0  # the next one does not come because this one has died
        if start:
            start.add_done_callback(lambda start: _of(start, _Channel.retire))

    async def close(self) -> None:
        """At once; what is under way is not waited for."""
        self._closed = True
        if self._start:
            self._start.cancel()
            _of(self._start, _Channel.end)

    async def _ready(self) -> _Channel:
        """Raises Unavailable."""
        if self._closed:
            raise Unavailable(_ENDING)
        if self._start is None or (self._start.done() and not _of(self._start, _Channel.is_open)):
            self._start = asyncio.create_task(self._begin())
        start = self._start
        try:
            return await asyncio.shield(start)
        except asyncio.CancelledError:
            if start.cancelled():
                raise Unavailable(_ENDING) from None
            raise

    async def _begin(self) -> _Channel:
        since = time.monotonic() - self._started
        self._quick_ends = 0 if not self._started or since > _STEADY else self._quick_ends + 1
        if self._quick_ends:
            await asyncio.sleep(min(2.0 ** (self._quick_ends - 1), _LONGEST_PAUSE) - since)
        self._started = time.monotonic()
        return await _begin(self._settings)


def _of(start: asyncio.Task[_Channel], what: Callable[[_Channel], object]) -> object:
    """None where none has started."""
    if not start.done() or start.cancelled() or start.exception():
        return None
    return what(start.result())


class _Channel:
    """A courier that runs; made: it was started, but has not said that it is ready."""

    def __init__(self, settings: Notifications) -> None:
        smtp = settings.smtp.timeout if settings.smtp else 0.0
        self._limit = 3 * max(settings.timeout, smtp) + SILENCE
        self._process, self.socket = _spawn(settings)
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[str] = loop.create_future()
        """Why it is not, where that is not empty."""
        self.lines = Lines(self._take, self._lost)
        self._numbers = itertools.count()
        self._under_way: dict[int, asyncio.Future[Outcome]] = {}
        self._is_open, self._is_retired = True, False

    def is_open(self) -> bool:
        return self._is_open

    async def ask(self, message: Message) -> Outcome:
        if not self._is_open:
            return _DIED
        number = next(self._numbers)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._under_way[number] = future
        self.lines.say([number, *message.as_list()])
        try:
            async with asyncio.timeout(self._limit):
                return await future
        except TimeoutError:
            self.end()
            return failed("the process that delivers said nothing of this")
        finally:
            self._under_way.pop(number, None)
            if self._is_retired:
                self.retire()

    def retire(self) -> None:
        """End it as soon as nothing is under way."""
        self._is_retired = True
        if not self._under_way:
            self.end()

    def end(self) -> None:
        self._is_open = False
        self.lines.end()

    def _take(self, said: Any) -> None:
        if isinstance(said, str):
            self.ready.set_result(said)
            return
        number, *outcome = said
        future = self._under_way.get(number)
        if future and not future.done():
            future.set_result(Outcome(*outcome))

    def _lost(self) -> None:
        self._is_open = False
        if not self.ready.done():
            self.ready.set_result("it did not start (its standard error says why)")
        for future in self._under_way.values():
            if not future.done():
                future.set_result(_DIED)
        self._process.kill()
        asyncio.get_running_loop().run_in_executor(None, self._process.wait)


_DIED = failed("the process that delivers has ended under way")


async def _begin(settings: Notifications) -> _Channel:
    """Raises Unavailable."""
    channel = _Channel(settings)
    try:
        await asyncio.get_running_loop().create_unix_connection(lambda: channel.lines, sock=channel.socket)
        async with asyncio.timeout(_START_WAIT):
            trouble = await channel.ready
    except TimeoutError:
        trouble = f"it was not ready within {_START_WAIT:g} s"
    except BaseException:
        channel.end()
        raise
    if trouble:
        channel.end()
        raise Unavailable(f"notifications cannot be delivered: {trouble}")
    return channel


_NEEDED = ("LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Of the daemon's environment: Python may not run at all without, or trust nobody."""
_SET = {"MALLOC_ARENA_MAX": "2", "RES_OPTIONS": "timeout:2 attempts:2"}


def _spawn(settings: Notifications) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    environment = {name: os.environ[name] for name in _NEEDED if name in os.environ} | _SET
    with theirs, _told(settings) as terms:
        try:
            process = subprocess.Popen(
                [*interpreter("jobd.courier.main", libraries()), str(theirs.fileno())],
                cwd="/",
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=terms,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise Unavailable(f"the courier cannot be started: {error}") from error
    return process, ours


def _told(settings: Notifications) -> Any:
    """A file with what it is to know."""
    terms = settings.model_dump(mode="json", include={"allow", "timeout", "user", "ca_file", "smtp"})
    file = os.fdopen(os.memfd_create("jobd-courier"), "w+b")
    file.write(json.dumps(terms).encode())
    file.seek(0)
    return file


def libraries() -> list[str]:
    """Directories that the courier finds aiohttp in, and apprise, if it is there."""
    return [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
