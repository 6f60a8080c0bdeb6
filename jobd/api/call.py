"""One request on its way through a handler, and what all handlers share: the Api.

A handler takes a Call and returns an Answer, or has sent a stream itself. What it raises becomes an error in
`app.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from aiohttp import web

from jobd.api import body
from jobd.api.caller import Callers
from jobd.api.envelope import Answer
from jobd.errors import Fault, Invalid, Unavailable
from jobd.verbs.desk import Caller, Desk
from jobd.verbs.once import Key

T = TypeVar("T")

MOST_ROWS = 100
_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9a-fA-F:.]+\](:\d{1,5})?", re.ASCII)
_MOST_OFFSET = 10**15


@dataclass
class Api:
    desk: Desk
    callers: Callers
    about: Callable[[], dict[str, Any]] = dict
    """What the daemon says of itself."""
    started: float = field(default_factory=time.time)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the daemon ends: whoever waits or streams is to stop."""
    connections: Callable[[], int] = lambda: 0
    answered: Counter[int] = field(default_factory=Counter)
    """Requests so far, by status code."""
    document: Callable[[], bytes] = lambda: b"{}"
    """What can be asked, as OpenAPI has it."""

    async def unless_closing(self, work: Coroutine[Any, Any, T]) -> T:
        """For what may take long. Raises Unavailable when the daemon ends before it does."""
        doing = asyncio.ensure_future(work)
        closing = asyncio.ensure_future(self.closing.wait())
        try:
            await asyncio.wait({doing, closing}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            raise Unavailable("the daemon is being stopped or restarted: ask again", retry_after=1)
        finally:
            closing.cancel()
            if not doing.done():
                doing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await doing


@dataclass(frozen=True)
class Call:
    api: Api
    request: web.Request
    caller: Caller

    @property
    def desk(self) -> Desk:
        return self.api.desk

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query

    @property
    def base(self) -> str:
        """What links begin with: the host that the caller says it is talking to."""
        host = self.request.headers.get("Host", "")
        return f"http://{host if _HOST.fullmatch(host) else 'localhost'}"

    @property
    def id(self) -> str:
        return self.request.match_info["id"]

    async def body(self) -> Any:
        settings = self.desk.settings
        reading = body.read(self.request, settings.max_body, settings.body_timeout)
        return await self.api.unless_closing(reading)

    def key(self, *parts: Any) -> Key | None:
        """The caller's Idempotency-Key, together with what it stands for."""
        key = self.request.headers.get("Idempotency-Key")
        if key and not (key.isascii() and key.isprintable()):
            raise Invalid(Fault("Idempotency-Key", "it holds strange characters", "printable ASCII"))
        return Key(key, body.digest(*parts)) if key else None

    def page(self) -> tuple[int, int]:
        """Limit and offset; more rows than there are at once is no fault."""
        limit = self.whole_number("limit", MOST_ROWS)
        return min(limit, MOST_ROWS), self.whole_number("offset", 0)

    def whole_number(self, name: str, default: int, least: int = 0) -> int:
        word = self.query.get(name)
        if word is None:
            return default
        digits = word.strip()
        sign = -1 if digits.startswith("-") else 1
        digits = digits.removeprefix("-")
        number = sign * int(digits) if digits.isdecimal() and digits.isascii() and len(digits) < 16 else None
        if number is None or not least <= number <= _MOST_OFFSET:
            expected = f"a whole number of at least {least}" if least > -_MOST_OFFSET else "a whole number"
            raise Invalid(Fault(name, f"{word[:100]!r} is not right", expected))
        return number

    async def stream(
        self, pieces: AsyncGenerator[bytes, None], headers: Mapping[str, str], status: int = 200
    ) -> web.StreamResponse:
        """Sends the pieces as they come. When something fails on the way, or the daemon ends, the connection
        is cut: an orderly end would say that this was all."""
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(self.request)
        if self.request.method != "HEAD":
            try:
                await self.api.unless_closing(self._pump(pieces, response))
            except BaseException:
                self._cut()
                raise
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
        return response

    async def _pump(self, pieces: AsyncGenerator[bytes, None], response: web.StreamResponse) -> None:
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                if self.request.transport is None:
                    raise ConnectionResetError("the caller is gone")
                if piece:
                    await response.write(piece)

    def _cut(self) -> None:
        if self.request.transport is not None:
            self.request.transport.abort()


Handler: TypeAlias = Callable[[Call], Awaitable[Answer | web.StreamResponse]]
