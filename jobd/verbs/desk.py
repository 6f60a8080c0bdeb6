"""What every verb works with: the Desk, the same for all callers, and the Caller, who is asking."""

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
from jobd.store.job import Job
from jobd.store.outbox import Due
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


async def find(desk: Desk, caller: Caller, job_id: str, *, hidden: bool = False) -> Job:
    """The caller's job of that id. NotFound hides the existence of others' jobs; a hidden one is found only
    if asked for."""
    job = await desk.store.job(job_id)
    if job is None or (job.hidden and not hidden) or not may_read(caller, job):
        raise NotFound(f"no job {job_id}")
    return job


async def find_writable(desk: Desk, caller: Caller, job_id: str, *, hidden: bool = False) -> Job:
    """The same, where the caller means to change it."""
    job = await find(desk, caller, job_id, hidden=hidden)
    if not may_write(caller, job):
        raise Forbidden(f"job {job_id} is {job.owner}'s, not yours to change")
    return job


# The same two things until jobs can be shared.


def may_read(caller: Caller, job: Job) -> bool:
    return caller.admin or job.owner == caller.name


def may_write(caller: Caller, job: Job) -> bool:
    return caller.admin or job.owner == caller.name
