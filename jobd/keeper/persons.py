"""The daemon's side of the keeper, and the only part of it that others import. Everything done as a person
goes through here: jobs by way of the keeper, which this file is about, and all else as deeds.py has it.

Works without asyncio; every method may be called from any thread. One thread of its own listens to the
supervisors' news and to the keeper, and starts the keeper again when it has died.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobd.errors import Forbidden, Invalid, Refused, Unavailable
from jobd.keeper import ladder, look, orphans, procfs
from jobd.keeper.attempt import Ran
from jobd.keeper.commands import Finished
from jobd.keeper.deeds import Deeds, own_name
from jobd.keeper.errands import Leash
from jobd.keeper.files import Entry
from jobd.keeper.flight import Flights
from jobd.keeper.link import Fate, Link
from jobd.keeper.look import Look, Record
from jobd.keeper.order import Order
from jobd.keeper.workspace import is_own
from jobd.people import Served

__all__ = [
    "Damaged",
    "Entry",
    "Finished",
    "Leash",
    "Look",
    "Order",
    "Persons",
    "Ran",
    "Record",
    "is_own",
    "own_name",
]

CONTAINMENTS = ("auto", "cgroup", "subreaper", "group")
LAUNCH_WAIT = 10.0
"""Seconds that `launch` waits for an answer."""
_LAUNCH_TRIES = 3

_log = logging.getLogger(__name__)


class Damaged(Unavailable):
    """A record that is empty or damaged. No later look will read it, so whoever remembers the supervisor goes
    by that."""


class Persons(Deeds):
    """Starts the keeper and speaks with it, and reads the records.

    `served` says for whom a root daemon works; None: a daemon does everything as its own user, for that one.
    `on_news(tag)` is called from a thread of its own whenever there is something new to see of that attempt:
    then `look`.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        served: Served | None = None,
        containment: str = "auto",
        cgroup_parent: str | None = None,
        on_news: Callable[[str], None] = lambda tag: None,
    ) -> None:
        if containment not in CONTAINMENTS:
            raise Invalid(f"no containment {containment!r} (expected {', '.join(CONTAINMENTS)})")
        super().__init__(served)
        self.state_dir = Path(state_dir)
        self.attempts = self.state_dir / "attempts"
        self.containment = containment
        self.cgroup_parent = cgroup_parent
        self.on_news = on_news
        self.boot_id = procfs.boot_id()
        self._link: Link | None = None
        self._linking = threading.Lock()
        self._closed = False
        """No keeper is started any more: its descriptors would be somebody else's by then."""
        self._fates: dict[str, Fate] = {}
        """Of orders that have not been answered in time; "maybe later, maybe done"."""
        self._launching: set[str] = set()
        """Tags that a `launch` is at, from its first line to its last."""
        self._fates_lock = threading.Lock()

    # its own life

    def start(self) -> None:
        """Start the keeper. Raises Invalid when the containment asked for cannot be had here, Unavailable."""
        self.attempts.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = os.open(self.attempts, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._flights = Flights(self._directory, self.boot_id)
        self._news = self._bind_news()
        self._end, self._closing = os.pipe()
        self._place = ladder.place(self.cgroup_parent, self.state_dir)
        try:
            rung = self._keeper().rung
            if self.containment not in ("auto", rung):
                raise Invalid(f"containment {self.containment!r} is not to be had: {self._keeper().why}")
        except BaseException:
            self._release()
            raise
        self._listener = threading.Thread(target=self._listen, name="jobd-news", daemon=True)
        self._listener.start()

    def close(self) -> None:
        """End the keeper. Jobs run on under their supervisors. Idempotent."""
        if not hasattr(self, "_listener") or not self._listener.is_alive():
            return
        os.close(self._closing)
        self._listener.join()
        self._release()

    def _release(self) -> None:
        with self._linking:
            self._closed = True
            if self._link:
                self._link.close()
                self._link = None
        self._errands.close()
        with suppress(OSError):
            os.unlink(self.state_dir / "news.sock")
        with suppress(OSError):  # not empty: jobs run on
            os.rmdir(self._place.base)
        self._news.close()
        self._flights.close()
        for fate in self._fates.values():
            fate.close()
        self._fates.clear()
        os.close(self._end)
        os.close(self._directory)
        self._directory = -1  # a late caller gets EBADF, not somebody's next file

    def _bind_news(self) -> socket.socket:
        """By way of a descriptor: the path of a socket may have 107 bytes, that of a state directory more."""
        news = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        directory = os.open(self.state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(FileNotFoundError):
                os.unlink("news.sock", dir_fd=directory)
            news.bind(f"/proc/self/fd/{directory}/news.sock")
            os.chmod("news.sock", 0o600, dir_fd=directory)
        finally:
            os.close(directory)
        return news

    def _keeper(self, failed: Link | None = None) -> Link:
        """The keeper that runs; a new one where there is none, or where it is the one that failed."""
        with self._linking:
            if self._closed:
                raise Unavailable("the daemon is ending")
            if self._link is failed or self._link is None:
                if self._link:
                    self._link.close()
                self._link = None
                attempts = os.fspath(self.attempts)
                self._link = Link(attempts, self._flights.fileno(), self.containment, self._place)
            return self._link

    # news

    def _listen(self) -> None:
        while True:
            with self._linking:  # or a launch replaces it just now
                link = self._link
                keeper = link.socket.fileno() if link else -1
            poll = select.poll()
            for fd in (self._end, self._news.fileno(), keeper):
                if fd >= 0:
                    poll.register(fd, select.POLLIN)
            ready = [fd for fd, _ in poll.poll(None if link else 1000)]
            if self._end in ready:
                return
            if self._news.fileno() in ready:
                self._hear(self._news.recv(4096))
            if link is None or keeper in ready:
                self._hear_keeper(link)

    def _hear(self, data: bytes) -> None:
        try:
            tag = look.check_tag(json.loads(data)["tag"])
            self.on_news(tag)
        except Exception:  # of whoever wrote to the socket, or of the listener: the next news is to be heard
            _log.exception("news that could not be used: %r", data[:200])

    def _hear_keeper(self, link: Link | None) -> None:
        said = link.receive() if link and link is self._link else None
        if said:
            self._hear(json.dumps(said).encode())
        elif said is None and link is self._link:
            self._replace(link)

    def _replace(self, link: Link | None) -> None:
        """The keeper is dead. One that dies as soon as it is born is not started again at once."""
        _log.warning("the keeper has ended; starting another (running jobs are not concerned)")
        if link and time.monotonic() - link.started < 1.0 and self._ends_within(1.0):
            return
        try:
            self._keeper(failed=link)
        except Unavailable as error:
            _log.error("%s", error)
        self._tell_of_the_deserted()

    def _tell_of_the_deserted(self) -> None:
        """Whatever ended the keeper may have ended supervisors too, which then tell nobody."""
        for tag in self.records():
            try:
                seen = self.look(tag)
            except Unavailable:
                continue  # the next sweep goes by what the store remembers
            if seen and not seen.alive and not seen.record.over:
                self.on_news(tag)

    def records(self) -> list[str]:
        """The tags of all attempts that have a record."""
        return [name for name in os.listdir(self._directory) if not name.startswith(".")]

    def _ends_within(self, wait: float) -> bool:
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        return bool(poll.poll(wait * 1000))

    # jobs

    def launch(self, order: Order) -> Record:
        """Run it: returns when its first process runs, or has failed to start (LAUNCH_FAILED), or has ended.

        Raises Refused (never, for this person) or Unavailable (nothing is known: ask `find`). Waits about 10
        s at most.
        """
        try:
            order = replace(order, identity=self._identity(order.user))
        except Forbidden as error:
            raise Refused(str(error)) from error
        self._take_off(look.check_tag(order.tag))
        try:
            return self._launch(order)
        finally:
            with self._fates_lock:
                self._launching.discard(order.tag)

    def _take_off(self, tag: str) -> None:
        """From here on `find` knows of it. One launch of a tag at a time."""
        with self._fates_lock:
            self._check_landed(tag)
            self._launching.add(tag)

    def _launch(self, order: Order) -> Record:
        words = "the keeper died several times"
        for _ in range(_LAUNCH_TRIES):
            fate = self._send(order)
            record = self._outcome(order.tag, fate)
            if record:
                return record
            if fate.words:
                words = fate.words.decode("utf-8", "replace")
                break
        raise Unavailable(words)

    def _send(self, order: Order) -> Fate:
        """To a keeper that takes it."""
        link = self._keeper()
        for _ in range(_LAUNCH_TRIES):
            try:
                return link.send(order)
            except TimeoutError as error:
                raise Unavailable("the keeper does not take orders") from error
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                    raise Unavailable(f"no order can be made: {error.strerror}") from error
                link = self._keeper(failed=link)
        raise Unavailable("the keeper dies again and again")

    def _outcome(self, tag: str, fate: Fate) -> Record | None:
        """None: it certainly never started."""
        if not fate.is_settled(LAUNCH_WAIT):
            with self._fates_lock:
                self._fates[tag] = fate
            raise Unavailable(f"the job was not started within {LAUNCH_WAIT:g} s; it may still be")
        fate.close()
        seen = self.look(tag)
        if seen and not (seen.record.pid or seen.record.over):
            raise Unavailable("its supervisor was lost while starting it")
        return seen.record if seen else None

    def look(self, tag: str) -> Look | None:
        """What is known of that attempt; None: there is no record (which may still come, see `find`).
        Raises Damaged, Unavailable."""
        try:
            return look.look(tag, self._directory, self.boot_id)
        except look.Damaged as error:
            raise Damaged(f"the record of {tag} is {error}") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"the record of {tag} cannot be read: {error}") from error

    def find(self, tag: str) -> Look | None:
        """Like `look`, but None is certain: no record, and no order under way that could still make one.

        Raises Unavailable as long as one could. What was ordered before a reboot and left no record is node
        lost: whether it ran is not known, and it is not run again.
        """
        seen = self.look(tag)
        if seen:
            return seen
        with self._fates_lock:
            self._check_landed(tag)
        if self._flights.earlier():
            raise Unavailable("an order of the daemon before this one is still under way")
        return self.look(tag) or self._flights.lost(tag)

    def _check_landed(self, tag: str) -> None:
        """Raises Unavailable if an order of ours is still in the air. The lock is held."""
        fate = self._fates.get(tag)
        if tag in self._launching or (fate and not fate.is_settled(0)):
            raise Unavailable("its order is still under way")
        if fate:
            del self._fates[tag]
            fate.close()

    def lives(self, known: Record) -> bool:
        """Does the supervisor that is remembered from a record live? "No" is certain. Raises Unavailable."""
        try:
            return known.boot_id == self.boot_id and not procfs.has_ended(
                known.supervisor, known.supervisor_ticks
            )
        except OSError as error:
            raise Unavailable(f"the supervisor of {known.tag} cannot be looked at: {error}") from error

    def is_held(self, tag: str) -> bool:
        """Does a supervisor hold the lock of that file, whatever is in it? Raises Unavailable."""
        try:
            fd = look.open_record(look.check_tag(tag), self._directory)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                return False
            raise Unavailable(f"the record of {tag} cannot be opened: {error}") from error
        try:
            return look.is_locked(fd)
        finally:
            os.close(fd)

    def kill(self, tag: str, now: bool = False, known: Record | None = None) -> None:
        """Ask its supervisor to end the job: TERM, grace, KILL; KILL at once if `now`. Idempotent; does not
        wait. Where there is no record to read, the supervisor is who `known` says."""
        record = self._guardian(tag, known)
        if record is None:
            return
        try:
            pidfd = os.pidfd_open(record.supervisor)
        except ProcessLookupError:
            return
        try:
            # The pidfd holds whoever it is; the start time says that it is ours.
            if procfs.start_ticks(record.supervisor) == record.supervisor_ticks:
                signal.pidfd_send_signal(pidfd, signal.SIGUSR2 if now else signal.SIGUSR1)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)

    def _guardian(self, tag: str, known: Record | None) -> Record | None:
        """Whose supervisor a kill should reach; None: nobody's."""
        try:
            seen = self.look(tag)
        except Unavailable:
            if known is None:
                raise
            seen = None
        if seen:
            return seen.record if seen.alive and seen.same_boot else None
        return known if known and self.lives(known) else None

    def forget(self, tags: Collection[str]) -> None:
        """Remove the records of these attempts, if no supervisor lives that writes them. One that cannot be
        read or removed is no reason to keep the others."""
        for tag in tags:
            try:
                self._forget(tag)
            except (Unavailable, OSError) as error:
                _log.warning("the record of %s stays: %s", tag, error)

    def _forget(self, tag: str) -> None:
        try:
            seen = self.look(tag)
            over = seen is not None and not seen.alive
        except Damaged as error:
            over = not self.is_held(tag)
            _log.warning("%s%s", error, "; removed" if over else ", but a supervisor has it")
        if over:
            with suppress(FileNotFoundError):
                os.unlink(tag, dir_fd=self._directory)

    def clear_orphans(self, tag: str, known: Record | None = None) -> tuple[str, ...]:
        """KILL what a supervisor that is gone has left. What is still there, in words; () is certain as far
        as the rung goes. Where there is no record to read, the job is the one that `known` says."""
        try:
            seen = self.look(tag)
        except Damaged:
            seen = None
        if seen:
            deserted = not (seen.record.over or seen.alive) and seen.same_boot
            return orphans.clear(seen.record) if deserted else ()
        deserted = known is not None and known.boot_id == self.boot_id and not self.lives(known)
        return orphans.clear(known) if known and deserted else ()

    def doctor(self) -> dict[str, Any]:
        """How jobs are contained here, why so, and what could escape."""
        link = self._keeper()
        found: dict[str, Any] = {
            "rung": link.rung,
            "why": link.why,
            "escapes": ladder.ESCAPES[link.rung],
            "keeper": link.process.pid,
            "endsWith": ladder.ends_with(Path(f"/proc/{link.process.pid}")),
        }
        if link.rung == "cgroup":
            with suppress(OSError):
                found["controllers"] = (
                    procfs.read(f"{self._place.base}/cgroup.subtree_control").decode().split()
                )
            found["cgroup"] = self._place.base
        found["memory_limit"] = "memory" in found.get("controllers", [])
        return found
