"""A notification as it comes, in a submission or by itself: of which event, where to, how persistently.

    {"event": "FINISHED", "url": "https://lab/hook", "persistent": false, "policy": {"retryLimit": 10}}
    {"event": "*", "command": ["notify-send", "moved on"], "persistent": true}
    {"event": "FAILED", "url": "ann@lab", "persistent": true, "digest": "1h"}
    "https://lab/hook"      told once of FINISHED, of FAILED and of STOPPED

An event is a status, a condition, or `*`. It goes to a web address, to a mail address, to a command that is
run as whoever wants to be told, or, where the library apprise is installed, to whatever that speaks. `body`
says it in other words than the usual (a text, or an object or list of JSON's), with macros as the URL has
them (macros.py). A mail can gather what there is to tell of all jobs of one name for a while (`digest`).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from jobd import macros
from jobd.apps.fields import plain
from jobd.errors import Fault, Invalid
from jobd.model import Model, Whole, Wrong, faults
from jobd.status import KNOWN_WORDS, TERMINAL, Condition
from jobd.store.notifications import Wanted
from jobd.targets import MAILBOX, Allow
from jobd.units import BadUnit, parse_duration, shown

MOST = 100
"""Of one person's about one job."""
ANY = "*"
EVENTS = frozenset({ANY, *KNOWN_WORDS, *Condition})
WHEN_OVER = tuple(sorted(TERMINAL))
_TARGET = "https://.., http://.. or mailto:name@host; or a command instead"
_LONGEST = 2048
_LONGEST_BODY = 16 * 1024
_LONGEST_DIGEST = 86400.0
_MOST_RETRIES = 1440
_LONGEST_PAUSE = 86400
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://.+")
_NEVER = frozenset({"file", "ftp", "unix", "data", "javascript"})
"""Schemes that everybody knows and that tell nobody anything."""
_WHO = re.compile(r"[^/]*(?://[^/?#]*)?")
"""All of an address that chooses who is asked."""
_MAIL = re.compile(f"(?:mailto:)?({MAILBOX})")


def _event(value: str) -> str:
    word = value.strip().upper()
    if word in EVENTS:
        return word
    near = difflib.get_close_matches(word, EVENTS, 1)
    expected = f"{near[0]}?" if near else f"one of {', '.join(sorted(EVENTS))}"
    raise Wrong(f"there is no event {shown(value)}", expected)


def _target(value: str) -> str:
    """A mail address gets its scheme. A `${..}` belongs behind the host: it must not choose who is asked."""
    _known_macros(value)
    if len(value) > _LONGEST or not re.fullmatch("[!-~]+", value):
        problem = f"{shown(value)} is no address"
        raise Wrong(problem, f"{_TARGET}; at most {_LONGEST} characters, other than ASCII's escaped by %")
    if "${" in _WHO.match(value)[0]:  # type: ignore[index]
        raise Wrong(f"a macro must not choose who is told: {shown(value)}", "it behind the host, or none")
    if mail := _MAIL.fullmatch(value):
        return f"mailto:{mail[1]}"
    scheme = _SCHEME.fullmatch(value)
    if scheme and scheme[1] not in ("http", "https", "mailto", *_NEVER):
        return _by_apprise(value, scheme[1])
    if not _is_web_address(value):
        raise Wrong(f"nothing can be delivered to {shown(value)}", _TARGET)
    return value


def _is_web_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "$" not in parts.netloc


def _by_apprise(value: str, scheme: str) -> str:
    if not has_apprise():
        problem = f"nothing can be delivered to {shown(value)}"
        raise Wrong(problem, f"{_TARGET}; {scheme}: needs apprise, which is not installed beside jobd")
    return value


@cache
def has_apprise() -> bool:
    return find_spec("apprise") is not None


def _known_macros(template: object) -> None:
    for name in macros.unknown(template):
        near = difflib.get_close_matches(name, macros.NAMES, 1)
        expected = f"${{{near[0]}}}?" if near else f"one of {', '.join(macros.NAMES)}"
        raise Wrong(f"there is no macro ${{{name}}}", expected)


