"""What comes in a request's body: JSON, a form, or multipart, of bounded size and depth, in bounded time.

A form's values are text; fields that are lists or mappings may be given as JSON in it, and `command` by
saying it several times. What looks like JSON is read as JSON even when its type says form, which is how
`curl -d '{..}'` sends it. In multipart, the file `fileToUpload` is the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.web_exceptions import HTTPRequestEntityTooLarge

from jobd.errors import Fault, Invalid, JobdError
from jobd.units import format_size

DEEPEST = 32
MOST_FORM_FIELDS = 1000
_TYPES = "application/json, application/x-www-form-urlencoded or multipart/form-data"
_STRUCTURED = frozenset(
    {"associationIds", "command", "environment", "ignore", "inputs", "notifications", "parameters", "policy"}
)
_LARGE = 256 * 1024
"""From this size on, reading it must not hold up everybody else."""
_MOST_CONTAINERS = 1_000_000
_MOST_COMMAS = 1_250_000
"""Of a JSON document. Nothing else runs while a piece of it is read, which 16 MB of `[],[],` make seconds."""
_AT_ONCE = threading.Semaphore(2)
"""So many large ones are read at the same time: the event loop shares the interpreter with them."""


class TooLarge(JobdError):
    """More was sent than anybody needs to send."""

    code = 413


class TooSlow(JobdError):
    """The rest of the request did not come."""

    code = 408


async def read(request: web.Request, limit: int, seconds: float) -> Any:
    """The body as a value; None if there is none. `limit` in bytes. Raises Invalid, TooLarge, TooSlow."""
    if not request.body_exists:
        return None
    content = await _content(request, limit, seconds)
    if not content.strip():
        return None
    kind = request.headers.get("Content-Type", "")
    if len(content) < _LARGE:
        return parse(content, kind)
    return await _aside(lambda: parse(content, kind))


async def _aside(work: Callable[[], Any]) -> Any:
    """Done in a thread that nobody waits for when the daemon ends, as asyncio would for one of its own."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def thread() -> None:
        result, error = None, None
        with _AT_ONCE:
            try:
                result = work()
            except Exception as raised:
                error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: the daemon ends
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=thread, name="jobd-body", daemon=True).start()
    return await done


async def _content(request: web.Request, limit: int, seconds: float) -> bytes:
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise TooSlow(f"the body was not there after {seconds:g} seconds") from None
    except HTTPRequestEntityTooLarge:
        raise _too_large(limit) from None
    except web.RequestPayloadError as error:
        raise Invalid(Fault("body", f"it cannot be read: {error}")) from error


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is too large (expected at most {format_size(limit)})")


def parse(content: bytes, content_type: str) -> Any:
    """Raises Invalid."""
    kind = content_type.partition(";")[0].strip().lower()
    looks_like_json = content.lstrip()[:1] in (b"{", b"[")
    try:
        if kind == "application/json" or kind.endswith("+json"):
            return from_json(content)
        if kind == "application/x-www-form-urlencoded":
            return from_json(content) if looks_like_json else _from_form(content)
        if kind == "multipart/form-data":
            return _from_multipart(content, content_type)
    except RecursionError:
        raise Invalid(Fault("body", "it is nested too deep", f"at most {DEEPEST} levels")) from None
    problem = f"{kind[:100]!r} cannot be read" if kind else "it does not say what it is"
    raise Invalid(Fault("Content-Type", problem, _TYPES))


def from_json(content: bytes) -> Any:
    _refuse_many(content)
    try:
        value = json.loads(content, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        place = f"at line {error.lineno} column {error.colno}"
        raise Invalid(Fault("body", f"broken JSON {place}: {error.msg}", "a JSON document")) from error
    except UnicodeDecodeError as error:
        problem = f"broken JSON at byte {error.start}: it is not UTF-8"
        raise Invalid(Fault("body", problem, "a JSON document in UTF-8")) from error
    except ValueError as error:
        raise Invalid(Fault("body", f"broken JSON: {error}", "a JSON document")) from error
    _check_depth(value)
    return value


def _refuse_many(content: bytes) -> None:
    """Counted with what is inside of strings: that is quick, and the bounds are far away."""
    if content.count(b"[") + content.count(b"{") > _MOST_CONTAINERS or content.count(b",") > _MOST_COMMAS:
        expected = f"at most {_MOST_CONTAINERS} lists and objects, and {_MOST_COMMAS} commas"
        raise Invalid(Fault("body", "it holds too many values", expected))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"{_first_repeated(name for name, _ in pairs)[:100]!r} is there twice in one object")
    return found


def _first_repeated(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not a number of JSON's")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} is too large a number")
    return number


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise RecursionError


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _from_form(content: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(
            content.decode(), keep_blank_values=True, max_num_fields=MOST_FORM_FIELDS, errors="strict"
        )
    except UnicodeDecodeError:
        raise Invalid(Fault("body", "the form is not UTF-8", "UTF-8, escaped by percent signs")) from None
    except ValueError:
        raise Invalid(Fault("body", "too many fields", f"at most {MOST_FORM_FIELDS}")) from None
    return _fields(pairs)


def _fields(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return {name: _value(name, values) for name, values in found.items()}


def _value(name: str, values: list[str]) -> Any:
    if len(values) > 1 and name != "command":
        raise Invalid(Fault(name, "it is there twice", "one value"))
    if name in _STRUCTURED and values[0].lstrip()[:1] in ("{", "["):
        return from_json(values[0].encode())
    return values if name == "command" else values[0]


def _from_multipart(content: bytes, content_type: str) -> Any:
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    message = email.message_from_bytes(head + content, policy=email.policy.HTTP)
    if not message.is_multipart():
        raise Invalid(Fault("body", "the multipart body has no parts, or no boundary", _TYPES))
    pairs: list[tuple[str, str]] = []
    for part in message.iter_parts():
        name = str(part.get_param("name", "", "content-disposition"))
        payload = part.get_payload(decode=True)
        if not isinstance(payload, bytes):
            raise Invalid(Fault(name, "a part is multipart itself", "one level of parts"))
        if name == "fileToUpload":
            return from_json(payload)
        pairs.append((name, _text(name, payload)))
    return _fields(pairs)


def _text(name: str, payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise Invalid(Fault(name, "it is not UTF-8", "UTF-8 text")) from None


def digest(*parts: Any) -> str:
    """What tells one parsed request from another, however it was spelt."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
