"""Holding a job's processes together so that all of them can be ended: three rungs of a ladder.

    cgroup      a control group (v2) of its own; nothing leaves it but by writing into another one's
                cgroup.procs. KILL reaches everybody at once; CPU time and (with controllers) memory are
                counted and limited by the kernel.
    subreaper   orphans fall to the supervisor, whatever they did (setsid, double fork), so KILL goes to all
                descendants again and again until there is no child left. What another service (cron,
                systemd, docker) starts for the job escapes.
    group       the first process's process group: setsid escapes. For systems that have neither of the above.

On every rung but the last the supervisor is a subreaper too: it reaps everybody, so "no child left" is its
proof of the end, and what descendants used is counted. Used in supervisors (and once in the keeper, to see
which rung holds); no imports to speak of.
"""

from __future__ import annotations

import errno
import os
import resource

from jobd.keeper import procfs
from jobd.keeper.bare import signal, suppress
from jobd.keeper.prctl import fork_into
from jobd.keeper.procfs import read, write

TYPE_CHECKING = False  # as mypy knows it; typing itself would cost every job memory
if TYPE_CHECKING:
    from typing import Any


class Descendants:
    """The rung "subreaper"."""

    rung = "subreaper"
    cgroup: str | None = None
    notes: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.supervisor = os.getpid()

    def fork(self) -> int:
        """The child is to `enter`, before anything else."""
        return os.fork()

    def enter(self) -> None:
        """In the child, before anything else."""

    def is_empty(self) -> bool:
        """Called when the supervisor has no child any more: is that all?"""
        return True

    def members(self) -> list[int]:
        return procfs.descendants(self.supervisor)

    def holds(self, pid: int) -> bool:
        """Still one of ours? Asked once a pidfd is open, so a pid that was recycled a moment ago is not taken
        for the old one."""
        above = procfs.parent(pid)
        while above not in (None, 0, 1, self.supervisor):
            above = procfs.parent(above)
        return above == self.supervisor

    def signal(self, number: int) -> None:
        """To every member that can be seen now."""
        for pid in self.members():
            self._signal_one(pid, number)

    def _signal_one(self, pid: int, number: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return
        try:
            if self.holds(pid):
                signal.pidfd_send_signal(pidfd, number)
        except OSError:
            pass  # gone, or another user's (a setuid program): it shows among the survivors
        finally:
            os.close(pidfd)

    def terminate(self) -> None:
        """TERM, and CONT so that a stopped process hears it."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """KILL to everybody that can be seen; to be repeated until nothing is left."""
        self.signal(signal.SIGKILL)

    def survivors(self) -> list[str]:
        return [procfs.words(pid) for pid in self.members() if procfs.is_live(pid)]

    def usage(self) -> tuple[float, int]:
        """CPU seconds of all that were reaped, and the largest one's memory in bytes. Its floor is what the
        supervisor itself had when it forked, since the kernel counts that in."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024

    def ran_out_of_memory(self) -> bool:
        return False

    def remove(self) -> None:
        """Everything is gone; leave no trace."""


class ProcessGroup(Descendants):
    """The rung "group". The first process's pid is its group, since the child calls setsid."""

    rung = "group"
    leader = 0

    def is_empty(self) -> bool:
        return not self.leader or not any(map(procfs.is_live, self.members()))

    def members(self) -> list[int]:
        return [pid for pid in procfs.pids() if self.holds(pid)] if self.leader else []

    def holds(self, pid: int) -> bool:
        try:
            return os.getpgid(pid) == self.leader
        except OSError:
            return False

    def kill(self) -> None:
        if self.leader:
            with suppress(OSError):
                os.killpg(self.leader, signal.SIGKILL)


class ControlGroup(Descendants):
    """The rung "cgroup"."""

    rung = "cgroup"
    inside = False
    """The child was born there."""

    def __init__(self, path: str, order: dict[str, Any] | None = None) -> None:
        """Makes it, with the limits of that order. Raises OSError."""
        super().__init__()
        os.mkdir(path, 0o755)
        self.cgroup = path
        try:
            self._entrance = os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            os.rmdir(path)
            raise
        if order is not None:
            self._limit(order)

    def _limit(self, order: dict[str, Any]) -> None:
        missing = [what for what, file, value in limits(order) if not self._set(file, value)]
        self.notes = unenforced(missing)
        if order["memory"] is not None and not missing:
            self._set("memory.swap.max", b"0")  # where swap is accounted for
            self._set("memory.oom.group", b"1")

    def _set(self, file: str, value: bytes) -> bool:
        """False where there is no such controller, or an older kernel."""
        try:
            write(f"{self.cgroup}/{file}", value)
        except OSError:
            return False
        return True

    def fork(self) -> int:
        group = os.open(self.cgroup or "", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.inside = True
            return fork_into(group)
        except OSError:
            self.inside = False
            return os.fork()
        finally:
            os.close(group)

    def enter(self) -> None:
        if not self.inside:
            os.write(self._entrance, b"0")

    def is_empty(self) -> bool:
        return not is_populated(self.cgroup or "")

    def members(self) -> list[int]:
        """With the descendants: those of a child that is on its way in, and those who left by a daemon's
        favour."""
        return list({*tree_pids(self.cgroup or ""), *super().members()})

    def holds(self, pid: int) -> bool:
        return pid in tree_pids(self.cgroup or "") or super().holds(pid)

    def kill(self) -> None:
        kill_tree(self.cgroup or "")
        super().kill()

    def usage(self) -> tuple[float, int]:
        cpu, peak = super().usage()
        cpu = (key_value(f"{self.cgroup}/cpu.stat", b"usage_usec") or cpu * 1e6) / 1e6
        with suppress(OSError, ValueError):
            peak = int(read(f"{self.cgroup}/memory.peak"))
        return cpu, peak

    def ran_out_of_memory(self) -> bool:
        return bool(key_value(f"{self.cgroup}/memory.events", b"oom_kill"))

    def remove(self) -> None:
        remove_tree(self.cgroup or "")


def contain(rung: str, base: str, tag: str, order: dict[str, Any]) -> Descendants:
    """The containment for one job, on that rung, or on the next lower one that works now."""
    if rung == "cgroup":
        try:
            return ControlGroup(f"{base}/{tag}", order)
        except OSError as error:
            found = Descendants()
            found.notes = (f"no control group: {error.strerror}",)
    else:
        found = ProcessGroup() if rung == "group" else Descendants()
    found.notes += unenforced([what for what, _, _ in limits(order)])
    return found


_PERIOD = 100_000
"""Microseconds over which the processors' time is shared out: the kernel's own choice."""


def limits(order: dict[str, Any]) -> list[tuple[str, str, bytes]]:
    """What is limited, in which file of a control group, and how."""
    found = []
    if order["memory"] is not None:
        found.append(("memory", "memory.max", b"%d" % order["memory"]))
    if order["processors"] is not None:
        found.append(("cpu", "cpu.max", b"%d %d" % (order["processors"] * _PERIOD, _PERIOD)))
    if order["processes"] is not None:
        found.append(("process", "pids.max", b"%d" % order["processes"]))
    return found


def unenforced(missing: list[str]) -> tuple[str, ...]:
    """What the job's record says of limits that cannot be had. Not of the number of processes: no job asks
    for that limit, and the doctor says once what controllers there are."""
    asked = [what for what in missing if what != "process"]
    return tuple(f"{what} limit not enforced: no {what} controller" for what in asked)


def move_to(group: str) -> str:
    """This process goes there, and all that it forks from now on with it. "" or why not."""
    try:
        write(f"{group}/cgroup.procs", b"0")
    except OSError as error:
        return f"{group}: {error.strerror}"
    return ""


def try_cgroup(base: str) -> str:
    """Can jobs be held in control groups below `base`, which is made if absent (but nothing above it)? ""
    or why not. Forks to see."""
    try:
        with suppress(FileExistsError):
            os.mkdir(base, 0o755)
        enable_controllers(base)
        trial = ControlGroup(f"{base}/.trial-{os.getpid()}")
    except OSError as error:
        return f"{base}: {error.strerror}"
    try:
        pid = os.fork()
        if pid == 0:
            _enter_and_exit(trial)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        trial.remove()
    return f"{base}: {os.strerror(code)}" if code else ""


def _enter_and_exit(trial: ControlGroup) -> None:
    code = errno.EPERM
    try:
        trial.enter()
        code = 0
    except OSError as error:
        code = error.errno or code
    finally:
        os._exit(code)


def enable_controllers(base: str) -> None:
    """Those that are there to be had for the jobs' groups; one by one, since one that is refused refuses its
    whole line."""
    try:
        offered = read(f"{base}/cgroup.controllers").split()
    except OSError:
        return
    for controller in {b"memory", b"cpu", b"pids"}.intersection(offered):
        with suppress(OSError):
            write(f"{base}/cgroup.subtree_control", b"+" + controller)


def kill_tree(path: str) -> None:
    """KILL to everybody in that group and below; before Linux 5.14 one by one, the group being frozen
    meanwhile. To be repeated until nobody is left."""
    try:
        return write(f"{path}/cgroup.kill", b"1")
    except OSError:
        pass
    _freeze(path, b"1")  # nobody forks while we go through them
    for pid in tree_pids(path):
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    _freeze(path, b"0")


def _freeze(path: str, value: bytes) -> None:
    with suppress(OSError):
        write(f"{path}/cgroup.freeze", value)


def tree_pids(path: str) -> list[int]:
    """Who is in that group and in groups that the job made below it. 0 is somebody of another pid
    namespace."""
    found: list[int] = []
    for group, _, files in os.walk(path):
        if "cgroup.procs" in files:
            with suppress(OSError):
                found += map(int, read(f"{group}/cgroup.procs").split())
    return found


def is_populated(path: str) -> bool:
    """Is anybody alive in that group or below? (A group that is not there is empty.)"""
    return bool(key_value(f"{path}/cgroup.events", b"populated"))


def remove_tree(path: str) -> None:
    for group, _, _ in os.walk(path, topdown=False):
        with suppress(OSError):
            os.rmdir(group)


def key_value(path: str, key: bytes) -> int | None:
    """A number from a file of "key value" lines."""
    try:
        lines = read(path).splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(key + b" ")), None)
