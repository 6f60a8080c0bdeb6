"""One job's guardian, forked from the keeper: claims the attempt, starts the program, waits, ends it, writes
the record.

It needs nobody: the daemon and the keeper may die, be replaced or upgraded. All signals are blocked and taken
one by one with sigtimedwait, so there are no handlers, no races and, while the job runs, no wake-ups (but for
a limit of its logs, see logs.py):

    SIGCHLD   look who has ended
    SIGUSR1   kill: TERM to everything, grace, KILL to everything (the daemon's way to ask)
    SIGUSR2   the same without grace
    SIGTERM   the job is ended as by SIGUSR1, but nobody asked jobd for it: the record has the program's own
              end, and who sent it; from init it means that the machine goes down, and the record says so
    SIGPWR    the machine goes down, or the unit that we are in; whatever the job does of it, it was not over

The life of a job is a line of stages, and the time of the next step is `deadline`:

    starting --exec--> running --first process ended, time limit, kill--> terminating --grace--> killing
    --nothing left--> over

A job is over when the supervisor has no child left and its containment is empty; never earlier, whoever asks.
What cannot be killed (a process in uninterruptible sleep, another user's) keeps a killed job in "killing",
with its survivors in the record; a job that ended by itself is given up on after `PATIENCE`, and its record
names what it left behind.
"""

from __future__ import annotations

import _socket
import marshal
import os
import select
import time

from jobd.keeper import procfs, record
from jobd.keeper.bare import signal, suppress
from jobd.keeper.child import become
from jobd.keeper.containment import Descendants, contain
from jobd.keeper.logs import EVERY, Logs
from jobd.keeper.prctl import become_subreaper

TYPE_CHECKING = False  # as mypy knows it; typing itself would cost every job memory
if TYPE_CHECKING:
    from typing import Any

PATIENCE = 30.0
"""Seconds."""
_NEWS = "../news.sock"
"""Relative, from the attempts' directory: a socket's path may have 107 bytes only."""
BLOCKED = tuple(range(1, signal.SIGSYS + 1))
"""All but the real-time signals, which nobody sends."""
_HEARD = (signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGPWR)


def supervise(tag: str, order_fd: int, reply: int, flight: int, rung: str, base: str, boot_id: str) -> None:
    """The whole life of a supervisor, in a fresh fork with all signals blocked and the attempts' directory as
    its own.

    `reply` is closed when the record is worth a look, or when there will be none (a reason may be written to
    it before); `flight` is the lock that says that an order is still under way.
    """
    procfs.rename_self(procfs.SUPERVISOR)
    order = _read_order(order_fd)
    if time.clock_gettime(time.CLOCK_BOOTTIME) > order["valid_until"]:
        return
    if rung != "group":
        become_subreaper()
    tree = contain(rung, base, tag, order)
    try:
        writer = record.claim(tag, _first_facts(tree, boot_id))
    except OSError as error:
        os.write(reply, f"no record of the job can be made: {error.strerror}".encode())
        tree.remove()
        return
    os.close(flight)
    if writer is None:  # a twin of this order has it (and, if there is one, the control group)
        return
    Supervisor(tag, order, tree, writer, reply).run()


def _read_order(fd: int) -> dict[str, Any]:
    found: dict[str, Any] = marshal.loads(os.read(fd, os.fstat(fd).st_size))
    os.close(fd)
    return found


def _first_facts(tree: Descendants, boot_id: str) -> dict[str, object]:
    pid = os.getpid()
    return {
        "supervisor": pid,
        "supervisor_ticks": procfs.start_ticks(pid),
        "boot_id": boot_id,
        "rung": tree.rung,
        "cgroup": tree.cgroup,
        "notes": list(tree.notes),
        "claimed": time.time(),
    }


