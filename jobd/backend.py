"""The contract between jobd and whatever runs its jobs. A backend *reports*; the engine *decides*.

A backend is stateless: all that it must remember about a job is in the `Placed` that it returned, which the
store keeps. Its methods block and are called from worker threads, several at a time (`System.concurrency`).
Times are seconds since the epoch (UTC), durations seconds, sizes bytes. To write one, subclass `Backend`,
name the class by its dotted path in the configuration, and run the contract suite over it (see README,
"Writing a backend").

Silence is not an answer: a poll that fails raises Unavailable, an id that is absent from an answer is
unknown, and neither ends a job. Unknown words of a scheduler are kept as they are and never end a job.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from jobd.errors import Conflict, Invalid
from jobd.status import Condition


class Phase(StrEnum):
    """What an execution system says of a job; jobd's own status is another thing."""

    QUEUED = "QUEUED"
    HELD = "HELD"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    ENDED = "ENDED"


@dataclass(frozen=True)
class Usage:
    """What a job used; None where nobody measured it."""

    wall: float | None = None
    cpu: float | None = None
    peak_memory: int | None = None
    """The largest resident size in bytes: of all processes together in a control group, else of the largest
    one."""


@dataclass(frozen=True)
class Report:
    """What the system says of one job, now."""

    phase: Phase
    evidence: str
    """Which record says so: "supervisor's record", "squeue", "sacct" .."""
    local_id: str | None = None
    """The local id, where it became known or changed after the submission."""
    exit_code: int | None = None
    signal: int | None = None
    condition: Condition | None = None
    """How it ended, where the system says more than a code; None: judge by exit code and signal."""
    reason: str = ""
    """Why it waits or how it ended, in the system's own words."""
    started: float | None = None
    ended: float | None = None
    usage: Usage = Usage()
    details: Mapping[str, Any] = field(default_factory=dict)
    """Anything more worth showing: the rung of containment, nodes. `survivors` of a job that is still RUNNING
    are processes that were killed and are not gone yet."""


@dataclass(frozen=True)
class Ticket:
    """All that a backend needs to run one attempt at a job."""

    tag: str
    """Unique per attempt, fits every system's job name: `j` and 13 of base32."""
    job_id: str
    name: str
    user: str
    """Whom the job runs as."""
    argv: tuple[str, ...]
    directory: str
    """Absolute; entered, as the user, before the program starts."""
    workspace: str
    """Absolute; jobd's own directory for this job, made if absent, as the user; the logs are in it."""
    stdout: str
    stderr: str
    stdin: str | None = None
    """A file, relative to `directory` or absolute; None: the null device."""
    umask: int = 0o022
    environment: Mapping[str, str] = field(default_factory=dict)
    queue: str = ""
    """The queue's name on the system (`mappedName`)."""
    nodes: int = 1
    processors: int = 1
    memory: int | None = None
    """Bytes per node; None: no limit asked for."""
    gpus: tuple[int, ...] = ()
    """The indices handed to this job, on systems whose GPU slots jobd hands out."""
    gpu_count: int = 0
    """How many it needs on each node, for systems that hand them out themselves."""
    time_limit: float | None = None
    kill_grace: float = 10.0
    """Seconds between TERM and KILL."""
    directives: str = ""
    """Lines for the head of a scheduler's script, from the queue's configuration."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """From the queue's configuration, for this backend alone."""


@dataclass(frozen=True)
class Placed:
    """A job that a system has taken. Kept in the store as it is; `handle` is JSON and means something to its
    backend only."""

    local_id: str
    """The system's own; "" as long as it is not known yet (a Report brings it)."""
    tag: str
    owner: str
    submitted: float
    handle: Mapping[str, Any] = field(default_factory=dict)
    workspace: str = field(default="", compare=False)
    """The ticket's."""
    report: Report | None = field(default=None, compare=False)
    """What was known already when it was taken; not kept."""


@dataclass(frozen=True)
class Finding:
    """One thing that `jobctl doctor` says of a system."""

    mark: str
    """"ok"; "-", worth knowing; "!", to be mended."""
    message: str


class Backend(ABC):
    """One execution system.

    Made with the system's own settings (`System.options`, a plain mapping) and `persons`, through which
    everything is done that is done in a person's name or files. Raises Invalid when the settings are wrong.
    """

    looks = 2
    """How many answers of `find` without the job make it certain that it was never taken."""

    def __init__(self, options: Mapping[str, Any], persons: Any) -> None:
        self.options = options
        self.persons = persons

    @abstractmethod
    def submit(self, ticket: Ticket) -> Placed:
        """Hand the job over. Returns at once when the system has it, not when it runs.

        Raises Refused (it never will be taken, in the system's words) or Unavailable (maybe later, maybe
        done: ask `find`).
        """

    @abstractmethod
    def find(self, ticket: Ticket) -> Placed | None:
        """Was this ticket's tag ever taken, running or ended? Raises Unavailable when the system gave no
        complete answer."""

    @abstractmethod
    def poll(self, placed: Collection[Placed]) -> Mapping[str, Report | None]:
        """Reports by tag, in ONE query for everybody's jobs. Absent means unknown, never "ended"; None, that
        somebody who would know of this one cannot be asked now. Raises Unavailable."""

    @abstractmethod
    def kill(self, placed: Placed) -> None:
        """Ask for the end of the job and all its processes: TERM, grace, KILL. Idempotent, does not wait,
        says nothing of success: the next poll does. Raises Unavailable."""

    def check_queue(self, options: Mapping[str, Any]) -> None:  # noqa: B027 - any will do, for some
        """Raises Invalid when the options of a queue (`Ticket.options`) are wrong. Optional."""

    def doctor(self, user: str, directory: str, interval: float) -> Sequence[Finding]:
        """How the system is, and what is worse than it could be, for that person's jobs below that directory;
        `interval` is the most seconds between two polls. Optional."""
        return ()

    def hold(self, placed: Placed) -> None:
        """Keep a queued job from starting. Raises Conflict where the system has no such thing."""
        raise Conflict("this execution system cannot hold a job that it has already taken")

    def release(self, placed: Placed) -> None:
        """The opposite of hold."""
        raise Conflict("this execution system cannot hold or release jobs")

    def forget(self, placed: Collection[Placed]) -> None:  # noqa: B027 - doing nothing is right for many
        """The endings of these jobs are in the store; what was kept for them outside it can go. Optional."""


BUILT_IN = {
    "local": "jobd.backends.local.LocalBackend",
    "slurm": "jobd.backends.slurm.SlurmBackend",
    "pbs": "jobd.backends.pbs.PbsBackend",
}


def load(name: str, options: Mapping[str, Any], persons: Any) -> Backend:
    """The backend of that name, or of that dotted path to a class. Raises Invalid."""
    module, _, attribute = BUILT_IN.get(name, name).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever a third party's module does when it is imported
        known = f"{', '.join(sorted(BUILT_IN))}, or the dotted path of a class"
        raise Invalid(f"no backend {name!r}: {str(error) or repr(error)} (expected {known})") from error
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise Invalid(f"{name!r} is not a subclass of jobd.backend.Backend")
    return found(options, persons)
