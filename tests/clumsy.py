"""An execution system that misbehaves on demand: a third party's backend, named in a configuration by its
dotted path.

Its whole state is a directory, so that a test can look at it and change it from outside, as one can with a
real scheduler:

    jobs/TAG       what the system thinks of a job: a phase, or a phase and an exit code: "RUNNING", "ENDED 3"
    submits/       one file per call of submit that got through, TAG.N: twice the same job would show
    mood           one word per line of what goes wrong now (see `Clumsy`)
    calls          one line per call: its verb
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jobd.backend import Backend, Phase, Placed, Report, Ticket
from jobd.errors import Down, Invalid, Refused, Unavailable
from jobd.status import Condition


class Clumsy(Backend):
    def __init__(self, options: Mapping[str, Any], persons: Any) -> None:
        super().__init__(options, persons)
        if "directory" not in options:
            raise Invalid("options.directory is missing")
        self.directory = Path(options["directory"])
        for name in ("jobs", "submits"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)

    def submit(self, ticket: Ticket) -> Placed:
        self._called("submit")
        if self._mood("refuses"):
            raise Refused("no such partition: moon")
        if self._mood("down"):
            raise Unavailable("cannot reach the controller")
        while self._mood("hangs") or self._mood(f"submit hangs for {ticket.user}"):
            time.sleep(0.05)
        if self._mood("loses"):
            raise Unavailable("no answer")
        placed = self._take(ticket)
        if self._mood("takes and denies"):
            raise Unavailable("timed out; maybe it was taken")
        if self._mood("crashes"):
            raise RuntimeError("a bug in the backend")
        return placed

    def find(self, ticket: Ticket) -> Placed | None:
        self._called("find")
        if self._mood("finds badly"):
            raise TypeError("a bug in the backend")
        while self._mood(f"find hangs for {ticket.user}"):
            time.sleep(0.05)
        if self._mood("down") or self._mood("takes and denies"):
            raise Unavailable("cannot reach the controller")
        return self._placed(ticket.tag, ticket.user) if self._job(ticket.tag).exists() else None

    def poll(self, placed: Collection[Placed]) -> Mapping[str, Report]:
        self._called(f"poll {len(placed)}")
        if self._mood("down"):
            raise Unavailable("cannot reach the controller")
        if self._mood("forgets"):
            return {}
        return {one.tag: self._report(one.tag) for one in placed if self._job(one.tag).exists()}

    def kill(self, placed: Placed) -> None:
        self._called("kill")
        if self._mood("down"):
            raise Unavailable("cannot reach the controller")
        if not self._mood("ignores kills"):
            self._job(placed.tag).write_text("KILLED")

    def hold(self, placed: Placed) -> None:
        self._job(placed.tag).write_text("HELD")

    def release(self, placed: Placed) -> None:
        self._job(placed.tag).write_text("QUEUED")

    # its ways

    def _take(self, ticket: Ticket) -> Placed:
        number = len(list((self.directory / "submits").glob(f"{ticket.tag}.*")))
        (self.directory / "submits" / f"{ticket.tag}.{number}").write_text(ticket.job_id)
        self._job(ticket.tag).write_text("QUEUED")
        return self._placed(ticket.tag, ticket.user)

    def _placed(self, tag: str, user: str) -> Placed:
        return Placed(f"c-{tag[-4:]}", tag, user, time.time(), {"cell": 7})

    def _report(self, tag: str) -> Report:
        word, _, code = self._job(tag).read_text().partition(" ")
        if word == "KILLED":
            return Report(Phase.ENDED, "clumsy", condition=Condition.KILLED)
        return Report(Phase(word), "clumsy", exit_code=int(code) if code else None)

    def _job(self, tag: str) -> Path:
        return self.directory / "jobs" / tag

    def _mood(self, word: str) -> bool:
        mood = self.directory / "mood"
        return mood.exists() and word in mood.read_text().splitlines()

    def _called(self, verb: str) -> None:
        with (self.directory / "calls").open("a") as calls:
            calls.write(f"{verb}\n")
        if self._mood("unreachable"):
            raise Down("nobody answers there")


class System:
    """The test's side of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)

    def configuration(self, **options: object) -> str:
        lines = "".join(f"    {name}: {value}\n" for name, value in options.items())
        return (
            "systems:\n  - id: clumsy\n    backend: tests.clumsy.Clumsy\n    pollInterval: 0.1\n"
            f"    options: {{directory: {self.directory}}}\n{lines}"
        )

    def is_in_mood(self, *words: str) -> None:
        (self.directory / "mood").write_text("\n".join(words))

    def says(self, word: str) -> None:
        """Of all its jobs."""
        for path in (self.directory / "jobs").iterdir():
            path.write_text(word)

    def submitted(self) -> list[str]:
        """Ids of the jobs that it took, one per time."""
        return [path.read_text() for path in (self.directory / "submits").iterdir()]

    def calls(self, verb: str) -> int:
        path = self.directory / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return sum(line.split()[0] == verb for line in lines)
