"""The stand-in's jobs: real processes, each below a login shell that is told the script's path, in a session
of its own, as a PBS node starts them. Time passes by `tick`."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

KILL_DELAY = 1.0
"""Seconds between TERM and KILL."""


@dataclass
class Job:
    number: int
    name: str
    uid: int
    queue: str
    script: Path
    walltime: float | None = None
    variables: str = ""
    account: str = ""
    asked: list[str] = field(default_factory=list)
    """As after -l."""
    hold: str = "n"
    state: str = "Q"
    substate: int = 10
    status: int | None = None
    comment: str = ""
    runs: int = 0
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    process: subprocess.Popen[bytes] | None = None
    term_at: float | None = None
    deleted_by: str = ""
    out_of_time: bool = False
    exit_until: float | None = None
    """Until when its output is being copied."""

    @property
    def local_id(self) -> str:
        return f"{self.number}.standin"

    @property
    def owner(self) -> str:
        return pwd.getpwuid(self.uid).pw_name

    @property
    def over(self) -> bool:
        return self.state in "FC"

    # what happens to it

    def start(self) -> None:
        self.state, self.substate, self.started, self.status = "R", 42, time.time(), None
        self.runs += 1
        self.comment = "Job run at Mon Nov 23 at 12:42 on (standin:ncpus=1)"
        home = pwd.getpwuid(self.uid).pw_dir
        self.process = subprocess.Popen(
            ["-sh"],
            executable="/bin/sh",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            env={
                "PBS_JOBID": self.local_id,
                "PBS_JOBNAME": self.name,
                "HOME": home,
                "PATH": "/usr/bin:/bin",
                "STANDIN": str(self.script.parents[1]),
            },
        )
        assert self.process.stdin
        self.process.stdin.write(f"{self.script}\n".encode())
        self.process.stdin.close()

    def delete(self, by: str, force: bool = False) -> None:
        if self.state in "RE":
            self.deleted_by = self.deleted_by or by
            self.comment = f"{self.comment.partition(' and ')[0]} and terminated by {by}@standin"
            self._term()
            if force:
                self.signal(signal.SIGKILL)
        else:
            self.state, self.substate, self.ended = "F", 91, time.time()

    def lose_node(self, requeue: bool) -> None:
        """Everything on it is gone, and the server only knows that it does not answer."""
        self.signal(signal.SIGKILL)
        if self.process:
            self.process.wait()
        self.process, self.status = None, -20
        if requeue:
            self.state, self.substate = "Q", 10
            self.comment = "Not Running: Not enough free nodes available"
        else:
            self.state, self.substate, self.ended = "F", 93, time.time()

    def _term(self) -> None:
        self.term_at = self.term_at or time.time()
        self.signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        """To the whole session."""
        for pid in self._session():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _session(self) -> list[int]:
        if self.process is None:
            return []
        found = []
        for name in os.listdir("/proc"):
            with suppress(OSError, ValueError):
                state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
                if state not in "ZX" and os.getsid(int(name)) == self.process.pid:
                    found.append(int(name))
        return found

    def tick(self, copying: float) -> None:
        now = time.time()
        if self.state == "R":
            self._tick_running(now, copying)
        elif self.state == "E" and now >= (self.exit_until or 0):
            self._end()

    def _tick_running(self, now: float, copying: float) -> None:
        if self.walltime and now > (self.started or now) + self.walltime and not self.term_at:
            self.out_of_time = True
            self._term()
        if self.process is None:
            return
        if self.term_at and now > self.term_at + KILL_DELAY:
            self.signal(signal.SIGKILL)
        code = self.process.poll()
        if code is None or (self.term_at and self._session()):
            return
        self.signal(signal.SIGKILL)
        self.status = -29 if self.out_of_time else code if code >= 0 else 256 - code
        self.state, self.substate, self.exit_until = "E", 51, now + copying

    def _end(self) -> None:
        self.state, self.ended = "F", time.time()
        self.substate = 91 if self.deleted_by else 92 if self.status == 0 else 93
        if self.out_of_time:
            self.comment += " and exceeded resource walltime"
        elif not self.deleted_by:
            self.comment += " and finished" if self.status == 0 else " and failed"