def _body(value: object) -> object:
    """None, a text, or an object or a list."""
    if value is None:
        return None
    if not isinstance(value, str | dict | list) or not value:
        raise Wrong(f"{shown(value)} says nothing", "a text, or an object or a list")
    if len(json.dumps(value)) > _LONGEST_BODY:
        raise Wrong("it is too long", f"at most {_LONGEST_BODY} bytes, as JSON")
    _known_macros(value)
    return value


def _digest(value: object) -> object:
    seconds = None if value is None else parse_duration(value)
    if seconds is not None and not 1 <= seconds <= _LONGEST_DIGEST:
        raise Wrong(f"{shown(value)} will not do", "between 1 second and a day")
    return seconds


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


Pause = Annotated[Whole, Field(ge=0, le=_LONGEST_PAUSE)]


class Policy(Model):
    """How delivering is tried again. Times in seconds."""

    retry_strategy: Annotated[
        Literal["NONE", "IMMEDIATE", "DELAYED", "EXPONENTIAL"], BeforeValidator(_upper)
    ] = "EXPONENTIAL"
    retry_limit: Annotated[Whole, Field(ge=0, le=_MOST_RETRIES)] = 8
    retry_rate: Pause = 5
    retry_delay: Pause = 0
    save_on_failure: bool = False


class Wish(Model):
    event: Annotated[str, AfterValidator(_event)]
    url: Annotated[str, AfterValidator(_target)] | None = None
    command: Annotated[tuple[Annotated[str, AfterValidator(plain)], ...], Field(min_length=1)] | None = None
    persistent: bool = False
    policy: Policy = Policy()
    body: Annotated[Any, BeforeValidator(_body)] = None
    digest: Annotated[float | None, BeforeValidator(_digest)] = None
    """Seconds."""

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Wish:
        if (self.url is None) == (self.command is None):
            problem = "it says both where to and which command" if self.url else "it does not say where to"
            raise Wrong(problem, "either url or command", "url")
        if self.command and not self.command[0]:
            raise Wrong("the program's name is empty", "a program", "command", 0)
        if self.digest and not (self.url or "").startswith("mailto:"):
            raise Wrong("only mail is gathered", "a mail address, or no digest", "digest")
        return self

    def as_wanted(self) -> Wanted:
        policy = self.policy.model_dump(by_alias=True)
        command = self.command or ()
        return Wanted(self.event, self.url, command, self.persistent, policy, self.body, self.digest)


class Faulty(ValueError):
    """What is wrong with some of several notifications."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


def read(body: object, at: str = "") -> Wanted:
    """Raises Invalid with every fault; `at` goes before the fields' names."""

    def fault(path: Sequence[str | int], problem: str, expected: str) -> Fault:
        return Fault(at + ".".join(map(str, path)) if path else at.rstrip("."), problem, expected)

    try:
        return Wish.model_validate(body, by_name=False).as_wanted()
    except ValidationError as error:
        raise Invalid(*faults(error, fault, Wish)) from None


def check_allowed(allow: Sequence[str], wanted: Iterable[Wanted], at: str) -> None:
    """Raises Invalid for targets that this daemon does not deliver to."""
    allowed = Allow(allow)
    refusals = {one.url: allowed.refusal(one.url) for one in wanted if one.url is not None}
    if faults := [Fault(at, words) for words in refusals.values() if words]:
        raise Invalid(*faults)


def several(value: object) -> tuple[Wanted, ...]:
    """A list of them, one, none, or an address alone. Raises BadUnit, Faulty."""
    if value is None or isinstance(value, str):
        return when_over(value)
    if not isinstance(value, list | dict):
        raise BadUnit(f"{shown(value)} will not do", "a list of notifications, or an address")
    bodies = value if isinstance(value, list) else [value]
    if len(bodies) > MOST:
        raise BadUnit(f"there are {len(bodies)}", f"at most {MOST}")
    wanted: list[Wanted] = []
    found: list[Fault] = []
    for number, body in enumerate(bodies):
        try:
            wanted.append(read(body, f"{number}." if isinstance(value, list) else ""))
        except Invalid as error:
            found += error.faults
    if found:
        raise Faulty(found)
    return tuple(wanted)


def when_over(url: str | None) -> tuple[Wanted, ...]:
    """What an address alone stands for. Raises BadUnit."""
    target = url and _target(url)
    return tuple(Wish(event=event, url=target).as_wanted() for event in WHEN_OVER) if target else ()
