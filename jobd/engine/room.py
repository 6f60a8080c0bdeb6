"""Is there room for what a job will write? A job that starts on a full disk fails for nothing, and the whole
night's queue behind it.

Asked before a turn, of the file system that holds the system's workDir, and only as far as the admin wrote
that: up to a user's home, or the directory named after them. What is below is theirs, and a link in it could
lead root anywhere.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Set

from jobd.config import System
from jobd.people import known
from jobd.units import format_size

_HOLDS = 0.5
"""Seconds."""


class Roomy:
    """Whose disks had room when somebody looked last. That holds for a moment, for those who wait already: a
    look is a call in another thread, and there is a turn at each job's end. That there was too little does
    not hold: it is looked at again."""

    def __init__(self) -> None:
        self._owners: set[str] = set()
        self._until = 0.0

    def note(self, owners: Set[str], short: Mapping[str, str]) -> None:
        self._owners, self._until = owners - short.keys(), time.monotonic() + _HOLDS

    def holds(self, owners: Set[str]) -> bool:
        return time.monotonic() < self._until and owners <= self._owners


def short(system: System, owners: Iterable[str]) -> dict[str, str]:
    """By user, in words, where less than `minFree` is left. Blocks as long as the file systems do."""
    found = {owner: _short(system, owner) for owner in owners}
    return {owner: words for owner, words in found.items() if words}


def _short(system: System, owner: str) -> str:
    root = admins_part(system, owner)
    free = _free(root) if root else None
    if free is None or system.min_free is None or free >= system.min_free:
        return ""
    least = format_size(system.min_free)
    return f"Waits for room: {format_size(free)} free where {root} is, and {least} are to be."


def admins_part(system: System, owner: str) -> str:
    """What of the user's workDir is not their own doing; empty for a user who is not there any more."""
    who = known(owner)
    if who is None:
        return ""
    parts = re.match(r"(.*\$\{(?:OWNER|HOME)\}[^/]*)", system.work_dir)
    written = parts[1] if parts else system.work_dir
    return written.replace("${OWNER}", owner).replace("${HOME}", who.home)


def _free(path: str) -> int | None:
    """Bytes that anybody may use where the path, or the nearest directory above it that is there, is."""
    while True:
        try:
            found = os.statvfs(path)
        except FileNotFoundError:
            if path in ("", "/"):
                return None
            path = os.path.dirname(path)
        except OSError:
            return None  # not to be found out is no reason to wait
        else:
            return found.f_bavail * found.f_frsize
