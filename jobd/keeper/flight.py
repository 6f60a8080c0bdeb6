"""Orders under way, as far as one daemon can know of another's: what makes "it was never taken" certain after
a crash.

Each daemon makes a file `attempts/.keeper-*`, locks it, and leaves the lock to its keeper, and through it to
each supervisor until that has claimed its attempt. (A lock belongs to the open file, which forks share.) So
while an earlier daemon's order could still become a job, its lock is held; once it is free, the records there
are all that there will be.

A power cut can take a record that was not written through yet. `attempts/.boot` tells that the machine was
started since the last orders; what has no record then may have run, and must not run again.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress

from jobd.keeper import look
from jobd.keeper.look import Look, Record

_PREFIX = ".keeper-"
_SETTLED_AFTER = 60.0
"""Seconds after which the orders of before a reboot have all been asked for."""


class Flights:
    def __init__(self, attempts: int, boot_id: str) -> None:
        self._attempts = attempts
        self._boot_id = boot_id
        self._began = time.monotonic()
        names = os.listdir(attempts)
        self._earlier = [name for name in names if name.startswith(_PREFIX)]
        if not self.earlier():
            self._sweep(names)
        self._own = self._lock()
        self._rebooted = self._read_boot() not in ("", boot_id)
        if not self._rebooted:
            self._write_boot()

    def fileno(self) -> int:
        return self._own

    def close(self) -> None:
        os.close(self._own)

    def _lock(self) -> int:
        name = f"{_PREFIX}{os.getpid()}-{time.clock_gettime_ns(time.CLOCK_BOOTTIME)}"
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._attempts)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd

    def earlier(self) -> bool:
        """Could an order of an earlier daemon still come?"""
        self._earlier = [name for name in self._earlier if self._is_held(name)]
        return bool(self._earlier)

    def _sweep(self, names: list[str]) -> None:
        """Half-made records of supervisors that were killed; called when nobody can be making one."""
        for name in names:
            if name.startswith(".") and name != ".boot" and not name.startswith(_PREFIX):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self._attempts)

    def _is_held(self, name: str) -> bool:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._attempts)
        except FileNotFoundError:
            return False
        try:
            held = look.is_locked(fd)
        finally:
            os.close(fd)
        if not held:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._attempts)
        return held

    def lost(self, tag: str) -> Look | None:
        """What to say of an attempt without a record: None, it never was; or, after a reboot, node lost."""
        if self._rebooted and time.monotonic() - self._began > _SETTLED_AFTER:
            self._rebooted = False
            self._write_boot()
        if not self._rebooted:
            return None
        nobody = Record(tag, boot_id="", supervisor=0, supervisor_ticks=0, rung="")
        return Look(nobody, alive=False, same_boot=False)

    def _read_boot(self) -> str:
        try:
            fd = os.open(".boot", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._attempts)
        except FileNotFoundError:
            return ""
        with open(fd, encoding="ascii") as file:
            return file.read().strip()

    def _write_boot(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with open(os.open(".boot", flags, 0o600, dir_fd=self._attempts), "w", encoding="ascii") as file:
            file.write(self._boot_id)
