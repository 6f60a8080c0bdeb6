"""A person who has just come: an empty home, a clean environment, and in the end no daemon of theirs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import processes
from tests.daemon import until

_OF_THE_NETWORK = ("PIP_", "SSL_", "HTTP_", "HTTPS_", "NO_PROXY", "http_", "https_", "no_proxy")
"""What says how an index of packages is reached here."""


class Person:
    """Everything of theirs is below `home`, which has to be a short path: sockets go there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state = home / ".local/state/jobd"
        (home / "run").mkdir(mode=0o700)
        network = {name: value for name, value in os.environ.items() if name.startswith(_OF_THE_NETWORK)}
        self.environment = {
            **network,
            "PATH": path_without_us(),
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "LANG": "C.UTF-8",
        }

    def __enter__(self) -> Person:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends their daemon, if one was started: the one that holds the lock in the state directory."""
        with contextlib.suppress(FileNotFoundError):
            pid = int(json.loads((self.state / "lock").read_text())["pid"])
            if processes.has_in_environment(pid, f"HOME={self.home}"):
                os.kill(pid, signal.SIGTERM)
                until(lambda: processes.gone(pid), what="the daemon ends")

    def run(self, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        words: Sequence[str] = [str(word) for word in command]
        options = {"env": self.environment, "cwd": self.home, "timeout": 300, **options}
        return subprocess.run(words, capture_output=True, text=True, check=False, **options)


def path_without_us() -> str:
    """Where programs are found, without the virtual environment that the tests run in."""
    ours = os.path.join(sys.prefix, "bin")
    others = [place for place in os.environ["PATH"].split(":") if place != ours]
    return ":".join([os.path.join(sys.base_prefix, "bin"), *others])
