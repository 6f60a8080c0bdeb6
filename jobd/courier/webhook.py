"""A webhook: one POST, signed as the Standard Webhooks specification (1.0.0) says, so that a receiver checks
it with a library of its own and can drop what it has had already."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import socket
import ssl
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

from jobd import __version__
from jobd.courier.message import Message, Outcome, failed, printable
from jobd.courier.names import Names, Refused
from jobd.courier.web import Answer, NoAnswer, Web
from jobd.targets import Allow, NoTarget, Place, place

_LONGEST_RETRY = 3600.0
_EXCERPT = 200
_GONE = 410
_LATER = (429, 503)


class Webhooks:
    def __init__(self, allow: Allow, trusted: ssl.SSLContext, timeout: float) -> None:
        self._allow = allow
        self._names = Names(allow)
        self._web = Web(trusted)
        self._timeout = timeout

    async def deliver(self, message: Message) -> Outcome:
        try:
            where = place(message.url)
            async with asyncio.timeout(self._timeout):
                return _outcome(await self._post(message, where))
        except NoTarget as error:
            return failed(str(error), for_good=True)
        except Refused as error:
            return error.outcome
        except (NoAnswer, OSError) as error:
            if isinstance(error, TimeoutError) and not error.errno:
                return failed(f"{where} did not answer within {self._timeout:g} s")
            return failed(_trouble(where, error))

    async def _post(self, message: Message, where: Place) -> Answer:
        if refusal := self._allow.refusal(message.url):
            raise Refused(failed(refusal, for_good=True))
        body = message.body.encode(errors="replace")
        headers = _headers(message, where, body)
        return await self._web.post(where, lambda: self._names.allowed(message.url, where), headers, body)


def _headers(message: Message, where: Place, body: bytes) -> dict[str, str]:
    at = int(time.time())
    headers = {
        "User-Agent": f"jobd/{__version__}",
        "Content-Type": message.content_type + "; charset=utf-8" * message.content_type.startswith("text/"),
        "Accept-Encoding": "identity",
        "webhook-id": message.id,
        "webhook-timestamp": str(at),
        "webhook-signature": signature(message.key, message.id, at, body),
    }
    if where.login:
        headers["Authorization"] = f"Basic {base64.b64encode(unquote(where.login).encode()).decode()}"
    return headers


def signature(key: bytes, id: str, at: int, body: bytes) -> str:
    """`at`: seconds since 1970, as in webhook-timestamp."""
    digest = hmac.new(key, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode('ascii')}"


def _outcome(answer: Answer) -> Outcome:
    words = f"{answer.code} {answer.reason}".strip()
    if 200 <= answer.code < 300:
        return Outcome(True, answer.code, printable(words))
    if 300 <= answer.code < 400 and (to := answer.headers.get("Location")):
        return failed(f"it redirects to {to}: give that address instead ({words})", answer.code)
    if excerpt := printable(answer.body.decode(errors="replace"), _EXCERPT):
        words = f"{words}: {excerpt}"
    wait = _retry_after(answer) if answer.code in _LATER else None
    return Outcome(False, answer.code, printable(words), answer.code == _GONE, wait)


def _retry_after(answer: Answer) -> float | None:
    """Seconds, of either form that HTTP has; None: it says nothing that could be understood."""
    value = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]{1,9}", value):
        return min(float(value), _LONGEST_RETRY)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    left = when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)
    return min(max(left.total_seconds(), 0.0), _LONGEST_RETRY)


def _trouble(where: Place, error: NoAnswer | OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{where} has a certificate that is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with {where}: {error.reason or error}"
    if isinstance(error, socket.gaierror):
        return f"no address was found for {where.host}: {error.strerror}"
    if isinstance(error, OSError):
        return f"no connection to {where}: {error.strerror or error}"
    return f"{where}: {error}"
