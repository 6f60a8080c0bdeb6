"""What every verb works with: the Desk, the same for all callers, and the Caller, who is asking.

And what the caller may do with a job: everything with their own, and administrators with anybody's; with
others' what was given to them (pems). What they may not even read does not exist for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from jobd.backend import Backend, Finding, Placed
from jobd.config import Settings, System
from jobd.courier.courier import Outcome
from jobd.errors import Forbidden, NotFound
from jobd.figures import Figures
from jobd.keeper.persons import Persons
from jobd.store import pems
from jobd.store.job import Job
from jobd.store.outbox import Due
from jobd.store.pems import Right
from jobd.store.queries import Connection
from jobd.store.store import Store
from jobd.verbs.aside import Aside

T = TypeVar("T")


@dataclass(frozen=True)
class Caller:
    """Who is at the other end of the socket, in the kernel's word."""

    uid: int
    gid: int
    name: str
    admin: bool = False
    """May act for everybody."""
    groups: frozenset[str] = frozenset()
    """Names of those that they are in, in the kernel's word too."""

    @property
    def grantees(self) -> list[str]:
        """What jobs are shared with that are shared with them."""
        return pems.grantees(self.name, self.groups)


class Engine(Protocol):
    """What verbs need of the engine: to tell it what was asked for, and to have a word with a backend."""

    def to_stage(self, system: str) -> None:
        """There may be inputs to bring in."""

    def submitted(self, system: str) -> None:
        """There may be jobs to hand over."""

    def kill_asked(self, job: Job) -> None:
        """Somebody wants an end of this job, which its system has."""

    async def ask(self, job: Job, verb: Callable[[Backend, Placed], T]) -> T:
        """Calls the backend of the job's system, in one of its threads."""

    async def doctor(self, system: System, user: str, home: str) -> Sequence[Finding]:
        """What the system's backend says of it, for that person's jobs."""

    def last_answer(self, system: str) -> float | None:
        """When the system last gave a complete answer."""

    def figures(self, system: str) -> Figures:
        """What was counted there since the start."""

    def waits(self, job: Job) -> str:
        """Why a job that no system has yet was not started at the last turn."""

    def trouble(self, system: str) -> str:
        """Why the system does not answer; empty while it does."""


class Notifier(Protocol):
    """What verbs need of what tells people of their jobs."""

    async def rehearse(self, sample: Due) -> Outcome:
        """Tells it at once, past the outbox. Raises TooMany."""

    def key(self, owner: str) -> bytes:
        """What webhooks for that person are signed with."""

    def mail_trouble(self) -> str:
        """Why no mail can be sent; empty when it can."""


@dataclass
class Desk:
    store: Store
    settings: Settings
    """Replaced as a whole when the configuration is read again."""
    persons: Persons
    engine: Engine
    notifier: Notifier
    aside: Aside = field(default_factory=Aside)


class Owned(Protocol):
    """A job, or what of one its rights depend on."""

    @property
    def seq(self) -> int: ...

    @property
    def owner(self) -> str: ...


async def find(desk: Desk, caller: Caller, job_id: str, *, hidden: bool = False) -> Job:
    """The job of that id, which the caller may read. NotFound hides the existence of others'; a hidden one is
    found only if asked for."""
    job = await desk.store.job(job_id)
    if job is None or (job.hidden and not hidden):
        raise NotFound(f"no job {job_id}")
    check_readable(desk, caller, job)
    return job


async def find_writable(desk: Desk, caller: Caller, job_id: str, *, hidden: bool = False) -> Job:
    """The same, where the caller means to change it. Raises Forbidden where they may only read it."""
    job = await desk.store.job(job_id)
    if job is None or (job.hidden and not hidden):
        raise NotFound(f"no job {job_id}")
    desk.store.query(lambda sql: check_writable(sql, caller, job))
    return job


def may_read(desk: Desk, caller: Caller, job: Owned) -> bool:
    """Asked in the event loop itself, as `Store.job` is."""
    return desk.store.query(lambda sql: right(sql, caller, job)) >= Right.READ


def check_readable(desk: Desk, caller: Caller, job: Job) -> None:
    """For who has had it in hand for a while: the right can be gone. Raises NotFound."""
    if not may_read(desk, caller, job):
        raise NotFound(f"no job {job.id}")


def check_writable(sql: Connection, caller: Caller, job: Job) -> None:
    """Raises NotFound, Forbidden."""
    found = right(sql, caller, job)
    if found is Right.NONE:
        raise NotFound(f"no job {job.id}")
    if found is not Right.WRITE:
        raise Forbidden(f"job {job.id} is {job.owner}'s, not yours to change")


def right(sql: Connection, caller: Caller, job: Owned) -> Right:
    """Nothing is looked up for one's own jobs."""
    if caller.admin or job.owner == caller.name:
        return Right.WRITE
    return pems.right(sql, job.seq, caller.grantees)
