"""A lab server: a machine with systemd, on which jobd is installed as README.md has it, for alice and bob.

/opt/jobd is a virtual environment of a Python that everybody may run; jobd itself is this checkout, and the
libraries are those that the tests run with.
"""

from __future__ import annotations

import codecs
import functools
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobd.client import Client
from tests.daemon import ENDINGS, until
from tests.people import User
from tests.systemd import ROOT, Machine

SOCKET = "/run/jobd/jobd.sock"
PYTHON = "/opt/jobd/bin/python"
_SOURCE, _LIBRARIES = "/srv/jobd", "/srv/libraries"


@functools.cache
def public_python() -> str:
    """A Python of the version that the libraries are for, and that other users can run."""
    script = f"import sys; print(sys.version_info[:2] == {sys.version_info[:2]})"
    for path in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        nobody = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "env",
            path,
            "-I",
            "-c",
            script,
        ]
        if subprocess.run(nobody, capture_output=True, text=True, check=False).stdout == "True\n":
            return path
    return ""


class Lab(Machine):
    def __init__(self, source: Path = ROOT, share: Mapping[Path, str] | None = None, **options: Any) -> None:
        libraries = Path(sysconfig.get_path("purelib"))
        self._run = tempfile.TemporaryDirectory(prefix="jobd-lab-")
        os.chmod(self._run.name, 0o755)
        self.socket = Path(self._run.name, "jobd.sock")
        """The daemon's, as this machine finds it, alice and bob included."""
        ours = {source: _SOURCE, libraries: _LIBRARIES, Path(self._run.name): os.path.dirname(SOCKET)}
        super().__init__({**ours, **(share or {})}, **options)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._run.cleanup()

    def __enter__(self) -> Lab:
        super().__enter__()
        self.alice, self.bob = map(self._add, ("alice", "bob"))
        self.do(public_python(), "-m", "venv", "--without-pip", "/opt/jobd")
        (packages,) = self.path("/opt/jobd/lib").glob("python3*/site-packages")
        (packages / "libraries.pth").write_text(f"{_LIBRARIES}\n")
        return self

    def _add(self, name: str) -> User:
        self.do("useradd", "--create-home", "--shell", "/bin/bash", name)
        return User(name, int(self.do("id", "-u", name)), Path("/home", name))

    def jobd(self, *words: str, source: str = _SOURCE, **options: str) -> str:
        """The program that an admin types; what it says."""
        return self.do(PYTHON, "-P", "-m", "jobd.daemon", *words, PYTHONPATH=source, **options)

    def jobctl(self, *words: str, user: str = "", **options: str) -> subprocess.CompletedProcess[str]:
        return self.run(PYTHON, "-P", "-m", "jobd.cli", *words, user=user, PYTHONPATH=_SOURCE, **options)

    def serve(self, config: str = "") -> None:
        """Installs it and starts it, as the README has it."""
        self.jobd("install")
        if config:
            self.path("/etc/jobd/jobd.yaml").write_text(config)
        self.do("systemctl", "enable", "--now", "jobd")
        codecs.lookup("ascii")  # which Python loads when it is needed: alice may not be able to

    # what is said to the daemon

    def client(self, **options: Any) -> Client:
        """Of whoever calls this: root, who sees everybody's jobs."""
        return Client(f"unix://{self.socket}", **options)

    def submit(self, *command: str, user: User | None = None, **request: Any) -> dict[str, Any]:
        """By alice, unless it is said who."""
        body = {"name": "test", "command": list(command), "directory": "/", **request}
        found: dict[str, Any] = (user or self.alice).call(lambda: self.client().submit(**body))
        return found

    def job(self, job_id: str) -> dict[str, Any]:
        return self.client().show(job_id)

    def in_status(self, job_id: str, *status: str, seconds: float = 30.0) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["status"] in status else None

        return until(look, seconds, f"{job_id} is {status}; the journal:\n{self.log()}")

    def ended(self, job_id: str) -> dict[str, Any]:
        return self.in_status(job_id, *ENDINGS)

    def main_pid(self, unit: str = "jobd.service") -> str:
        """In the machine's own numbers; "0" while it does not run."""
        return self.property(unit, "MainPID")
