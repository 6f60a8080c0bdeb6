"""HTTP/1.1 over a socket: one request at a time on a kept connection.

Written out rather than taken from http.client, which drags in the e-mail parser and ssl: those alone are a
third of what a whole `jobctl list` takes. The other end is always jobd's own server, so only what HTTP/1.1
makes every server do is here: a body by Content-Length, by chunks, or until the connection ends.

Three ways to fail, by what the caller may do next: `Away`, nothing was sent; `Lost`, the request may or may
not have been carried out; PermissionError, trying again is of no use. Connections are not safe to share
between threads at the same time.
"""

from __future__ import annotations

import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LONGEST_LINE = 65536
LONGEST_PATH = 107
"""Bytes; the kernel's limit for the path in a Unix socket's address."""


class Away(OSError):
    """Nobody answers at the socket; the request was not sent."""


class Lost(OSError):
    """The connection broke, or the time was up, before the whole reply was here."""


def dial(path: str, patience: float) -> socket.socket:
    """A connection to the socket at path, however long the path is; waits at most `patience` seconds in a
    full queue.

    A Unix socket with a time limit of Python's would answer EAGAIN at once when the server's queue is full.
    So it blocks, and the kernel limits the time.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        seconds = max(patience, 0.001)
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        )
        _connect(sock, path)
    except PermissionError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise Away(error.errno, error.strerror or str(error)) from error
    return sock


def _connect(sock: socket.socket, path: str) -> None:
    if len(os.fsencode(path)) <= LONGEST_PATH:
        return sock.connect(path)
    held = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{held}")
    finally:
        os.close(held)


class Response:
    """The head of a reply, and its body as it comes in."""

    def __init__(self, connection: Connection, code: int, headers: Mapping[str, str]) -> None:
        self.code = code
        self.headers = headers
        """Names in lower case."""
        self.connection = connection

    def read(self) -> bytes:
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """The body in pieces as they arrive. Raises Lost when it breaks off; may be gone through once."""
        try:
            yield from self.connection.body(self)
        except (OSError, ValueError) as error:
            self.close()
            raise Lost(f"the reply broke off: {error}") from error

    def close(self) -> None:
        """Enough has been read."""
        self.connection.close()


class Connection:
    """One connection to a server; `usable` while another request can be sent on it."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._file = self._socket.makefile("rb")
        self.usable = True

    def close(self) -> None:
        self.usable = False
        self._file.close()
        self._socket.close()

    def let_go(self) -> socket.socket:
        """The socket, between two requests, for somebody else to use and to close."""
        self.usable = False
        self._file.close()
        self._socket.settimeout(None)
        return self._socket

    def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, timeout: float | None
    ) -> Response:
        """Send a request and read the head of its reply. `timeout`: seconds of silence that are borne, None:
        no limit."""
        self.usable = False
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        try:
            self._socket.settimeout(timeout)
            self._send(head + (body or b""))
            return self._reply()
        except (OSError, ValueError) as error:
            self.close()
            raise Lost(str(error) or "no reply") from error

    def _send(self, message: bytes) -> None:
        try:
            self._socket.sendall(message)
        except (BrokenPipeError, ConnectionResetError):
            return  # a server may refuse a large body before it has read it: its reply is there to be read

    def _reply(self) -> Response:
        code = 100
        while 100 <= code < 200:
            version, code_word = (*self._line().split(" ", 2), "")[:2]
            if not version.startswith("HTTP/1."):
                raise ValueError("what answers is not an HTTP server")
            code = int(code_word)
            headers = self._headers()
        return Response(self, code, headers)

    def _headers(self) -> dict[str, str]:
        headers = {}
        while line := self._line():
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return headers

    def _line(self) -> str:
        line = self._file.readline(LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise Lost("the connection was closed" if len(line) < LONGEST_LINE else "a line without end")
        return line.rstrip(b"\r\n").decode("latin-1")

    def body(self, response: Response) -> Iterator[bytes]:
        headers = response.headers
        length = headers.get("content-length")
        ends_here = headers.get("connection", "").lower() == "close"
        if response.code in (204, 304):
            pass
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
        elif length is not None:
            yield from self._exactly(int(length))
        else:
            ends_here = True
            while piece := self._file.read1(LONGEST_LINE):
                yield piece
        if ends_here:
            self.close()
        else:
            self.usable = True

    def _exactly(self, length: int) -> Iterator[bytes]:
        while length:
            piece = self._file.read1(min(length, LONGEST_LINE))
            if not piece:
                raise Lost("the connection was closed")
            length -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._line().partition(";")[0], 16):
            yield from self._exactly(size)
            self._line()
        while self._line():
            pass  # trailers
