"""A keeper in a directory of its own, for tests: orders in a line, looking until something is so, leaving
nothing behind."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from jobd.keeper.persons import Look, Order, Persons, Record, own_name

T = TypeVar("T")


class Attempts:
    """Persons over `root`/state, and the attempts made through them."""

    def __init__(self, root: Path, containment: str = "auto", **more: Any) -> None:
        self.root = root
        self.state = root / "state"
        self.containment = containment
        self.more = more
        self.tags: list[str] = []
        self.news: list[str] = []
        self.work = root / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        self.persons = self.open()

    def open(self) -> Persons:
        """A daemon's Persons, started."""
        persons = Persons(self.state, containment=self.containment, on_news=self.news.append, **self.more)
        persons.start()
        return persons

    def reopen(self) -> None:
        self.persons.close()
        self.persons = self.open()

    @property
    def keeper(self) -> int:
        return int(self.persons.doctor()["keeper"])

    def order(self, *argv: str, **more: Any) -> Order:
        tag = f"t{os.urandom(6).hex()}"  # unique on the machine: orphans are found by it
        self.tags.append(tag)
        workspace = self.root / "jobs" / tag
        facts: dict[str, Any] = {
            "tag": tag,
            "job_id": f"{tag}-007",
            "user": own_name(),
            "argv": argv,
            "directory": str(self.work),
            "workspace": str(workspace),
            "stdout": str(workspace / "out"),
            "stderr": str(workspace / "err"),
            "environment": {"PATH": os.environ["PATH"]},
            "kill_grace": 0.2,
        }
        return Order(**(facts | more))

    def shell(self, script: str, **more: Any) -> Order:
        return self.order("/bin/sh", "-c", script, **more)

    def launch(self, script: str, **more: Any) -> Record:
        return self.persons.launch(self.shell(script, **more))

    def run(self, script: str, **more: Any) -> Record:
        """To its end."""
        return self.over(self.launch(script, **more).tag)

    def out(self, tag: str) -> str:
        return (self.root / "jobs" / tag / "out").read_text()

    def look(self, tag: str) -> Look:
        seen = self.persons.look(tag)
        assert seen is not None
        return seen

    def over(self, tag: str) -> Record:
        return until(lambda: self.look(tag).record if self.look(tag).record.over else None, f"{tag} is over")

    def held(self, name: str = "alive") -> bool:
        """Does anybody still have the file open that the whole tree inherited a lock on? Nobody hides from
        that."""
        with open(self.work / name, "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def close(self) -> None:
        """Ends all that was started, and waits until it is gone."""
        for tag in self.tags:
            if (seen := self.persons.look(tag)) and seen.alive:
                self.persons.kill(tag, now=True)
                until(lambda tag=tag: not self.look(tag).alive or None, f"{tag} gone")  # type: ignore[misc]
            self.persons.clear_orphans(tag)
        self.persons.close()


def until(look: Callable[[], T | None], what: str, wait: float = 20.0) -> T:
    deadline = time.monotonic() + wait
    while (found := look()) is None:
        assert time.monotonic() < deadline, f"not within {wait:g} s: {what}"
        time.sleep(0.005)
    return found


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
