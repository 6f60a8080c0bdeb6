"""Posting over HTTP, by aiohttp, to somebody who may do anything: to the very address that was checked, on a
connection of its own. The head of the answer is taken, and the beginning of its body; redirects, cookies,
proxies and compression are none of ours.

aiohttp closes a connection once the other end has taken what was sent, which it may never do: we cut it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ClientOSError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    ServerDisconnectedError,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection
from yarl import URL

from jobd.targets import Address, Place

_MOST_LINE = 8190
_MOST_LINES = 64
"""Of its head."""
_MOST_BODY = 16 * 1024
_BODY_WAIT = 1.0
"""Seconds: what the answer is, its head has said."""
_CONNECT_WAIT = 5.0
"""Seconds, for each address."""

Find = Callable[[], Awaitable[Sequence[Address]]]


@dataclass(frozen=True)
class Answer:
    code: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    """Its beginning, as it came."""


class NoAnswer(Exception):
    """What was there instead of one, for people."""


class Web:
    """Made in a running event loop."""

    def __init__(self, trusted: ssl.SSLContext) -> None:
        self._session = ClientSession(
            connector=TCPConnector(
                limit=0,
                ssl=trusted,
                force_close=True,
                resolver=_NoResolver(),
            ),
            response_class=_Response,
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None, sock_connect=_CONNECT_WAIT),
            skip_auto_headers=["Accept"],
            auto_decompress=False,
            read_bufsize=_MOST_BODY,
            max_line_size=_MOST_LINE,
            max_field_size=_MOST_LINE,
            max_headers=_MOST_LINES,
        )

    async def post(self, place: Place, find: Find, headers: Mapping[str, str], body: bytes) -> Answer:
        """`find` tells the addresses. Raises NoAnswer, OSError (ssl.SSLError is one), and what `find` raises.
        Being cancelled it cuts the connection."""
        *others, last = await find()
        for address in others:
            with suppress(ClientConnectorError, ConnectionTimeoutError):
                return await self._post(place, address, headers, body)
        try:
            return await self._post(place, last, headers, body)
        except (ClientConnectorError, ConnectionTimeoutError) as error:
            _no_connection(error)

    async def _post(self, place: Place, address: Address, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            return await self._ask(place, address, headers, body)
        except ClientConnectorError:
            raise
        except (ServerDisconnectedError, ClientOSError, ClientResponseError) as error:
            raise NoAnswer(_words(error)) from None

    async def _ask(self, place: Place, address: Address, headers: Mapping[str, str], body: bytes) -> Answer:
        """The address stands in the URL, so that nobody looks it up; the name is for the certificate."""
        host = f"[{address}]" if address.version == 6 else str(address)
        url = URL(f"{place.scheme}://{host}:{place.port}{place.path}", encoded=True)
        headers = {"Host": place.authority, **headers}
        name = str(place.host) if place.scheme == "https" else None
        posting = self._session.post(
            url, data=body, headers=headers, allow_redirects=False, server_hostname=name
        )
        async with posting as response:
            try:
                beginning = await _beginning(response)
            finally:
                response.close()
            return Answer(response.status, response.reason or "", response.headers, beginning)


def _no_connection(error: ClientConnectorError | ConnectionTimeoutError) -> NoReturn:
    if isinstance(error, ConnectionTimeoutError):
        raise NoAnswer(f"there was no connection within {_CONNECT_WAIT:g} s") from None
    if isinstance(error, ClientConnectorCertificateError):
        raise error.certificate_error
    raise error.os_error


def _words(error: ServerDisconnectedError | ClientOSError | ClientResponseError) -> str:
    """Of our own, where aiohttp's have the URL, which may be a secret."""
    if isinstance(error, ClientResponseError):
        return f"its answer cannot be read: {error.message.rstrip(' ^')}"
    if isinstance(error, OSError) and error.errno:
        return f"it broke the connection: {os.strerror(error.errno)}"
    return "it closed the connection before it had answered"


async def _beginning(response: ClientResponse) -> bytes:
    body = bytearray()
    with suppress(TimeoutError, ClientError):
        async with asyncio.timeout(_BODY_WAIT):
            while len(body) < _MOST_BODY and (piece := await response.content.read(_MOST_BODY - len(body))):
                body += piece
    return bytes(body)


class _NoResolver(AbstractResolver):
    """Names are looked up, and their addresses checked, before (names.py)."""

    async def resolve(self, host: str, *_: Any, **__: Any) -> NoReturn:
        raise OSError(f"nobody may look up {host} any more")

    async def close(self) -> None:
        pass


class _Response(ClientResponse):
    async def start(self, connection: Connection) -> ClientResponse:
        self._there = connection.transport
        return await super().start(connection)

    def close(self) -> None:
        """Whatever the other end has not read is forgotten."""
        if self._there:
            self._there.abort()
        super().close()
