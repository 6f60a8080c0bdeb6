"""Reading records, in the daemon: what an attempt's file says, and whether its supervisor lives."""

from __future__ import annotations

import fcntl
import json
import os
import re
from dataclasses import dataclass, fields
from typing import Any

from jobd.keeper import record


@dataclass(frozen=True)
class Record:
    """What a supervisor wrote down of an attempt. Times are seconds since the epoch, sizes bytes, durations
    seconds."""

    tag: str
    boot_id: str
    supervisor: int
    """Its pid; an identity only together with `supervisor_ticks` and the boot id."""
    supervisor_ticks: int
    rung: str
    """What contains the job: "cgroup", "subreaper" or "group"."""
    cgroup: str | None = None
    claimed: float = 0.0
    pid: int | None = None
    """Of the first process; None as long as, or if, nothing was launched."""
    ticks: int | None = None
    started: float | None = None
    ended: float | None = None
    """When nothing of it was left."""
    over: bool = False
    """The end is written: nothing will change any more."""
    exit_code: int | None = None
    signal: int | None = None
    condition: str | None = None
    """LAUNCH_FAILED, TIME_LIMIT, MEMORY_LIMIT, KILLED, NODE_LOST; None: judge by exit code and signal."""
    message: str = ""
    survivors: tuple[str, ...] = ()
    """Processes that KILL did not end (yet), in words."""
    notes: tuple[str, ...] = ()
    """What was asked for and could not be had, in words."""
    wall: float | None = None
    cpu: float | None = None
    peak_memory: int | None = None


@dataclass(frozen=True)
class Look:
    """A record, and whether its supervisor lives."""

    record: Record
    alive: bool
    same_boot: bool


_FIELDS = {field.name for field in fields(Record)}
_LISTS = {"survivors", "notes"}
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,100}")


def check_tag(tag: str) -> str:
    """A tag is a file name and nothing else. Raises ValueError."""
    if not _TAG.fullmatch(tag):
        raise ValueError(f"not a tag: {tag!r}")
    return tag


def look(tag: str, attempts: int, boot_id: str) -> Look | None:
    """`attempts` is the directory's descriptor. Raises OSError (other than for a file that is not there)."""
    try:
        fd = os.open(check_tag(tag), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=attempts)
    except FileNotFoundError:
        return None
    try:
        facts = _facts(fd)
        alive = not facts.get("over") and is_locked(fd)
        if not alive:
            facts = _facts(fd)  # the end may have been written just before the lock was let go
    finally:
        os.close(fd)
    return Look(as_record(facts), alive, facts["boot_id"] == boot_id)


def is_locked(fd: int) -> bool:
    """Does somebody else hold the lock? A shared one of ours, for a moment, does not disturb other
    lookers."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _facts(fd: int) -> dict[str, Any]:
    """All complete lines as one; a line counts when its newline is there."""
    facts: dict[str, Any] = {}
    for line in os.pread(fd, record.SIZE, 0).split(b"\n")[:-1]:
        facts |= json.loads(line)
    return facts


def as_record(facts: dict[str, Any]) -> Record:
    """Fields that a later version added are passed over."""
    known: dict[str, Any] = {name: value for name, value in facts.items() if name in _FIELDS}
    for name in _LISTS & known.keys():
        known[name] = tuple(known[name])
    return Record(**known)
