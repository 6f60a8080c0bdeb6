"""What schedulers that are spoken to by commands have in common: their programs, how long one may take, what
its failure means, whose the rows of an answer are, and the records of many jobs read at once.

A command's failure is sorted by what its words say. Words that tell of a connection, of authentication or of
a moment that passes are Down: the system may have done it all the same (T2). All others are the system's own
refusal.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from jobd import units
from jobd.backend import Placed, Ticket
from jobd.backends import jobscript
from jobd.backends.jobscript import Records
from jobd.errors import Down, Fault, Invalid, JobdError, Refused, Unavailable
from jobd.keeper.persons import Finished, Persons, Ran

_PATH = "/usr/local/bin:/usr/bin:/bin:/opt/slurm/bin:/opt/pbs/bin"
_TIMEOUT = 30.0
_MOST_WORDS = 500
_NOT_RUN = (126, 127)
"""A shell's exit codes for a program that is not there."""
_UNREADABLE_FOR = 60.0
"""Seconds for which a person whose files could not be read is left in peace: they hold up all others."""
SKEW = 3600.0
"""Seconds by which the clocks of the cluster and of this machine may differ."""
LOOK_BACK = 30 * 86400.0
"""Seconds for which an earlier submission of the same job is looked for."""
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0
"""Seconds before a second source is asked again about a job of which it knew nothing."""


# ---- options


def check_names(given: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raises Invalid with every name that means nothing."""
    faults = [
        Fault(f"{where}.{name}", "there is no such option", f"one of {', '.join(sorted(known))}")
        for name in given
        if name not in known
    ]
    if faults:
        raise Invalid(*faults)


def text_option(given: Mapping[str, Any], name: str, where: str, pattern: str, expected: str) -> str:
    """Empty where it is not given. Raises Invalid."""
    value = given.get(name, "")
    if value != "" and not (isinstance(value, str) and re.fullmatch(pattern, value)):
        raise Invalid(Fault(f"{where}.{name}", f"{units.shown(value)} will not do", expected))
    return str(value)


@dataclass(frozen=True)
class Programs:
    """Where the scheduler's commands are, and how many seconds each may take."""

    paths: Mapping[str, str]
    timeouts: Mapping[str, float] = field(default_factory=dict)
    otherwise: float = _TIMEOUT
    """The seconds for those that are not in `timeouts`."""

    @classmethod
    def read(cls, options: Mapping[str, Any], names: Sequence[str], otherwise: float = _TIMEOUT) -> Programs:
        """From a system's options: a path by each program's name, and `timeouts`. Raises Invalid."""
        paths = {
            name: text_option(options, name, "options", "/.*", "an absolute path")
            or shutil.which(name, path=_PATH)
            or f"/usr/bin/{name}"
            for name in names
        }
        given = options.get("timeouts") or {}
        if not isinstance(given, Mapping):
            raise Invalid(Fault("options.timeouts", "this is no mapping", "a duration by each program"))
        check_names(given, names, "options.timeouts")
        return cls(paths, {name: _duration(name, value) for name, value in given.items()}, otherwise)

    def timeout(self, name: str) -> float:
        return self.timeouts.get(name, self.otherwise)


def _duration(name: str, value: Any) -> float:
    try:
        seconds = units.parse_duration(value)
    except units.BadUnit as wrong:
        raise Invalid(Fault(f"options.timeouts.{name}", wrong.problem, wrong.expected)) from None
    if seconds <= 0:
        raise Invalid(Fault(f"options.timeouts.{name}", "this is no time at all", "more than 0"))
    return seconds


# ---- commands


@dataclass(frozen=True)
class Scheduler:
    """Its commands, run through `persons`: None as the daemon itself, for queries."""

    persons: Persons
    programs: Programs
    environment: Mapping[str, str]
    transient: re.Pattern[str]
    """Words of failures that say nothing of the request itself."""

    def query(self, name: str, *arguments: str, user: str | None = None) -> Finished:
        """A query, however it went. Raises Down when it could not be asked, Refused for a person who is not
        served."""
        try:
            return self._run(user, name, [self.programs.paths[name], *arguments])
        except Unavailable as trouble:
            raise Down(str(trouble)) from trouble

    def ask(self, name: str, *arguments: str) -> str:
        """The output of a query. Raises Down: an answer that failed is none (T4)."""
        done = self.query(name, *arguments)
        if done.code != 0:
            raise Down(words(name, done))
        return done.out.decode("utf-8", "replace")

    def order(self, user: str, name: str, *arguments: str) -> str:
        """The output of a command given as that person. Raises Refused in the system's words, Unavailable."""
        return self.outcome(name, self._run(user, name, [self.programs.paths[name], *arguments]))

    def submit(self, ticket: Ticket, name: str, arguments: Sequence[str], script: bytes) -> str | Ran:
        """Makes the job's directories and hands the script over, as the person. Raises Refused,
        Unavailable."""
        done = self.persons.submit(
            ticket.user,
            ticket.workspace,
            ticket.job_id,
            ticket.tag,
            [self.programs.paths[name], *arguments],
            environment=self.environment,
            stdin=script,
            timeout=self.programs.timeout(name),
        )
        return done if isinstance(done, Ran) else self.outcome(name, done)

    def outcome(self, name: str, done: Finished) -> str:
        if done.code == 0:
            return done.out.decode("utf-8", "replace")
        what = words(name, done)
        if done.code is None or done.code in _NOT_RUN:  # perhaps only this person's files hang
            raise Unavailable(what)
        if self.transient.search(what):
            raise Down(what)
        raise Refused(what)

    def _run(self, user: str | None, name: str, argv: Sequence[str]) -> Finished:
        """Raises Unavailable, and Refused for a person who is not served."""
        return self.persons.run(user, argv, environment=self.environment, timeout=self.programs.timeout(name))


def words(name: str, done: Finished) -> str:
    """What a failed command said, or how it ended when it said nothing."""
    if done.timed_out:
        return f"{name} did not answer in time"
    if done.code is None:
        return f"{name} was ended by signal {done.signal}"
    return said(done) or f"{name} ended with exit code {done.code} and said nothing"


def said(done: Finished) -> str:
    """Its last words, without the lines that only say who speaks."""
    text = (done.err or done.out).decode("utf-8", "replace")
    lines = [re.sub(r"^\w+: (error|fatal): ", "", line).strip() for line in text.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line))[-_MOST_WORDS:]


