"""Getting a file over http or https, as whoever this process is: it reaches what that person reaches from
this machine, this machine's own services and its private network included.

A connection that breaks, stalls or ends short of the length that was announced is taken up where it broke
off, where the server can say that the file is still the same one (an ETag that is not weak, or a date);
else from the start. What no second try can mend is Refused. Proxies are those of the daemon's environment.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - of host names; later, as the person, we may not be able to read it
import hashlib
import http.client
import os
import re
import ssl
import time
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from jobd.errors import Refused
from jobd.keeper.copying import Advance, write

_HEADERS = {"User-Agent": "jobd", "Accept-Encoding": "identity"}
_PIECE = 1 << 18
_TRIES = 5
"""In a row that bring nothing more."""
_LONGEST_PAUSE = 8.0
_AGAIN = {408, 425, 429}
"""Refusals that may pass, beside those of the server's own making."""


@dataclass(frozen=True)
class Limits:
    idle: float = 60.0
    """Seconds without an answer or a byte of it."""
    total: float = 86400.0
    """Seconds."""
    size: int | None = None
    """Bytes."""
    redirects: int = 5


@dataclass(frozen=True)
class Fetched:
    size: int
    sha256: str
    etag: str | None
    modified: float | None
    """When the server says that it was changed last."""


class _Broken(Exception):
    """Try again."""


def fetch(url: str, target: int, limits: Limits, advance: Advance) -> Fetched:
    """Into that empty file; `advance(0)` says that it lives. Raises Refused, and OSError of the file."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise Refused(f"it is no URL that can be asked for: {error}") from None
    if not parts.hostname:
        raise Refused("it is no URL that can be asked for: it names no host")
    if "@" in parts.netloc:
        raise Refused("there is a user name or a password in the URL, which everybody would see")
    return _Download(url, target, limits, advance).run()


def look(url: str, idle: float) -> dict[str, Any]:
    """What its server says of it, without its content. Raises HTTPError, OSError, ValueError, Refused."""
    request = urllib.request.Request(url, headers=_HEADERS, method="HEAD")
    limits = Limits(idle)
    with _opener(limits).open(request, timeout=idle) as response:
        said = response.headers
    length = said.get("Content-Length", "")
    return {
        "size": int(length) if length.isdecimal() else None,
        "etag": said.get("ETag"),
        "modified": _seconds(said.get("Last-Modified")),
    }


class _Download:
    def __init__(self, url: str, target: int, limits: Limits, advance: Advance) -> None:
        self._url, self._target, self._limits, self._advance = url, target, limits, advance
        self._deadline = time.monotonic() + limits.total
        self._restart()

    def _restart(self) -> None:
        os.ftruncate(self._target, 0)
        os.lseek(self._target, 0, os.SEEK_SET)
        self._sha = hashlib.sha256()
        self._at = 0
        self._total: int | None = None
        """Bytes, as announced."""
        self._etag: str | None = None
        self._modified: str | None = None

    def run(self) -> Fetched:
        tries = 0
        while True:
            before = self._at
            try:
                self._go_on()
            except _Broken as trouble:
                tries = 1 if self._at > before else tries + 1
                if tries == _TRIES:
                    raise Refused(f"{trouble} ({tries} tries)") from None
                self._pause(min(2.0 ** (tries - 1), _LONGEST_PAUSE))
            else:
                os.fsync(self._target)
                return Fetched(self._at, self._sha.hexdigest(), self._etag, _seconds(self._modified))

    def _pause(self, seconds: float) -> None:
        self._advance(0)
        self._check_time()
        time.sleep(seconds)

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise Refused(f"it took longer than {self._limits.total:g} s")

    def _go_on(self) -> None:
        try:
            with self._asked() as response:
                self._begin(response)
                while piece := self._piece(response):
                    self._keep(piece)
        except HTTPError as error:
            self._judge(error)
        if self._total is not None and self._at != self._total:
            raise _Broken(f"it broke off after {self._at} of {self._total} bytes")

    def _piece(self, response: Any) -> bytes:
        try:
            piece: bytes = response.read1(_PIECE)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _Broken(_in_words(error, self._limits)) from None
        return piece

    def _asked(self) -> Any:
        headers = dict(_HEADERS)
        if self._at and (same := self._validator()):
            headers |= {"Range": f"bytes={self._at}-", "If-Range": same}
        try:
            request = urllib.request.Request(self._url, headers=headers)
            return _opener(self._limits).open(request, timeout=self._limits.idle)
        except HTTPError:
            raise
        except URLError as error:
            raise self._unreachable(error.reason) from None
        except (ValueError, http.client.InvalidURL) as error:
            raise Refused(f"it is no URL that can be asked for: {error}") from None
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, reason: object) -> Exception:
        if isinstance(reason, ssl.SSLCertVerificationError):
            return Refused(f"its server cannot be trusted: {reason.verify_message}")
        return _Broken(_in_words(reason, self._limits))

    def _validator(self) -> str | None:
        """What says that it is still the same file, byte by byte."""
        return self._etag if self._etag and not self._etag.startswith("W/") else self._modified

    def _begin(self, response: Any) -> None:
        if response.status == 206 and self._continues(response.headers.get("Content-Range", "")):
            return
        if response.status != 200:
            self._restart()
            raise _Broken(f"its server answers {response.status} {response.reason}".rstrip())
        self._restart()
        length = response.headers.get("Content-Length", "")
        self._total = int(length) if length.isdecimal() and not response.chunked else None
        self._etag, self._modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
        self._check_size(self._total or 0)

    def _continues(self, content_range: str) -> bool:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", content_range.strip())
        if not found or int(found[1]) != self._at:
            return False
        return found[2] == "*" or self._total in (None, int(found[2]))

    def _keep(self, piece: bytes) -> None:
        self._check_size(self._at + len(piece))
        write(self._target, memoryview(piece))
        self._sha.update(piece)
        self._at += len(piece)
        self._advance(len(piece))
        self._check_time()

    def _check_size(self, size: int) -> None:
        most = self._limits.size
        if most is not None and size > most:
            raise Refused(f"it is larger than {most} bytes, the most that is fetched")

    def _judge(self, error: HTTPError) -> None:
        with error:
            words = f"its server answers {error.code} {error.reason}".rstrip()
        if error.code == 416 and self._at:  # it has become shorter
            self._restart()
        elif error.code < 500 and error.code not in _AGAIN:
            raise Refused(words)
        raise _Broken(words)


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = max_repeats = 1000  # of the library's; ours is the one that counts

    def __init__(self, most: int) -> None:
        self._left = most
        self._most = most

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise Refused(f"its server sends us on to {newurl!r:.200}, which is neither http nor https")
        if not self._left:
            raise Refused(f"its server sends us on more than {self._most} times")
        self._left -= 1
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(limits: Limits) -> urllib.request.OpenerDirector:
    """Only http and https: no ftp, no file, no data."""
    redirects = _Redirects(limits.redirects)
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        redirects,
    ):
        opener.add_handler(handler)
    return opener


def _in_words(error: object, limits: Limits) -> str:
    if isinstance(error, TimeoutError):
        return f"its server said nothing for {limits.idle:g} s"
    if isinstance(error, OSError) and error.strerror:
        return f"its server cannot be reached: {error.strerror}"
    if isinstance(error, http.client.IncompleteRead):
        return "it broke off"
    return f"its server's answer is no good: {error or type(error).__name__}"


def _seconds(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, OverflowError):
        return None