class Supervisor:
    """The stages of one job."""

    def __init__(
        self, tag: str, order: dict[str, Any], tree: Descendants, writer: record.Writer, reply: int
    ) -> None:
        self.tag = tag
        self.order = order
        self.tree = tree
        self.record = writer
        self.reply = reply
        self.logs = Logs(order["log_limit"])
        self.stage = "starting"
        self.pid = 0
        self.status: int | None = None
        """The first process's wait status, once it has ended."""
        self.cause: str | None = None
        """Why we ended it: the condition in the record."""
        self.message = ""
        self.deadline: float | None = None
        """Of the stage we are in, on the monotonic clock."""
        self.started = self.started_monotonic = 0.0
        self.killing_since = self.pause = 0.0
        self.left_behind = False

    def run(self) -> None:
        self._fork()
        self._settle_start()
        while not self._is_over():
            self._step(time.monotonic())
            self._take(self._wait())
        self._finish()

    # starting

    def _fork(self) -> None:
        self.failed, failed = os.pipe()
        self.pid = self.tree.fork()
        if self.pid == 0:
            os.close(self.record.fd)  # the lock must not outlive the supervisor
            become(self.order, self.tree, self.logs, failed)
        os.close(failed)
        if self.tree.rung == "group":
            self.tree.leader = self.pid  # type: ignore[attr-defined]

    def _settle_start(self) -> None:
        """Wait until the program runs or could not be started; a kill is heard meanwhile (a dead file server
        can hold us)."""
        poll = select.poll()
        poll.register(self.failed, select.POLLIN | select.POLLHUP)
        while not poll.poll(50):
            self._take(signal.sigtimedwait(_HEARD, 0))
            self._step(time.monotonic())
        said = os.read(self.failed, 4000)
        os.close(self.failed)
        if said:
            self._launch_failed(said.decode("utf-8", "replace"))
        else:
            self._launched()
            os.close(self.reply)
        _let_go_of_streams()

    def _launched(self) -> None:
        self.started, self.started_monotonic = time.time(), time.monotonic()
        ticks = procfs.start_ticks(self.pid)
        self.logs.receive()
        self.record.line({"pid": self.pid, "ticks": ticks, "started": self.started})
        if self.stage == "starting":
            limit = self.order["time_limit"]
            self.stage = "running"
            self.deadline = None if limit is None else self.started_monotonic + limit

    def _launch_failed(self, words: str) -> None:
        if self.cause is None:
            self.cause, self.message = "LAUNCH_FAILED", words

    # running, terminating, killing

    def _is_over(self) -> bool:
        return (not self._has_children() and self.tree.is_empty()) or self._gives_up()

    def _has_children(self) -> bool:
        """Collects whoever has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.pid:
                self.status = status

    def _gives_up(self) -> bool:
        """On what a job that ended by itself has left, and KILL does not end."""
        late = self.stage == "killing" and time.monotonic() > self.killing_since + PATIENCE
        by_itself = self.cause == "LAUNCH_FAILED" or (self.cause is None and self.status is not None)
        self.left_behind = late and by_itself
        return self.left_behind

    def _step(self, now: float) -> None:
        """One turn: do what is due."""
        if self.stage in ("starting", "running") and self.status is not None:
            self._terminate(now)
        elif self.stage == "running" and self.deadline is not None and now >= self.deadline:
            limit = self.order["time_limit"]
            self._terminate(now, "TIME_LIMIT", f"its time limit of {limit:g} s was over")
        elif self.stage == "running" and self.logs.are_too_large():
            self._terminate(now, "LOG_LIMIT", f"its logs were larger than {self.logs.limit} bytes")
        elif self.stage == "terminating" and now >= (self.deadline or 0):
            self._begin_killing(now)
        if self.stage == "killing" and now >= (self.deadline or 0):
            self._kill(now)

    def _terminate(self, now: float, cause: str | None = None, message: str = "") -> None:
        if cause or message:
            self.cause, self.message = cause, message
        self.stage = "terminating"
        self.deadline = now + self.order["kill_grace"]
        self.tree.terminate()

    def _begin_killing(self, now: float) -> None:
        self.stage = "killing"
        self.killing_since = self.deadline = now
        self.pause = 0.0005

    def _kill(self, now: float) -> None:
        """Again and again, since a process that forks as fast as it can is missed once in a while; slower and
        slower, since one that sleeps in the kernel takes its time."""
        self.tree.kill()
        self.pause = min(self.pause * 2, 1.0)
        self.deadline = now + self.pause
        if self.pause >= 0.5:
            self.record.line({"survivors": self.tree.survivors()}, keep=False)

    def _wait(self) -> signal.struct_siginfo | None:
        """For the next signal, or for the deadline."""
        if self.status is not None and not self._has_children():
            return signal.sigtimedwait(_HEARD, 0.005)  # not empty, and nobody will tell us when it is
        left = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
        if self.stage == "running" and self.logs.limit is not None:
            left = EVERY if left is None else min(left, EVERY)
        return signal.sigwaitinfo(_HEARD) if left is None else signal.sigtimedwait(_HEARD, left)

    def _take(self, heard: signal.struct_siginfo | None) -> None:
        """A signal to end the job counts if the first process has not ended before it."""
        if heard is None or heard.si_signo == signal.SIGCHLD:
            return
        self._has_children()
        now = time.monotonic()
        if self.status is None and self.stage in ("starting", "running"):
            self._terminate(now, *_why(heard))
        if heard.si_signo == signal.SIGUSR2 and self.stage != "killing":
            self._begin_killing(now)

    # over

    def _finish(self) -> None:
        facts = self._end()
        self.tree.remove()
        self._write_end(facts)
        if not self.started:
            os.close(self.reply)
        tell({"tag": self.tag, "event": "ended"})
        # Only now: the daemon that hears it has the end in its own store, durably, before anybody is told of
        # it. This is for a daemon that is away.
        self.record.sync()
        os.close(self.record.fd)

    def _end(self) -> dict[str, object]:
        facts: dict[str, object] = {"over": True, "ended": time.time(), "survivors": []}
        if self.started:
            facts |= self._exit_and_usage()
        if self.left_behind:
            facts["survivors"] = self.tree.survivors()
        return facts | {"condition": self.cause, "message": self.message}

    def _exit_and_usage(self) -> dict[str, object]:
        wall = time.monotonic() - self.started_monotonic
        cpu, peak = self.tree.usage()
        code = None if self.status is None else os.waitstatus_to_exitcode(self.status)
        if self.cause is None and code and self.tree.ran_out_of_memory():
            self.cause, self.message = "MEMORY_LIMIT", "it used more memory than its limit"
        return {
            "exit_code": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
            "ended": self.started + wall,  # whatever was done to the clock meanwhile
            "wall": wall,
            "cpu": cpu,
            "peak_memory": peak,
        }

    def _write_end(self, facts: dict[str, object]) -> None:
        """The space is ours, but a file system can still fail (a quota, a copy-on-write one that is full):
        try until it works. Until then the job counts as running, which is better than an ending that nobody
        knows."""
        pause = 0.1
        while True:
            try:
                return self.record.line(facts)
            except OSError:
                time.sleep(pause)
                pause = min(pause * 2, 10.0)


def _why(heard: signal.struct_siginfo) -> tuple[str | None, str]:
    """KILLED is what was asked for through jobd, and only that."""
    if heard.si_signo in (signal.SIGUSR1, signal.SIGUSR2):
        return "KILLED", ""
    if heard.si_signo == signal.SIGPWR or heard.si_pid == 1:
        return "NODE_LOST", "the machine, or jobd-jobs.service, was being stopped"
    return None, f"its supervisor was told to end by pid {heard.si_pid} (uid {heard.si_uid})"


def _let_go_of_streams() -> None:
    """Whoever reads the daemon's output to its end is not to wait for the jobs."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in 0, 1, 2:
        os.dup2(null, number)
    os.close(null)


def tell(news: dict[str, object]) -> None:
    """Tell the daemon, if there is one; it need not hear."""
    with suppress(OSError):
        channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        channel.settimeout(3.0)
        channel.sendto(record.to_json(news).encode("ascii"), _NEWS)
