"""The daemon's side of the keeper, and the only part of it that others import. Everything done as a person goes through here.

Works without asyncio; every method may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobd.keeper.order import Order


@dataclass(frozen=True)
class Record:
    """What a supervisor wrote down of an attempt. Times are seconds since the epoch, sizes bytes, durations seconds."""

    tag: str
    boot_id: str
    supervisor: int
    """Its pid; an identity only together with `supervisor_ticks` and the boot id."""
    supervisor_ticks: int
    rung: str
    """What contains the job: "cgroup", "subreaper" or "group"."""
    cgroup: str | None = None
    claimed: float = 0.0
    pid: int | None = None
    """Of the first process; None as long as, or if, nothing was launched."""
    ticks: int | None = None
    started: float | None = None
    ended: float | None = None
    over: bool = False
    """The end is written: nothing will change any more."""
    exit_code: int | None = None
    signal: int | None = None
    condition: str | None = None
    """LAUNCH_FAILED, TIME_LIMIT, MEMORY_LIMIT, KILLED, NODE_LOST; None: judge by exit code and signal."""
    message: str = ""
    survivors: tuple[str, ...] = ()
    """Processes that KILL did not end (yet), in words: pid, user, state."""
    notes: tuple[str, ...] = ()
    """What was asked for and could not be had, in words."""
    wall: float | None = None
    cpu: float | None = None
    peak_memory: int | None = None


@dataclass(frozen=True)
class Look:
    """A record, and whether its supervisor lives."""

    record: Record
    alive: bool
    same_boot: bool


@dataclass(frozen=True)
class Entry:
    """A file in a listing."""

    name: str
    kind: str
    """"file", "dir", "link" or "other" (a FIFO, a device, a socket)."""
    size: int
    modified: float
    mode: int
    """Permission bits."""


class Persons:
    """Starts the keeper and speaks with it, reads the records, opens a person's files.

    `on_news(tag)` is called from a thread of its own whenever there is something new to see of that attempt: then `look`.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        containment: str = "auto",
        cgroup_parent: str | None = None,
        on_news: Callable[[str], None] = lambda tag: None,
    ) -> None:
        self.state_dir = Path(state_dir)
        self.containment = containment
        self.cgroup_parent = cgroup_parent
        self.on_news = on_news

    def start(self) -> None:
        """Start the keeper. Raises Invalid when the containment asked for cannot be had here."""
        raise NotImplementedError

    def close(self) -> None:
        """End the keeper. Jobs run on under their supervisors. Idempotent."""
        raise NotImplementedError

    def may_run_as(self, user: str) -> bool:
        """Can this daemon do things as that person? For now only as its own user."""
        raise NotImplementedError

    def launch(self, order: Order) -> Record:
        """Run it: returns when its first process runs, or has failed to start (`condition` LAUNCH_FAILED), or has ended.

        Raises Refused (never, for this person) or Unavailable (nothing is known: ask `find`). Waits 10 s at most.
        """
        raise NotImplementedError

    def look(self, tag: str) -> Look | None:
        """What is known of that attempt; None: there is no record (which may still come, see `find`)."""
        raise NotImplementedError

    def find(self, tag: str) -> Look | None:
        """Like `look`, but None is certain: no record, and no order under way that could still make one. Raises Unavailable."""
        raise NotImplementedError

    def kill(self, tag: str, now: bool = False) -> None:
        """Ask its supervisor to end the job: TERM, grace, KILL; KILL at once if `now`. Idempotent; does not wait."""
        raise NotImplementedError

    def forget(self, tags: Collection[str]) -> None:
        """Remove the records of these attempts, those that are over."""
        raise NotImplementedError

    def clear_orphans(self, tag: str) -> tuple[str, ...]:
        """KILL what a supervisor that is gone has left. Returns what is still there, in words; () is certain as far as the
        rung goes."""
        raise NotImplementedError

    def open(self, user: str, root: str, path: str) -> int:
        """A file descriptor to read a regular file beneath `root`, opened as the person; the caller closes it.

        No link is followed below root and no FIFO or device is opened. Raises Invalid (the path leads outside), NotFound,
        Forbidden.
        """
        raise NotImplementedError

    def listing(self, user: str, root: str, path: str = "") -> list[Entry]:
        """What is in that directory beneath `root`, by name; of a file, the file itself. Raises as `open` does."""
        raise NotImplementedError

    def doctor(self) -> dict[str, Any]:
        """How jobs are contained here, why so, and what could escape."""
        raise NotImplementedError
