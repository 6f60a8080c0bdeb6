"""A notification as it comes, in a submission or by itself: of which event, where to, how persistently.

    {"event": "FINISHED", "url": "https://lab/hook", "persistent": false, "policy": {"retryLimit": 10}}
    {"event": "*", "command": ["notify-send", "moved on"], "persistent": true}
    "https://lab/hook"      told once of FINISHED, of FAILED and of STOPPED

An event is a status, a condition, or `*`. It goes to a web address, to a mail address, or to a command that
is run as whoever wants to be told. Anything else is refused, since nothing in jobd could ever deliver it; a
command can (`apprise` is one).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from jobd.apps.fields import plain
from jobd.errors import Fault, Invalid
from jobd.model import Model, Whole, Wrong, faults
from jobd.status import KNOWN_WORDS, TERMINAL, Condition
from jobd.store.notifications import Wanted
from jobd.units import BadUnit, shown

MOST = 100
"""Of one job's."""
ANY = "*"
EVENTS = frozenset({ANY, *KNOWN_WORDS, *Condition})
WHEN_OVER = tuple(sorted(TERMINAL))
_TARGET = "https://.., http://.. or mailto:name@host; or a command instead"
_LONGEST = 2048
_MOST_RETRIES = 1440
_LONGEST_PAUSE = 86400
_MAIL = re.compile(r"(?:mailto:)?([A-Za-z0-9.!#$&'*+/=^_`{|}~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)")


def _event(value: str) -> str:
    word = value.strip().upper()
    if word in EVENTS:
        return word
    near = difflib.get_close_matches(word, EVENTS, 1)
    expected = f"{near[0]}?" if near else f"one of {', '.join(sorted(EVENTS))}"
    raise Wrong(f"there is no event {shown(value)}", expected)


def _target(value: str) -> str:
    """A mail address gets its scheme. A `${..}` belongs behind the host: it must not choose who is asked."""
    if len(value) > _LONGEST or not re.fullmatch("[!-~]+", value):
        problem = f"{shown(value)} is no address"
        raise Wrong(problem, f"{_TARGET}; at most {_LONGEST} characters, other than ASCII's escaped by %")
    if mail := _MAIL.fullmatch(value):
        return f"mailto:{mail[1]}"
    try:
        parts = urlsplit(value)
        there = parts.scheme in ("http", "https") and parts.hostname and "$" not in parts.netloc
        _ = parts.port
    except ValueError:
        there = None
    if not there:
        raise Wrong(f"nothing can be delivered to {shown(value)}", _TARGET)
    return value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


Pause = Annotated[Whole, Field(ge=0, le=_LONGEST_PAUSE)]


class Policy(Model):
    """How delivering is tried again. Times in seconds."""

    retry_strategy: Annotated[
        Literal["NONE", "IMMEDIATE", "DELAYED", "EXPONENTIAL"], BeforeValidator(_upper)
    ] = "IMMEDIATE"
    retry_limit: Annotated[Whole, Field(ge=0, le=_MOST_RETRIES)] = 5
    retry_rate: Pause = 5
    retry_delay: Pause = 0
    save_on_failure: bool = False


class Wish(Model):
    event: Annotated[str, AfterValidator(_event)]
    url: Annotated[str, AfterValidator(_target)] | None = None
    command: Annotated[tuple[Annotated[str, AfterValidator(plain)], ...], Field(min_length=1)] | None = None
    persistent: bool = False
    policy: Policy = Policy()

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Wish:
        if (self.url is None) == (self.command is None):
            problem = "it says both where to and which command" if self.url else "it does not say where to"
            raise Wrong(problem, "either url or command", "url")
        if self.command and not self.command[0]:
            raise Wrong("the program's name is empty", "a program", "command", 0)
        return self

    def as_wanted(self) -> Wanted:
        policy = self.policy.model_dump(by_alias=True)
        return Wanted(self.event, self.url, self.command or (), self.persistent, policy)


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
