"""What it costs to run a job as another user, and in a control group of its own: whole lives of `true`, one
after the other, straight through the keeper, beside `setpriv` doing the bare same. For the benchmark; as root
only."""

from __future__ import annotations

import os
import pwd
import queue
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jobd.errors import Invalid
from jobd.keeper.persons import Persons, own_name
from jobd.people import Served
from tests.attempts import Attempts

OTHER = "daemon"
"""Every system has that user."""


class Lives(Attempts):
    """Each told of its end by its supervisor, as a daemon is."""

    def __init__(self, root: Path, containment: str) -> None:
        self.ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        super().__init__(root, containment, served=Served(also=(own_name(), OTHER)))

    def open(self) -> Persons:
        persons = Persons(self.state, containment=self.containment, on_news=self.ended.put, **self.more)
        persons.start()
        return persons

    def live(self, user: str) -> float:
        """Seconds from the order to the known end."""
        order = self.order("/bin/true", user=user)
        began = time.perf_counter()
        record = self.persons.launch(order)
        while not record.over:
            self.ended.get(timeout=30)
            record = self.look(order.tag).record
        return time.perf_counter() - began


@contextmanager
def opened(root: Path) -> Iterator[dict[str, Callable[[], float]]]:
    """Ways to run `true`, each returning the seconds that it took; the floor is the first one."""
    who = pwd.getpwnam(OTHER)
    bare = [
        "/usr/bin/setpriv",
        f"--reuid={who.pw_uid}",
        f"--regid={who.pw_gid}",
        "--init-groups",
        "/bin/true",
    ]
    ways: dict[str, Callable[[], float]] = {"bare setpriv": lambda: _spawned(bare)}
    with ExitStack() as stack:
        for rung in ("subreaper", "cgroup"):
            try:
                lives = Lives(root / rung, rung)
            except Invalid:
                continue
            stack.callback(lives.close)
            ways[f"{rung}, as root"] = lambda lives=lives: lives.live(own_name())  # type: ignore[misc]
            ways[f"{rung}, as another user"] = lambda lives=lives: lives.live(OTHER)  # type: ignore[misc]
        yield ways


def _spawned(argv: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(argv, check=True)
    return time.perf_counter() - began


def measured(number: int) -> dict[str, list[float]]:
    """The seconds of each way's lives, in turns."""
    with tempfile.TemporaryDirectory(prefix="jobd-launches-") as name:
        os.chmod(name, 0o777)
        with opened(Path(name)) as ways:
            times: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(number):
                for way, live in ways.items():
                    times[way].append(live())
    return times
