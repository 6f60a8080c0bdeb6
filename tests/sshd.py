"""A real sshd on loopback, with keys, configuration and port of its own in a directory of its own.

It lets in whoever runs the tests, who finds there the `jobctl` that is being tested, with the environment
that a test wants. `ssh` is the machine's own, by way of a script that gives it a configuration and keeps a
list of the times it was called.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.daemon import until

ROOT = Path(__file__).parent.parent
JOBCTL = f'exec {sys.executable} -m jobd.cli "$@"'
SEPARATION = Path("/run/sshd")
"""What an sshd of root wants to have, empty; its package makes it at boot."""


def program() -> str:
    """Skips where there is no sshd."""
    found = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None or shutil.which("ssh") is None:
        pytest.skip("there is no sshd here (openssh-server)")
    return found


class Sshd:
    def __init__(
        self, directory: Path, there: Mapping[str, str], user: str = "", inside: Sequence[str] = ()
    ) -> None:
        """there: variables of whoever logs in. user: somebody else. inside: a command that runs sshd."""
        self.directory = directory
        self.user = user or pwd.getpwuid(os.getuid()).pw_name
        self._inside = inside
        self.port = _free_port()
        self.calls = directory / "calls"
        self.log = directory / "sshd.log"
        self._program = program()
        self._process: subprocess.Popen[bytes] | None = None
        (directory / "bin").mkdir()
        (directory / "there").mkdir()
        self._keys()
        self._write("sshd_config", self._sshd_config({**there, "PATH": f"{directory}/there:/usr/bin:/bin"}))
        self._write("ssh_config", self._ssh_config())
        self.jobctl_there(JOBCTL)
        counting = f'echo "$$ $*" >> {self.calls}\nexec {shutil.which("ssh")} -F {directory}/ssh_config "$@"'
        self._script(directory / "bin/ssh", counting)

    def forwarding(self, here: Path, there: Path) -> subprocess.Popen[bytes]:
        """An ssh that forwards a socket, once it does."""
        command = [self.directory / "bin/ssh", "-nNT", "-p", str(self.port), "-l", self.user]
        command += ["-L", f"{here}:{there}", "127.0.0.1"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        until(here.exists, what="ssh listens")
        return process

    @property
    def url(self) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}"

    @property
    def here(self) -> dict[str, str]:
        """For a jobctl on this side."""
        path = f"{self.directory}/bin:{os.environ['PATH']}"
        home = {"HOME": str(self.directory), "LANG": "C.UTF-8"}
        return {**home, "PATH": path, "PYTHONPATH": str(ROOT), "JOBD_HOST": self.url}

    def called(self) -> list[str]:
        """The calls of ssh so far."""
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def jobctl_there(self, words: str) -> None:
        self._script(self.directory / "there/jobctl", words)

    def __enter__(self) -> Sshd:
        if os.getuid() == 0:
            SEPARATION.mkdir(mode=0o755, exist_ok=True)
        command = [*self._inside, self._program, "-D", "-e", "-f", f"{self.directory}/sshd_config"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._listens, 20, "sshd listens")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    def _listens(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"sshd has ended:\n{self.log.read_text()}")
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def _keys(self) -> None:
        for name in ("host", "mine", "strange"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.directory}/{name}"]
            subprocess.run(command, check=True, timeout=30)
        host = (self.directory / "host.pub").read_text()
        self._write("known_hosts", f"[127.0.0.1]:{self.port} {host}")
        shutil.copy(self.directory / "mine.pub", self.directory / "authorized")

    def _sshd_config(self, there: Mapping[str, str]) -> str:
        variables = " ".join(f'"{name}={value}"' for name, value in there.items())
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.directory}/host",
            f"AuthorizedKeysFile {self.directory}/authorized",
            "PidFile none",
            "UsePAM no",
            "StrictModes no",
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "MaxStartups 100",
            f"SetEnv {variables}",
        ]
        return "\n".join(lines) + "\n"

    def _ssh_config(self) -> str:
        lines = [
            f"IdentityFile {self.directory}/mine",
            "IdentitiesOnly yes",
            f"UserKnownHostsFile {self.directory}/known_hosts",
            "GlobalKnownHostsFile /dev/null",
        ]
        return "\n".join(lines) + "\n"

    def _write(self, name: str, content: str) -> None:
        (self.directory / name).write_text(content)

    def _script(self, path: Path, words: str) -> None:
        path.write_text(f"#!/bin/sh\n{words}\n")
        path.chmod(0o755)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
