"""Alice and bob: a machine with two users, as a private mount namespace over this one.

In it /etc/passwd and /etc/group have them, and nothing outside has changed. Their homes are below a directory
that everybody may enter. Needs root and the right to mount.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobd.client import Client
from tests.daemon import RunningDaemon

_FIRST_UID = 100_000 + os.getpid() * 10 % 800_000
"""Others may be running these tests beside us: what is counted by its user is to be ours."""
LAB = 61100
"""A group that both are in."""
ADMINS = 61101
"""A group that nobody is in, unless a test says so."""
_ENTER = """
mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group && shift && exec "$@"
"""


@dataclass(frozen=True)
class User:
    name: str
    uid: int
    home: Path

    @property
    def groups(self) -> tuple[int, ...]:
        return (self.uid, LAB)

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A program of the system, as them (our own Python may be hidden from them)."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.home), "LANG": "C.UTF-8"}
        options = {"env": environment, "cwd": self.home, "timeout": 60, **options}
        return subprocess.run(
            command,
            user=self.uid,
            group=self.uid,
            extra_groups=[LAB],
            capture_output=True,
            text=True,
            check=False,
            **options,
        )

    def call(
        self, function: Callable[[], Any], gid: int | None = None, groups: Sequence[int] = (LAB,)
    ) -> Any:
        """What `function` returns, as JSON has it, in a fork that has become them. Raises AssertionError with
        the words of what it raised. gid, groups: other ones than a login gives."""
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._answer(function, theirs, gid or self.uid, groups)
        os.close(theirs)
        with open(ours, "rb") as file:
            said = file.read()
        os.waitpid(pid, 0)
        answer = json.loads(said)
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["value"]

    def _answer(self, function: Callable[[], Any], to: int, gid: int, groups: Sequence[int]) -> None:
        try:
            os.setgroups(list(groups))
            os.setresgid(gid, gid, gid)
            os.setresuid(self.uid, self.uid, self.uid)
            os.environ["HOME"] = str(self.home)
            said = {"value": function()}
        except BaseException as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        os.write(to, json.dumps(said).encode())
        os._exit(0)


class Machine:
    """With `alice` and `bob`; everything below `root`, whose path is short and open to all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.users = {name: self._make(name, number) for number, name in enumerate(("alice", "bob"))}
        self.alice, self.bob = self.users["alice"], self.users["bob"]
        self._databases()

    def _make(self, name: str, number: int) -> User:
        user = User(name, _FIRST_UID + number, self.root / "home" / name)
        user.home.mkdir(parents=True)
        os.chown(user.home, user.uid, user.uid)
        user.home.chmod(0o700)
        return user

    def _databases(self) -> None:
        """Copies of this machine's, in which nobody else has their names."""
        passwd = [f"{u.name}:x:{u.uid}:{u.uid}::{u.home}:/bin/sh" for u in self.users.values()]
        group = [f"{u.name}:x:{u.uid}:" for u in self.users.values()] + [
            f"lab:x:{LAB}:alice,bob",
            f"admins:x:{ADMINS}:",
        ]
        for name, ours in ("passwd", passwd), ("group", group):
            names = {line.split(":")[0] for line in ours}
            theirs = Path("/etc", name).read_text().splitlines()
            kept = [line for line in theirs if line.split(":")[0] not in names]
            (self.root / name).write_text("\n".join([*kept, *ours]) + "\n")

    def inside(self, *command: str) -> list[str]:
        """The command line that runs that one in the namespace."""
        return [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            _ENTER,
            "sh",
            str(self.root),
            *command,
        ]

    def directory(self, name: str) -> Path:
        """One of root's own, that others may enter but not read."""
        made = self.root / name
        made.mkdir(mode=0o711)
        made.chmod(0o711)
        return made


def can_make() -> bool:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    trial = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "mount",
        "--bind",
        "/etc/passwd",
        "/etc/passwd",
    ]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


needs_people = pytest.mark.skipif(not can_make(), reason="only root can run jobs as other users")


@contextmanager
def machine() -> Iterator[Machine]:
    root = Path(tempfile.mkdtemp(prefix="jobd-people-", dir="/tmp"))
    root.chmod(root.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)
    try:
        yield Machine(root)
    finally:
        shutil.rmtree(root)


class SystemDaemon(RunningDaemon):
    """The system's daemon, as root on that machine: for alice and bob."""

    def __init__(self, machine: Machine, config: str = "", name: str = "daemon", **environment: str) -> None:
        self.machine = machine
        super().__init__(machine.directory(name), config, **environment)

    def command(self) -> list[str]:
        return self.machine.inside(sys.executable, "-m", "jobd.daemon", "--system")

    def as_user(self, user: User, function: Callable[[Client], Any]) -> Any:
        """What `function` returns of a client that is that user's."""
        return user.call(lambda: function(Client(f"unix://{self.socket}", patience=0)))

    def submit_as(self, user: User, *command: str, **request: Any) -> dict[str, Any]:
        """With a clean environment, in the job's own directory."""
        body = {"name": "test", "command": list(command), **request}
        job: dict[str, Any] = self.as_user(user, lambda client: client.submit_many([body])[0])
        return job

    def run_as(self, user: User, *command: str, **request: Any) -> dict[str, Any]:
        return self.ended(self.submit_as(user, *command, **request)["id"])


def daemon_with(config: str) -> Any:
    """The fixture `daemon` of a test file: one for all its tests, on its `lab`."""

    @pytest.fixture(scope="module")
    def daemon(lab: Machine) -> Iterator[SystemDaemon]:
        with SystemDaemon(lab, config) as running:
            yield running

    return daemon
