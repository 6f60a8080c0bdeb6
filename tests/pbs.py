"""A daemon in front of a PBS, for tests: of the stand-in, or of the real one that these variables tell of.

JOBD_TEST_PBS=1                    on the PBS that answers here
JOBD_TEST_PBS_DIRECTORY=/shared    one that its nodes see; default: the temporary directory
JOBD_TEST_PBS_OPTIONS={"conf": ..} the system's options, as JSON
JOBD_TEST_PBS_QUEUE=work
JOBD_TEST_PBS_USER=alice           whose jobs they are, when root runs this: PBS takes none of root's
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobd.client import Client
from jobd.keeper.persons import own_name
from tests.daemon import RunningDaemon
from tests.people import User

live = pytest.mark.skipif(not os.environ.get("JOBD_TEST_PBS"), reason="JOBD_TEST_PBS names no PBS to test on")


def given(name: str, otherwise: str = "") -> str:
    return os.environ.get(f"JOBD_TEST_PBS_{name}") or otherwise


def options() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(given("OPTIONS", "{}"))
    return found


def user() -> str:
    return given("USER", own_name())


@contextmanager
def shared() -> Iterator[Path]:
    """A directory that the nodes see, in which everybody may write."""
    directory = Path(tempfile.mkdtemp(prefix="jobd-pbs-", dir=given("DIRECTORY") or None))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def configuration(options: Mapping[str, Any], work: Path, queue: str = "") -> str:
    system = {
        "id": "cluster",
        "backend": "pbs",
        "pollInterval": 1,
        "workDir": f"{work}/${{OWNER}}",
        "options": dict(options),
        "queues": [{"name": queue or "workq"}],
    }
    return json.dumps({"killWait": 1, "systems": [system]})


class ForOther(RunningDaemon):
    """Root's, for that user."""

    def __init__(self, directory: Path, config: str, name: str) -> None:
        super().__init__(directory, config)
        directory.chmod(0o711)
        known = pwd.getpwnam(name)
        self.person = User(name, known.pw_uid, Path(known.pw_dir))

    def command(self) -> list[str]:
        return [sys.executable, "-m", "jobd.daemon", "--system"]

    def submit(self, *command: str, key: str | None = None, **request: Any) -> dict[str, Any]:
        """As the other, with a clean environment."""
        body = {"name": "test", "command": list(command), **request}

        def send() -> Any:
            return Client(f"unix://{self.socket}").submit_many([body], key=key)[0]

        job: dict[str, Any] = self.person.call(send)
        return job


def daemon(directory: Path, config: str) -> RunningDaemon:
    return RunningDaemon(directory, config) if user() == own_name() else ForOther(directory, config, user())
