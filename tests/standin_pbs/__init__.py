"""A PBS that is no cluster: qsub and its kin as programs, a server behind them, real processes as jobs. It
answers in the words of the recordings, and does on demand what goes wrong with real ones (see server.py).

    with StandIn(directory, "openpbs") as pbs:
        backend = PbsBackend(pbs.options, persons)
        pbs.set(history=False)
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests import processes
from tests.daemon import until

PROGRAMS = ("qsub", "qstat", "qdel", "qselect", "qhold", "qrls")


class StandIn:
    def __init__(self, directory: Path, dialect: str = "openpbs", remembers: bool = True) -> None:
        """`remembers`: what is over, unless the settings say otherwise."""
        self.directory = directory
        self.dialect = dialect
        self.remembers = remembers
        self.shared = directory / "shared"
        """Where jobs can have files."""
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Of the system."""
        return {name: str(self.directory / "bin" / name) for name in PROGRAMS}

    def __enter__(self) -> StandIn:
        for name in ("bin", "scripts", "shared"):
            (self.directory / name).mkdir()
        (self.directory / "dialect").write_text(self.dialect)
        self.set()
        source = (Path(__file__).parent / "client.py").read_text()
        for path in map(Path, self.options.values()):
            path.write_text(f"#!{sys.executable} -IS\n{source}")
            path.chmod(0o755)
        command = [sys.executable, "-m", "tests.standin_pbs.server", str(self.directory)]
        environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ["PATH"]}
        self._server = subprocess.Popen(command, env=environment, cwd="/")
        until((self.directory / "socket").exists, what="the stand-in listens")
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the server, and whatever its jobs have left."""
        assert self._server
        self.thaw()
        self._server.kill()
        self._server.wait()
        for pid in self.leftovers():
            processes.kill9(pid)
        shutil.rmtree(self.directory, ignore_errors=True)

    def leftovers(self) -> list[int]:
        mark = f"STANDIN={self.directory}"
        return [pid for pid in processes.pids() if processes.has_in_environment(pid, mark)]

    def asked(self, program: str = "") -> list[list[str]]:
        """The command lines that came, of that program; before each, how many were under way."""
        log = self.directory / "log"
        lines = map(json.loads, log.read_text().splitlines()) if log.exists() else []
        return [line for line in lines if program in ("", line[1])]

    # what goes wrong

    def set(self, **settings: Any) -> None:
        """All that are not named are as usual again."""
        new = self.directory / "settings.new"
        new.write_text(json.dumps({"history": self.remembers, **settings}))
        new.rename(self.directory / "settings")

    def freeze(self) -> None:
        assert self._server
        self._server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._server
        self._server.send_signal(signal.SIGCONT)

    def go_down(self) -> None:
        """Nobody listens; jobs run on."""
        (self.directory / "socket").rename(self.directory / "socket.down")

    def come_up(self) -> None:
        (self.directory / "socket.down").rename(self.directory / "socket")

    def control(self, *words: str) -> None:
        """lose-node NUMBER requeue|end; suspend NUMBER; purge."""
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self.directory / "socket"))
            server.sendall(json.dumps({"name": "control", "argv": words}).encode() + b"\n")
            server.makefile("rb").readline()
