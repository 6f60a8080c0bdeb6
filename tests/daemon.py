"""A real `jobd` as a real process, in a directory of its own, for tests that need one.

Nothing of the person who runs the tests is used: HOME, the XDG directories and the state are all below one
directory. At the end every job is ended, and then the daemon: processes are found by pid, never by name.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from jobd.client import Client
from jobd.status import ACTIVE

T = TypeVar("T")

ENDINGS = {"FINISHED", "FAILED", "STOPPED"}


def until(ask: Callable[[], T], seconds: float = 20.0, what: str = "") -> T:
    """What `ask` returns, as soon as that is true; asked again and again, for so long at most."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or ask}")
        time.sleep(0.01)


class RunningDaemon:
    def __init__(self, directory: Path, config: str = "", **environment: str) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.socket = directory / "jobd.sock"
        self.config = directory / "jobd.yaml"
        self.config.write_text(config)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(directory / "run"),
            "JOBD_STATE_DIR": str(self.state),
            "JOBD_SOCKET": str(self.socket),
            "JOBD_CONFIG": str(self.config),
            "JOBD_HOST": f"unix://{self.socket}",
            "PYTHONPATH": str(Path(__file__).parent.parent),
            **environment,
        }
        self.log = directory / "jobd.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RunningDaemon:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.process is None or self.process.poll() is not None:
                self.start()
            self.end_all_jobs()
        finally:
            self.stop()

    # the process

    def command(self) -> list[str]:
        return [sys.executable, "-m", "jobd.daemon"]

    def spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command(),
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def start(self) -> None:
        self.process = self.spawn()
        until(self._answers, 20.0, f"the daemon answers; its log:\n{self.logged()}")

    def stop(self) -> int:
        """By SIGTERM; returns its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=20)

    def kill9(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=20)

    def restart(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()
        self.start()

    def hangup(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def logged(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.logged()}")
        with contextlib.suppress(Exception):
            self.client(patience=0).health()
            return True
        return False

    # what is said to it

    def client(self, **options: Any) -> Client:
        return Client(f"unix://{self.socket}", **options)

    def submit(self, *command: str, **request: Any) -> dict[str, Any]:
        """In the daemon's own directory, where what it writes is in nobody's way."""
        body = {"name": "test", "command": list(command), "directory": str(self.directory), **request}
        return self.client().submit(**body)

    def run(self, *command: str, **request: Any) -> dict[str, Any]:
        """The job when it is over."""
        return self.ended(self.submit(*command, **request)["id"])

    def ended(self, job_id: str, seconds: float = 30.0) -> dict[str, Any]:
        return until(lambda: self._if_over(job_id), seconds, f"{job_id} is over")

    def in_status(self, job_id: str, status: str, seconds: float = 20.0) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            job = self.client().show(job_id)
            return job if job["status"] == status else None

        return until(look, seconds, f"{job_id} is {status}")

    def _if_over(self, job_id: str) -> dict[str, Any] | None:
        job = self.client().show(job_id)
        return job if job["status"] in ENDINGS else None

    def end_all_jobs(self) -> None:
        client = self.client()
        for job in list(client.list({"status.in": ",".join(ACTIVE), "owner.like": "*"})):
            client.kill(job["id"])

    def curl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["curl", "-s", "-S", "--max-time", "30", "--unix-socket", str(self.socket), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)

    def jobctl(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jobd.cli", *arguments]
        options = {"env": self.environment, "cwd": self.directory, "timeout": 60, **options}
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def envelope(answer: subprocess.CompletedProcess[str]) -> Any:
    """The result inside a curl answer's envelope."""
    return json.loads(answer.stdout)["result"]
