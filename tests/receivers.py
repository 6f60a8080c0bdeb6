"""Real receivers of notifications on loopback: of webhooks, those that take what they get and those that
misbehave (`MISBEHAVING`), over TLS too, with an authority of the tests' own; and of mail, a real SMTP server.

    with receiver() as hook:                      hook.url("/x"), hook.taken
    with receiver(hangs) as hook: ..              any of the functions below
    with receiver(tls=authority.server()) as hook: ..
    with mail_server() as server: ..              server.port, server.taken
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.handlers import Message as MailHandler
from aiosmtpd.smtp import SMTP, AuthResult

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Taken:
    """One request."""

    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    connection: int
    """The how manieth it came by."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Visit(socketserver.BaseRequestHandler):
    """One connection."""

    server: Receiver
    request: socket.socket

    def handle(self) -> None:
        self.number = self.server.count()
        with contextlib.suppress(OSError, ValueError):
            if self.server.tls:
                self.request = self.server.tls.wrap_socket(self.request, server_side=True)
            with self.request.makefile("rb") as self.file:
                self.server.behaviour(self)

    def finish(self) -> None:
        self.request.close()

    def take(self) -> Taken:
        """The next request, on record. Raises ValueError when there is none."""
        words = self.file.readline().split()
        if len(words) != 3:
            raise ValueError("no request")
        headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = self.file.read(int(headers.get("content-length", 0)))
        taken = Taken(words[1].decode(), headers, body, self.number)
        self.server.taken.append(taken)
        return taken

    def say(self, code: int = 200, body: bytes = b"", **headers: object) -> None:
        headers = {"Content_Length": len(body), **headers}
        lines = [f"HTTP/1.1 {code} Word", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
        self.request.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def wait(self, seconds: float = 600.0) -> bool:
        """True: the test is over."""
        return self.server.ending.wait(seconds)

    def repeat(self, data: bytes, pause: float = 0.0) -> None:
        while not self.wait(pause):
            self.request.sendall(data)


Behaviour = Callable[[Visit], None]


class Receiver(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, behaviour: Behaviour, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.behaviour, self.tls = behaviour, tls
        self.taken: list[Taken] = []
        """In the order in which they came."""
        self.connections = 0
        self.ending = threading.Event()
        self._counting = threading.Lock()

    def count(self) -> int:
        with self._counting:
            self.connections += 1
            return self.connections

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def handle_error(self, *_: object) -> None:
        """Whoever asked has gone."""


@contextmanager
def receiver(behaviour: Behaviour | None = None, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    with Receiver(behaviour or takes, tls) as made:
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield made
        finally:
            made.ending.set()
            made.shutdown()


# ---- those that behave


def takes(visit: Visit) -> None:
    """Request after request on one connection."""
    while True:
        visit.take()
        visit.say(200, b"thanks")


def answers(code: int, body: bytes = b"", **headers: object) -> Behaviour:
    def answer(visit: Visit) -> None:
        while True:
            visit.take()
            visit.say(code, body, **headers)

    return answer


def fails_at_first(visit: Visit) -> None:
    while True:
        visit.take()
        visit.say(200 if len(visit.server.taken) > 1 else 500, b"busy")


# ---- those that do not


def hangs(visit: Visit) -> None:
    visit.take()
    visit.wait()


def reads_nothing(visit: Visit) -> None:
    visit.wait()


def answers_unread(visit: Visit) -> None:
    """What it is asked, but for the beginning."""
    visit.file.readline()
    visit.say(200)
    visit.wait()


def answers_unasked(visit: Visit) -> None:
    """Once in time, and then without end."""
    visit.take()
    visit.say(200)
    visit.wait(0.2)
    visit.repeat(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 10_000)


def drips_its_head(visit: Visit) -> None:
    visit.take()
    visit.request.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    visit.repeat(b".", 0.1)


def drips_its_body(visit: Visit) -> None:
    visit.take()
    visit.say(500, Content_Length=MEGABYTE)
    visit.repeat(b".", 0.1)


def says_10_megabytes(visit: Visit) -> None:
    visit.take()
    visit.say(500, b"x" * 10 * MEGABYTE)


def says_more_and_more(visit: Visit) -> None:
    visit.take()
    visit.say(500, Content_Length=10**15)
    visit.repeat(b"x" * MEGABYTE)


def has_endless_headers(visit: Visit) -> None:
    visit.take()
    visit.request.sendall(b"HTTP/1.1 200 OK\r\n")
    visit.repeat(b"X-More: and more\r\n" * 1000)


def has_an_endless_header(visit: Visit) -> None:
    visit.take()
    visit.request.sendall(b"HTTP/1.1 200 OK\r\nX-More: ")
    visit.repeat(b"more" * 10_000)


def has_endless_chunks(visit: Visit) -> None:
    visit.take()
    visit.request.sendall(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
    visit.repeat(b"1\r\nx\r\n" * 1000)


def has_bad_chunks(visit: Visit) -> None:
    visit.take()
    visit.request.sendall(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nwhat\r\nzzz")
    visit.wait()


def promises_for_ever(visit: Visit) -> None:
    visit.take()
    visit.repeat(b"HTTP/1.1 100 Continue\r\n\r\n")


def redirects(visit: Visit) -> None:
    """A hundred times, each time further."""
    step = int(visit.take().path.rpartition("/")[2].replace("hook", "0"))
    visit.say(302 if step < 100 else 200, Location=f"/{step + 1}", Connection="close")


def speaks_no_http(visit: Visit) -> None:
    visit.take()
    visit.request.sendall(b"\x00\xff220 ready\x1b[31m\r\n\r\n" + bytes(range(256)) * 40)


def closes_at_once(visit: Visit) -> None:
    visit.request.shutdown(socket.SHUT_RDWR)


def resets(visit: Visit) -> None:
    visit.take()
    visit.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    visit.file.close()
    visit.request.close()


def breaks_off(visit: Visit) -> None:
    visit.take()
    visit.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")


def packs_a_bomb(visit: Visit) -> None:
    """A gigabyte in a few bytes, had anybody asked for it."""
    visit.take()
    bomb = gzip.compress(gzip.compress(b"\0" * 10 * MEGABYTE))
    visit.say(500, bomb, Content_Encoding="gzip, gzip", Connection="close")


MISBEHAVING: dict[Behaviour, str] = {
    hangs: "did not answer within",
    reads_nothing: "did not answer within",
    drips_its_head: "did not answer within",
    drips_its_body: "500 Word: ..",
    says_10_megabytes: "500 Word: xxx",
    says_more_and_more: "500 Word: xxx",
    has_endless_headers: "its answer cannot be read: Too many headers",
    has_an_endless_header: "its answer cannot be read: Got more than 8190 bytes",
    has_endless_chunks: "500 No: xxx",
    has_bad_chunks: "its answer cannot be read: Invalid character in chunk size",
    promises_for_ever: "did not answer within",
    redirects: "it redirects to /1: give that address instead",
    speaks_no_http: "its answer cannot be read: Bad status line",
    closes_at_once: "closed the connection before it had answered",
    resets: "broke the connection: Connection reset by peer",
    breaks_off: "closed the connection before it had answered",
    packs_a_bomb: "500 Word",
}
"""With words that say so."""

HANGING = frozenset({hangs, reads_nothing, drips_its_head, promises_for_ever})
"""Those that nothing but the time limit ends."""


# ---- TLS


class Authority:
    """A certificate authority that nobody has heard of; its own certificate is in `file`."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._ca = trustme.CA()
        self.file = directory / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def server(self, *names: str) -> ssl.SSLContext:
        """With a certificate for these, as a server has it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(context)
        return context


# ---- mail


@dataclass
class Mails:
    """What came, and how the server is."""

    port: int = 0
    accounts: dict[str, str] | None = None
    """Passwords by user; None: nobody needs to say who they are."""
    refuse: str = ""
    """What every recipient gets to hear, such as "550 no such user"."""
    refuse_mail: str = ""

    def __post_init__(self) -> None:
        self.taken: list[Any] = []
        """Messages as email.message has them, with X-MailFrom and X-RcptTo."""


class _Handler(MailHandler):
    def __init__(self, mails: Mails) -> None:
        super().__init__()
        self._mails = mails

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, to: str, options: Any) -> str:
        if self._mails.accounts is not None and not session.authenticated:
            return "530 say who you are"
        if self._mails.refuse:
            return self._mails.refuse
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return self._mails.refuse_mail or str(await super().handle_DATA(server, session, envelope))

    def handle_message(self, message: Any) -> None:
        self._mails.taken.append(message)

    def may(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        accounts = self._mails.accounts or {}
        return AuthResult(success=accounts.get(data.login.decode()) == data.password.decode(), handled=False)


@contextmanager
def mail_server(tls: ssl.SSLContext | None = None, always_tls: bool = False, **how: Any) -> Iterator[Mails]:
    """`tls`: after STARTTLS, which it insists on, or from the first byte."""
    mails = Mails(**how)
    handler = _Handler(mails)

    def protocol() -> SMTP:
        return SMTP(
            handler,
            loop=loop,
            hostname="mail.test",
            tls_context=None if always_tls else tls,
            require_starttls=tls is not None and not always_tls,
            authenticator=handler.may,
            auth_require_tls=tls is not None and not always_tls,
        )

    async def serve() -> None:
        async with await loop.create_server(
            protocol, "127.0.0.1", 0, ssl=tls if always_tls else None
        ) as server:
            mails.port = server.sockets[0].getsockname()[1]
            started.set()
            await ended.wait()

    started, ended, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        thread = threading.Thread(target=runner.run, args=(serve(),))
        thread.start()
        started.wait(20)
        try:
            yield mails
        finally:
            loop.call_soon_threadsafe(ended.set)
            thread.join(20)
