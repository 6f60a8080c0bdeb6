"""JSON on lines over a socket, for either end: what is said in one turn of the event loop, or within `pause`
seconds, goes in one write and wakes the other end once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Lines(asyncio.Protocol):
    def __init__(self, take: Callable[[Any], None], lost: Callable[[], None], pause: float = 0.0) -> None:
        """`take` gets each thing said; `lost` is called once, when the other end has gone."""
        self._take, self._lost, self._pause = take, lost, pause
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._said: list[str] = []
        self._rest = b""

    def say(self, thing: object) -> None:
        if not self._said:
            self._loop.call_later(self._pause, self._flush)
        self._said.append(_encode(thing))

    def end(self) -> None:
        if self._transport:
            self._transport.abort()

    def _flush(self) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write("\n".join([*self._said, ""]).encode())
        self._said.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def connection_lost(self, error: Exception | None) -> None:
        self._lost()
