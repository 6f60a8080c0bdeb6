"""The courier process: takes messages from its daemon, carries each to where it is to go, and says what came
of it. Ends when its daemon does.

    argv: the socket that messages come by
    standard input: what it is to know of the configuration, as JSON

It reads the files that the configuration names, gives up its rights, and only then speaks to anybody. How
much is under way at once is for the daemon to say; whatever hangs, hangs by itself.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import ssl
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from jobd.courier.lines import Lines
from jobd.courier.mail import Mail, Server
from jobd.courier.message import Message, Outcome, failed
from jobd.courier.others import Others
from jobd.courier.rights import give_up
from jobd.courier.webhook import Webhooks
from jobd.errors import JobdError
from jobd.keeper import procfs
from jobd.keeper.main import reset_signals
from jobd.targets import WEB_PORTS, Allow

_GATHER = 0.01
"""Seconds for which what there is to say is gathered: the daemon is woken once for many outcomes, and at most
100 times a second."""
_STACK = 1 << 20
"""Bytes, of each thread; its limit on memory counts these whole."""


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    procfs.rename_self("jobd-courier")
    reset_signals()
    with open(0, "rb") as file:
        terms = json.load(file)
    os.open(os.devnull, os.O_RDWR)  # the next free number, which was that one's
    threading.stack_size(_STACK)
    gc.freeze()
    asyncio.run(_serve(channel, terms))


async def _serve(channel: socket.socket, terms: dict[str, Any]) -> None:
    try:
        deliver, trouble = _ready(terms), ""
    except (JobdError, OSError) as error:
        deliver, trouble = _nothing, str(error)
    desk = _Desk(deliver)
    await asyncio.get_running_loop().create_unix_connection(lambda: desk.lines, sock=channel)
    desk.lines.say(trouble)
    await asyncio.Future()


Deliver = Callable[[Message], Awaitable[Outcome]]


async def _nothing(message: Message) -> Outcome:
    return failed("this courier could not start")


def _ready(terms: dict[str, Any]) -> Deliver:
    """What delivers, by somebody without rights. Raises Invalid, OSError."""
    trusted = _trusted(terms["ca_file"])
    allow = Allow(terms["allow"])
    server = _server(terms["smtp"])
    others = Others(allow, terms["timeout"])
    if os.geteuid() == 0:
        others.load_while_root()
    give_up(terms["user"])
    webhooks = Webhooks(allow, trusted, terms["timeout"])
    mail = Mail(allow, server, trusted)
    kinds: dict[str, Deliver] = {**dict.fromkeys(WEB_PORTS, webhooks.deliver), "mailto": mail.deliver}

    async def deliver(message: Message) -> Outcome:
        scheme = message.url.partition(":")[0].lower()
        return await kinds.get(scheme, others.deliver)(message)

    return deliver


def _trusted(file: str | None) -> ssl.SSLContext:
    trusted = ssl.create_default_context()
    if file:
        try:
            trusted.load_verify_locations(file)
        except OSError as error:
            raise OSError(f"notifications.caFile: {file}: {error.strerror or error}") from error
    return trusted


def _server(smtp: dict[str, Any] | None) -> Server | str:
    if not smtp:
        return "there is no mail server: notifications.smtp is not set"
    file = smtp.pop("password_file")
    try:
        password = Path(file).read_text().rstrip("\r\n") if file else ""
    except (OSError, ValueError) as error:
        return f"notifications.smtp.passwordFile cannot be read: {error}"
    return Server(**smtp, password=password)


class _Desk:
    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._tasks: set[asyncio.Task[None]] = set()
        self.lines = Lines(self._take, self._end, _GATHER)

    def _take(self, said: list[Any]) -> None:
        number, *message = said
        task = asyncio.create_task(self._carry(number, Message.of(message)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, number: int, message: Message) -> None:
        try:
            outcome = await self._deliver(message)
        except Exception as error:
            traceback.print_exception(error)
            outcome = failed(f"jobd's own fault: {type(error).__name__}: {error}")
        self.lines.say([number, *outcome.as_list()])

    def _end(self) -> None:
        """The daemon has gone; threads that hang would keep us."""
        os._exit(0)
