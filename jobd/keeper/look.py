"""Reading records, in the daemon: what an attempt's file says, and whether its supervisor lives."""

from __future__ import annotations

import errno
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


class Damaged(ValueError):
    """There is a file, but no record in it; says in one word what it is instead."""


_FIELDS = {field.name for field in fields(Record)}
_FIRST = {"tag", "boot_id", "supervisor", "supervisor_ticks", "rung"}
"""What the first line has, or it is no record."""
_LISTS = {"survivors", "notes"}
_NO_FILE = {errno.ELOOP, errno.EISDIR, errno.ESPIPE, errno.ENXIO}
"""What reading a link, a directory, a FIFO or a socket answers. Anything else may be better next time."""
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,100}")


def check_tag(tag: str) -> str:
    """A tag is a file name and nothing else. Raises ValueError."""
    if not _TAG.fullmatch(tag):
        raise ValueError(f"not a tag: {tag!r}")
    return tag


def look(tag: str, attempts: int, boot_id: str) -> Look | None:
    """`attempts` is the directory's descriptor. Raises Damaged, OSError (other than for a file that is not
    there)."""
    try:
        return _look(check_tag(tag), attempts, boot_id)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _NO_FILE:
            raise Damaged("damaged") from error
        raise


def open_record(tag: str, attempts: int) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(tag, flags, dir_fd=attempts)


def _look(tag: str, attempts: int, boot_id: str) -> Look:
    fd = open_record(tag, attempts)
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
    """All complete lines as one; a line counts when its newline is there. Raises Damaged."""
    page = os.pread(fd, record.SIZE, 0)
    if not page.strip(b"\0\n"):
        raise Damaged("empty")
    facts: dict[str, Any] = {}
    try:
        for line in page.split(b"\n")[:-1]:
            facts |= json.loads(line)
    except (ValueError, TypeError, RecursionError) as error:
        raise Damaged("damaged") from error
    if not (facts.keys() >= _FIRST and isinstance(facts["supervisor"], int)):
        raise Damaged("damaged")
    return facts


def as_record(facts: dict[str, Any]) -> Record:
    """Fields that a later version added are passed over."""
    known: dict[str, Any] = {name: value for name, value in facts.items() if name in _FIELDS}
    for name in _LISTS & known.keys():
        known[name] = tuple(known[name] or ())
    return Record(**known)
