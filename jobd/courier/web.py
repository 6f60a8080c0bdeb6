"""Posting over HTTP/1.1 to somebody who may do anything: at most one answer's head and the beginning of its
body are taken, redirects, cookies, proxies and compression are none of ours, and a connection is cut, not
closed, when something is not as it should be.

On streams of asyncio's rather than by a client library, since what matters here is what these leave to
themselves: that one connects to the very addresses that were checked, how much of a head is taken, what
becomes of a connection whose other end does not read, and how many idle ones there are.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import re
import ssl
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message as Headers
from typing import Any

from jobd.targets import Address, Place

_MOST_HEAD = 32 * 1024
_MOST_BODY = 16 * 1024
_BODY_WAIT = 1.0
"""Seconds: what the answer is, its head has said."""
_CONNECT_WAIT = 5.0
"""Seconds, for each address."""
_MOST_IDLE = 64
_LONGEST_IDLE = 15.0
_MOST_INTERIM = 8
"""Answers of 1xx before the one that counts."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d)(?: ([^\r\n]*))?\r\n")
_LENGTH = re.compile(r" *[0-9]{1,15} *")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")

Find = Callable[[], Awaitable[Sequence[Address]]]


@dataclass(frozen=True)
class Answer:
    code: int
    reason: str
    headers: Headers
    body: bytes
    """Its beginning, as it came."""


class NoAnswer(Exception):
    """What was there instead of one, for people."""


class Gone(NoAnswer):
    """The connection had been closed before anything came."""


class Web:
    def __init__(self, trusted: ssl.SSLContext) -> None:
        self._trusted = trusted
        self._idle: OrderedDict[_Connection, str] = OrderedDict()
        """With the places they lead to; the one that has been idle longest comes first."""

    async def post(self, place: Place, find: Find, request: bytes) -> Answer:
        """`find` tells the addresses, if they are needed. Raises NoAnswer, OSError (ssl.SSLError is one), and
        what `find` raises. Being cancelled it cuts the connection."""
        if idle := self._take(str(place)):
            with suppress(Gone):  # it was closed while nobody looked
                return await self._ask(idle, place, request)
        return await self._ask(await self._connect(place, await find()), place, request)

    async def _ask(self, connection: _Connection, place: Place, request: bytes) -> Answer:
        try:
            answer, whole = await connection.ask(request)
        except BaseException:
            connection.cut()
            raise
        if whole:
            self._keep(connection, str(place))
        else:
            connection.cut()
        return answer

    async def _connect(self, place: Place, addresses: Sequence[Address]) -> _Connection:
        """To the first that takes us."""
        *others, last = addresses
        for address in others:
            with suppress(OSError, NoAnswer):
                return await self._connect_to(place, address)
        return await self._connect_to(place, last)

    async def _connect_to(self, place: Place, address: Address) -> _Connection:
        safety: dict[str, Any] = {}
        if place.scheme == "https":
            safety = {"ssl": self._trusted, "server_hostname": str(place.host)}
        try:
            async with asyncio.timeout(_CONNECT_WAIT):
                there = asyncio.open_connection(str(address), place.port, limit=_MOST_HEAD, **safety)
                return _Connection(*await there)
        except TimeoutError as error:
            if error.errno:
                raise
            raise NoAnswer(f"there was no connection within {_CONNECT_WAIT:g} s") from None

    def _keep(self, connection: _Connection, place: str) -> None:
        self._idle[connection] = place
        while len(self._idle) > _MOST_IDLE:
            self._idle.popitem(last=False)[0].cut()

    def _take(self, place: str) -> _Connection | None:
        """The youngest idle connection to there; old ones, and those that the other end has closed, are
        cut."""
        for connection in list(self._idle):
            if connection.is_stale():
                del self._idle[connection]
                connection.cut()
        found = next((one for one, to in reversed(self._idle.items()) if to == place), None)
        if found:
            del self._idle[found]
        return found


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._used = time.monotonic()

    def cut(self) -> None:
        """Whatever the other end has not read is forgotten."""
        self._writer.transport.abort()

    def is_stale(self) -> bool:
        return self._reader.at_eof() or time.monotonic() - self._used > _LONGEST_IDLE

    async def ask(self, request: bytes) -> tuple[Answer, bool]:
        """With whether the connection can be used again."""
        self._writer.write(request)  # which is not waited for: an answer may come before all of it is taken
        code, reason, headers, version = await self._head()
        body = _Body(self._reader)
        with suppress(TimeoutError):
            async with asyncio.timeout(_BODY_WAIT):
                await body.read(code, headers)
        self._used = time.monotonic()
        keeps = version == 1 and "close" not in headers.get("Connection", "").lower()
        return Answer(code, reason, headers, bytes(body.beginning)), body.is_whole and keeps

    async def _head(self) -> tuple[int, str, Headers, int]:
        for _ in range(_MOST_INTERIM):
            head = await self._until_blank_line()
            found = _STATUS.match(head)
            if not found:
                raise NoAnswer(f"what it answered is no HTTP: {head[:100].decode('ascii', 'replace')}")
            if found[1][:1] != b"1" or found[1] == b"101":
                reason = (found[2] or b"").decode("latin-1")
                return int(found[1]), reason, _headers(head[found.end() :]), head[7] - ord("0")
        raise NoAnswer("it has nothing to say but that more is to come")

    async def _until_blank_line(self) -> bytes:
        try:
            return await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise NoAnswer(f"the head of its answer has more than {_MOST_HEAD >> 10} KB") from None
        except asyncio.IncompleteReadError as error:
            if error.partial:
                words = error.partial[:100].decode("ascii", "replace")
                raise NoAnswer(f"it closed the connection in the midst of its answer: {words}") from None
            raise Gone("it closed the connection without an answer") from None
        except ConnectionError as error:
            raise Gone(f"it broke the connection: {error.strerror or error}") from None


def _headers(lines: bytes) -> Headers:
    try:
        return http.client.parse_headers(io.BytesIO(lines))
    except http.client.HTTPException as error:
        raise NoAnswer(f"what it answered is no HTTP: {error}") from None


class _Body:
    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.beginning = bytearray()
        self.is_whole = False
        """All of it was read, and what comes next on this connection is another answer."""

    async def read(self, code: int, headers: Headers) -> None:
        """As far as it is worth it."""
        lengths = headers.get_all("Content-Length") or []
        coding = headers.get_all("Transfer-Encoding") or []
        if code in (204, 304):
            self.is_whole = True
        elif [value.strip().lower() for value in coding] == ["chunked"] and not lengths:
            self.is_whole = await self._chunks()
        elif len(lengths) == 1 and _LENGTH.fullmatch(lengths[0]) and not coding:
            self.is_whole = await self._exactly(int(lengths[0]))
        else:
            await self._exactly(_MOST_BODY)

    async def _exactly(self, size: int) -> bool:
        """False: so much did not come, or it is more than we want."""
        most = _MOST_BODY - len(self.beginning)
        left = min(size, most)
        with suppress(ConnectionError):
            while left and (piece := await self._reader.read(left)):
                self.beginning += piece
                left -= len(piece)
            return not left and size <= most
        return False

    async def _chunks(self) -> bool:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while found := _CHUNK.fullmatch(await self._reader.readuntil(b"\r\n")):
                size = int(found[1], 16)
                if size == 0:  # trailers are more than we want
                    return await self._reader.readuntil(b"\r\n") == b"\r\n"
                if not await self._exactly(size) or await self._reader.readexactly(2) != b"\r\n":
                    return False
        return False
