"""HTTP over the daemon's socket: for tests that look at single answers, or send what no client would."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import requests.adapters
import urllib3


@dataclass
class Reply:
    code: int
    headers: http.client.HTTPMessage
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def result(self) -> Any:
        return self.json["result"]

    @property
    def fields(self) -> list[str]:
        """The fields that an error names."""
        return [fault["field"] for fault in self.result["errors"]]


class Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float = 30) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def ask(
    path: Path, method: str, target: str, body: Any = None, kind: str = "application/json", **headers: str
) -> Reply:
    """One request on a connection of its own. A body that is not bytes goes as JSON."""
    connection = Connection(path)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        sent["Content-Type"] = kind
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request(method, target, body, sent)
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())
    finally:
        connection.close()


def raw(path: Path, data: bytes, timeout: float = 10) -> bytes:
    """What comes back for these bytes, until the server closes."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout)
        sock.connect(str(path))
        with contextlib.suppress(BrokenPipeError):  # it need not have read all before it answers
            sock.sendall(data)
        return everything(sock)


def everything(sock: socket.socket) -> bytes:
    pieces = []
    with contextlib.suppress(ConnectionResetError):  # what it has not read is thrown away with the connection
        while piece := sock.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


class _Connection(urllib3.connection.HTTPConnection):
    path: Path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


class UnixAdapter(requests.adapters.HTTPAdapter):
    """Sends what `requests` sends to http://localhost to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        connection = type("Connection", (_Connection,), {"path": path})
        self._pool = urllib3.HTTPConnectionPool("localhost")
        self._pool.ConnectionCls = connection

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> urllib3.HTTPConnectionPool:
        return self._pool

    def close(self) -> None:
        self._pool.close()
        super().close()
