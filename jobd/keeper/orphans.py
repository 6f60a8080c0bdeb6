"""Ending what a supervisor that was itself killed has left of its job.

The control group knows everybody. Without one (and when the keeper, to which orphans fall, is gone as well)
they are found by the tag in the environment they were started with, and by descent from those and from the
first process.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from jobd.keeper import containment, procfs
from jobd.keeper.look import Record

_PATIENCE = 2.0
"""Seconds of KILL until we call it a survivor."""


def clear(record: Record) -> tuple[str, ...]:
    """KILL all of it, again until nothing is left. What is still there after a while, in words."""
    deadline = time.monotonic() + _PATIENCE
    while left := find(record):
        if time.monotonic() > deadline:
            return tuple(procfs.words(pid) for pid in left[:8])
        _kill(record, left)
        time.sleep(0.002)
    if record.cgroup:
        containment.remove_tree(record.cgroup)
    return ()


def find(record: Record) -> list[int]:
    """Everybody alive that certainly belongs to that attempt."""
    found = set(containment.tree_pids(record.cgroup)) if record.cgroup else set()
    if not record.cgroup or not found:
        entry = f"JOBD_TAG={record.tag}".encode()
        found |= {pid for pid in procfs.pids() if procfs.environment_has(pid, entry)}
    if record.pid and procfs.start_ticks(record.pid) == record.ticks:
        found.add(record.pid)
    for pid in list(found):
        found.update(procfs.descendants(pid))
    return [pid for pid in found if procfs.is_live(pid)]


def _kill(record: Record, pids: list[int]) -> None:
    if record.cgroup:
        containment.kill_tree(record.cgroup)
    for pid in pids:
        with suppress(OSError):
            _kill_one(record, pid)


def _kill_one(record: Record, pid: int) -> None:
    """By a pidfd that was open before we made sure who it is: a pid may be another's a moment later."""
    pidfd = os.pidfd_open(pid)
    try:
        if pid in find(record):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)
