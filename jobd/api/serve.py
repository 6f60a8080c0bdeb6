"""The server: one Unix socket, many connections, none of which can keep the others out.

A connection is closed when it says nothing, or drips a header, for `idle_timeout`; one person has at most
half of the connections that there can be; what is no HTTP is refused in the envelope as well. Stopping takes
no longer than the handlers at work do, and those that wait or stream are told to end (`Api.closing`). Who has
just been let in is heard first: behind a socket that systemd holds, no call is lost by a restart.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections import Counter
from typing import Any

from aiohttp import web

from jobd.api import envelope
from jobd.api.app import API
from jobd.api.caller import peer
from jobd.api.listener import BACKLOG
from jobd.errors import Forbidden, Invalid, JobdError, Unavailable

SHUTDOWN = 1.0
"""Seconds that handlers at work are given."""
_FIRST_WORDS = 0.3
"""Seconds in which a connection that has been accepted is to say something, when we are about to stop."""
_TURNS = 10
"""Of the event loop, from accepting a connection to reading from it; a few more than it takes."""
_LINGER = 2.0
_LONGEST_HEADER = 16384
_OTHER_FILES = 100
"""Descriptors that are for other things than connections."""


class Server:
    """Made in a running event loop."""

    def __init__(self, app: web.Application, idle_timeout: float) -> None:
        self._api = app[API]
        self._api.connections = lambda: self._persons.total()
        self._options: dict[str, Any] = {
            "keepalive_timeout": idle_timeout,
            "lingering_time": _LINGER,
            "tcp_keepalive": False,
            "access_log": None,
            "max_line_size": _LONGEST_HEADER,
            "max_field_size": _LONGEST_HEADER,
        }
        self._runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN)
        self._listening: list[asyncio.Server] = []
        self._persons: Counter[int] = Counter()
        self._silent: set[_Connection] = set()
        """Those that have not said anything yet."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_of_one = max(16, (soft - _OTHER_FILES) // 2)

    async def start(self, sock: socket.socket) -> None:
        """Serve this socket; a second one may come later, when the first one's path has vanished."""
        if self._runner.server is None:
            await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._listening.append(await loop.create_unix_server(self._connection, sock=sock, backlog=BACKLOG))

    async def stop(self) -> None:
        await self._hear_out()
        for server in self._listening:
            server.close()
        self._api.closing.set()
        await self._runner.cleanup()

    async def _hear_out(self) -> None:
        """Nobody is let in any more, and those who are have had time to speak. To close a server drops whom
        it has just accepted, hence this order."""
        loop = asyncio.get_running_loop()
        for one in [one for server in self._listening for one in server.sockets]:
            loop.remove_reader(one.fileno())
        deadline = loop.time() + _FIRST_WORDS
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        while self._silent and loop.time() < deadline:
            await asyncio.sleep(0.01)

    def _connection(self) -> web.RequestHandler:
        server = self._runner.server
        assert server is not None
        loop = asyncio.get_running_loop()
        most = self._most_of_one
        return _Connection(self._persons, self._silent, most, server, loop=loop, **self._options)


class _Connection(web.RequestHandler):
    def __init__(
        self,
        persons: Counter[int],
        silent: set[_Connection],
        most: int,
        server: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        **options: Any,
    ) -> None:
        super().__init__(server, loop=loop, **options)
        self._persons = persons
        self._silent = silent
        self._most = most
        self._uid: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._silent.add(self)
        try:
            self._uid = peer(transport.get_extra_info("socket"))[0]
        except (Forbidden, OSError):
            self._uid = -1
        self._persons[self._uid] += 1
        if self._persons[self._uid] > self._most:
            self._turn_away(transport)

    def data_received(self, data: bytes) -> None:
        self._silent.discard(self)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._silent.discard(self)
        if self._uid is not None:
            self._persons[self._uid] -= 1
            if not self._persons[self._uid]:
                del self._persons[self._uid]

    def _turn_away(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        body = envelope.text(
            envelope.wrapped("error", f"you have {self._most} connections already", envelope.NOTHING)
        )
        transport.write(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        self.force_close()

    def log_exception(self, *words: Any, **how: Any) -> None:
        """A body that was broken has been answered; what is left of it is broken still."""
        if not isinstance(how.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*words, **how)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What could not be read as HTTP."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is on its way already")
        failure: JobdError = Invalid(
            f"this is not a request that can be read: {_first_line(message or str(exc))}"
        )
        if status >= 500:
            failure = Unavailable("jobd itself has failed")
        response = envelope.error(failure)
        response.force_close()
        return response


def _first_line(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[0].rstrip(":")[:200] if lines else "it is not HTTP"
