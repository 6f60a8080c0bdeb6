"""What the daemon asks of the keeper: run this, once, as that person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Identity = tuple[int, int, Sequence[int]]
"""Uid, gid, and all groups of whoever is to be become."""


@dataclass(frozen=True)
class Order:
    """All that a supervisor needs. Travels in a memfd: an environment is never on a disk or a command
    line."""

    tag: str
    job_id: str
    user: str
    """Whom it runs as."""
    argv: tuple[str, ...]
    directory: str
    """Absolute; entered as the person."""
    workspace: str
    """Absolute; made with its parents if absent, as the person, 0700; marked with `.jobd`."""
    stdout: str
    stderr: str
    stdin: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    """Complete: the job gets this and JOBD_TAG, nothing of the daemon's."""
    memory: int | None = None
    """Bytes. This limit and the next two are the control group's, where it has the controller."""
    processors: int | None = None
    """CPU seconds that all its processes together get per second."""
    processes: int | None = None
    """Threads count, each as one."""
    log_limit: int | None = None
    """Bytes of both logs together; the supervisor ends the job beyond that."""
    time_limit: float | None = None
    """Seconds."""
    kill_grace: float = 10.0
    """Seconds between TERM and KILL."""
    umask: int = 0o022
    identity: Identity | None = None
    """Of `user`, which `Persons.launch` fills in; None: those of the daemon."""
