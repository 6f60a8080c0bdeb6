"""A real HTTP server on loopback, each page of which behaves as its function says: it stalls, breaks off,
lies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = bytes(range(256)) * 4096
"""1 MB."""
ETAG = '"first"'


class Visit(BaseHTTPRequestHandler):
    """One request; `number` says how many came for this page before."""

    server: Server
    number = 0

    def do_GET(self) -> None:
        with self.server.counting:
            self.number = sum(path == self.path for path, _ in self.server.visits)
            self.server.visits.append((self.path, self.headers.get("Range")))
        self.close_connection = True
        self.server.pages[self.path](self)

    def do_HEAD(self) -> None:
        self.server.pages[self.path](self)

    def say(self, code: int = 200, **headers: object) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    @property
    def start(self) -> int:
        """Where the wanted range begins."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])

    def serve_range(self, content: bytes, etag: str = ETAG) -> None:
        """As a server does that has ranges: the rest, if it is still of the same content."""
        start = self.start if self.headers.get("If-Range") == etag else 0
        if start:
            what = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.say(206, Content_Range=what, Content_Length=len(content) - start, ETag=etag)
        else:
            self.say(Content_Length=len(content), ETag=etag)
        self.wfile.write(content[start:])

    def log_message(self, *_: object) -> None:
        pass


Page = Callable[[Visit], None]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.pages: dict[str, Page] = {}
        self.visits: list[tuple[str, str | None]] = []
        """Path, and the range that was asked for."""
        self.counting = threading.Lock()
        self.ending = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def page(self, path: str, page: Page) -> str:
        self.pages[path] = page
        return self.url(path)

    def handle_error(self, *_: object) -> None:
        """Whoever asked has gone."""


@contextmanager
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield made
        finally:
            made.ending.set()
            made.shutdown()
            thread.join()


# ---- pages


def whole(visit: Visit) -> None:
    visit.say(Content_Length=len(CONTENT), ETag=ETAG, Last_Modified="Tue, 01 Oct 2024 10:00:00 GMT")
    visit.wfile.write(CONTENT)


def breaks_off(visit: Visit) -> None:
    """At first after half of it, without a word."""
    if visit.number:
        visit.serve_range(CONTENT)
    else:
        visit.say(Content_Length=len(CONTENT), ETag=ETAG)
        visit.wfile.write(CONTENT[: len(CONTENT) // 2])


def changes(visit: Visit) -> None:
    """Breaks off, and has another content after that."""
    if visit.number:
        visit.serve_range(CONTENT[::-1], '"second"')
    else:
        breaks_off(visit)


def always_breaks_off(visit: Visit) -> None:
    visit.say(Content_Length=len(CONTENT))
    visit.wfile.write(CONTENT[:1000])


def lies_about_the_range(visit: Visit) -> None:
    """Says that it goes on, and begins anew."""
    if visit.headers.get("Range"):
        visit.say(206, Content_Range=f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")
        visit.wfile.write(CONTENT)
    elif visit.number == 0:
        breaks_off(visit)
    else:
        whole(visit)


def stalls(visit: Visit) -> None:
    """In the middle, for good."""
    visit.say(Content_Length=len(CONTENT), ETag=ETAG)
    visit.wfile.write(CONTENT[:1000])
    visit.server.ending.wait(60)


def drips(visit: Visit) -> None:
    """For ever, a byte at a time."""
    visit.say()
    while not visit.server.ending.wait(0.05):
        visit.wfile.write(b".")


def endless(visit: Visit) -> None:
    visit.say()
    while not visit.server.ending.is_set():
        visit.wfile.write(CONTENT)


def chunks_that_break_off(visit: Visit) -> None:
    visit.protocol_version = "HTTP/1.1"
    visit.say(Transfer_Encoding="chunked")
    visit.wfile.write(b"4\r\nwhat\r\n8\r\nbre")


def busy_at_first(visit: Visit) -> None:
    if visit.number:
        whole(visit)
    else:
        visit.say(503)


def missing(visit: Visit) -> None:
    visit.say(404)


def to(location: str) -> Page:
    return lambda visit: visit.say(302, Location=location)