# ---- whose the rows of an answer are


def placed(ticket: Ticket, local_id: str, submitted: float, name: str = "") -> Placed:
    """`name`: that of the earlier attempt which it was found to be."""
    handle = {"name": name} if name and name != ticket.tag else {}
    return Placed(local_id, ticket.tag, ticket.user, submitted, handle, workspace=ticket.workspace)


def name_of(placed: Placed) -> str:
    """The name under which the scheduler has it: its tag, or that of an earlier attempt that ran after
    all."""
    return str(placed.handle.get("name", placed.tag))


class Row(Protocol):
    """A job, as a scheduler tells of it."""

    @property
    def name(self) -> str: ...
    @property
    def local_id(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def submitted(self) -> float | None: ...


R = TypeVar("R", bound=Row)


class Answer(Generic[R]):
    """The rows of one, for many jobs to find theirs in."""

    def __init__(self, rows: Iterable[R]) -> None:
        self._by_name: dict[str, list[R]] = {}
        for row in rows:
            self._by_name.setdefault(row.name, []).append(row)

    def of(self, placed: Placed) -> list[R]:
        """Those that are this very job: its name, its owner, not from before it was handed over (T3). More
        than one: it was handed over twice, and the claim says which one runs."""
        return [
            row
            for row in self._by_name.get(name_of(placed), ())
            if row.owner == placed.owner
            and (row.submitted is None or row.submitted >= placed.submitted - SKEW)
        ]


def chosen(
    rows: Sequence[R], placed: Placed, known: Records | None, number: Callable[[str], str] = str
) -> R | None:
    """Of a job's rows that of the submission which has the claim; as long as none has, of the one that we
    know of. `number`: as much of a local id as is the same from every command."""
    claimed = known.local_id if known else None
    wanted = number(claimed or placed.local_id)
    fitting = [row for row in rows if number(row.local_id) == wanted]
    if fitting or claimed:
        return fitting[0] if fitting else None
    return rows[0] if rows else None


# ---- the records of many


class Unheard:
    """Jobs of which a second source knew nothing, and when it is asked about them again: ever more seldom."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: dict[str, tuple[float, float]] = {}
        """By tag: when, and after what pause."""

    def is_due(self, tag: str) -> bool:
        with self._lock:
            return time.monotonic() >= self._next.get(tag, (0.0, 0.0))[0]

    def note(self, tag: str, unheard: bool) -> None:
        with self._lock:
            if unheard:
                pause = min(self._next.get(tag, (0.0, _FIRST_PAUSE / 2))[1] * 2, _LONGEST_PAUSE)
                self._next[tag] = time.monotonic() + pause, pause


class RecordReader:
    """What the scripts have left, of many jobs at once: one call for each person."""

    def __init__(self, persons: Persons) -> None:
        self._persons = persons
        self._unreadable: dict[str, float] = {}
        """Until when, by person."""

    def read(self, placed: Iterable[Placed]) -> dict[str, Records | None]:
        """By tag; None for those whose person's files cannot be read now."""
        by_owner: dict[str, list[Placed]] = {}
        for each in placed:
            by_owner.setdefault(each.owner, []).append(each)
        found: dict[str, Records | None] = {}
        for owner, theirs in by_owner.items():
            found |= self._of(owner, [each for each in theirs if each.workspace])
        return found

    def _of(self, owner: str, placed: Sequence[Placed]) -> dict[str, Records | None]:
        nothing = dict.fromkeys((each.tag for each in placed), None)
        if time.monotonic() < self._unreadable.get(owner, 0.0):
            return nothing
        wanted = [place for each in placed for place in jobscript.places(each.workspace, name_of(each))]
        try:
            contents = self._persons.read(owner, wanted) if wanted else []
        except JobdError:
            self._unreadable[owner] = time.monotonic() + _UNREADABLE_FOR
            return nothing
        step = len(jobscript.FILES)
        return {
            each.tag: jobscript.records(*contents[number * step : (number + 1) * step])
            for number, each in enumerate(placed)
        }
