"""A job, as everyone but the store sees it: a plain value, read at one moment. Times are seconds since the
epoch."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field, fields
from itertools import takewhile
from typing import Any

from jobd.status import PUTTING_AWAY, TERMINAL, Condition, Status


def new_id() -> str:
    """Published clients refuse any id that is not 36 to 40 characters ending in -007."""
    return f"{uuid.uuid4()}-007"


def slug(name: str) -> str:
    """A name as it stands in file names."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "job"


@dataclass(frozen=True)
class Job:
    # what was asked for
    id: str
    name: str
    owner: str
    app_id: str
    system: str
    queue: str
    request: dict[str, Any]
    """The request as it came, without its environment; what a resubmission starts from."""
    command: tuple[str, ...]
    directory: str
    """Where it runs, absolute."""
    workspace: str
    """jobd's own directory for it, with the logs."""
    stdin: str | None = None
    environment: str | None = None
    """Digest of the environment that the client sent; None: a clean one."""
    nodes: int = 1
    processors: int = 1
    memory: int | None = None
    gpus: int = 0
    time_limit: float | None = None
    priority: int = 0
    resubmit_of: str | None = None
    created: float = 0.0
    app_revision: int | None = None
    """None: the built-in app that runs a plain command."""
    inputs: dict[str, list[str]] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    """What it runs with, defaults and hidden ones included."""
    archive: bool = False
    archive_system: str | None = None
    archive_path: str = ""
    """Absolute, on this machine; empty when it is not archived."""
    staging: tuple[dict[str, Any], ...] = ()
    """The plan: for each source {"input", "source" (absolute path or URI), "name" (in the work directory),
    "inPlace"}, and "sha256" where only that content will do."""
    migrated: tuple[dict[str, Any], ...] = ()
    """What a resubmission replaced, dropped or put in, and why."""

    # where it is
    seq: int = 0
    """The order of submission; clocks can be set back."""
    status: Status = Status.PENDING
    reason: str = ""
    """Why it waits, or in what words it ended."""
    hidden: bool = False
    updated: float = 0.0
    attempt: int = 0
    tag: str | None = None
    local_id: str | None = None
    handle: dict[str, Any] = field(default_factory=dict)
    gpu_indices: tuple[int, ...] = ()
    submitted: float | None = None
    """When its system took it."""
    started: float | None = None
    ended: float | None = None
    archived: float | None = None
    """When all its outputs were in the archive."""
    purged: float | None = None
    """When its files were removed."""
    missing_for: float = 0.0
    """Seconds for which complete answers, one after the other, have not named it (T4)."""
    not_before: float | None = None
    """Not handed over again before this time."""
    held_from: Status | None = None
    kept: bool = False
    """Its backend still keeps something for it outside the store (`Backend.forget`)."""

    # what was asked for afterwards
    kill_asked: float | None = None
    kill_asked_by: str | None = None
    delete_asked: float | None = None
    delete_asked_by: str | None = None

    # how it ended
    exit_code: int | None = None
    signal: int | None = None
    condition: Condition | None = None
    evidence: str | None = None
    wall: float | None = None
    cpu: float | None = None
    peak_memory: int | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def as_asked(self) -> Job:
        """What was asked for, without anything that has happened since."""
        return Job(**{name: getattr(self, name) for name in ASKED})

    @property
    def over(self) -> bool:
        return self.status in TERMINAL

    @property
    def done(self) -> bool:
        """Its program is over, or never will run; its outputs may still be on their way."""
        return self.over or self.status in PUTTING_AWAY

    @property
    def outputs(self) -> str:
        """The directory that its outputs are in, logs included."""
        return self.archive_path if self.archived is not None else self.workspace

    @property
    def directories(self) -> tuple[str, ...]:
        """jobd's own among the person's, once it is over. Of one that was archived the work directory is
        gone, unless that could not be removed."""
        if self.archived is None:
            return (self.workspace,)
        return (self.archive_path, *((self.workspace,) if "workDirectory" in self.details else ()))

    @property
    def umask(self) -> int:
        return int(self.request.get("umask") or "022", 8)

    @property
    def stdout(self) -> str:
        return f"{self.workspace}/{slug(self.name)}-{self.id}.out"

    @property
    def stderr(self) -> str:
        return f"{self.workspace}/{slug(self.name)}-{self.id}.err"


ASKED = tuple(takewhile(lambda name: name != "seq", (field.name for field in fields(Job))))
"""The fields that say what was asked for: those before `seq`."""


@dataclass(frozen=True)
class Event:
    """One line of a job's history: a status, or CREATED, DELETED, RESTORED, CORRECTED .. with its story."""

    status: str
    created: float
    created_by: str
    description: str
