"""The store as everyone else sees it: opened once, read from a few threads, written by one.

Refuses to open what it must not touch (T10): a store that another daemon holds, that is newer than this
program, that is no store of jobd's, or that lies on a network file system, where SQLite's WAL is unsafe.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sqlite3 import Connection
from typing import TypeVar

from peewee import DatabaseError, SqliteDatabase
from playhouse.migrations import Runner

from jobd.errors import Conflict, Invalid
from jobd.store import queries, upkeep
from jobd.store.changes import Changes
from jobd.store.connection import APPLICATION_ID, connection, database, disk_errors
from jobd.store.filesystem import network_file_system
from jobd.store.job import Event, Job
from jobd.store.writer import Transaction, Work, Writer

T = TypeVar("T")

_MIGRATIONS = Path(__file__).with_name("migrations")
_READERS = 2


class Store:
    """Made in a running event loop, by `open_store`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changes = Changes()
        self.damage = ""
        """What the last look at all of the file found wrong with it."""
        self.checked: float | None = None
        """When that was; None: not since the start."""
        self._db = database(path, read_only=True)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._writer = Writer(database(path), self.changes.publish)
        self._writer.start()

    @property
    def counts(self) -> Mapping[str, int]:
        """Since the start: jobs submitted as "", and ended by their condition."""
        return self._writer.counts

    async def close(self) -> None:
        """Everything handed in before is on disk afterwards."""
        await asyncio.to_thread(self._writer.close)
        self._readers.shutdown()

    @property
    def trouble(self) -> str:
        """Why nothing can be written at present; empty while all is well."""
        return self._writer.trouble

    async def write(self, work: Work[T]) -> T:
        """Runs `work(transaction)` in the writer thread; returns when its commit is on disk. Raises what it
        raises, or Unavailable."""
        return await self._writer.write(work)

    def hand_in(self, work: Work[T]) -> asyncio.Future[T]:
        """The same, to be awaited later: what is written next comes after it, in the same commit if that can
        be."""
        return self._writer.write(work)

    async def upkeep(self) -> None:
        """A look at all of the file (`damage` says what it found), then what makes it small again. Raises
        Unavailable."""
        self.damage = await self.read(upkeep.damage)
        self.checked = time.time()
        if not self.damage:
            await self._writer.write(lambda tx: upkeep.tidy(tx.sql), alone=True)

    async def probe(self) -> None:
        """Writes, to find out whether that works again. Raises Unavailable."""
        await self.write(_probe)

    def free(self) -> int:
        """Bytes that are left for it on its disk."""
        found = os.statvfs(self.path.parent)
        return found.f_bavail * found.f_frsize

    def sizes(self) -> dict[str, int]:
        """Bytes of the store and its write-ahead log."""
        names = {"store": self.path, "log": Path(f"{self.path}-wal")}
        return {name: path.stat().st_size for name, path in names.items() if path.exists()}

    def query(self, ask: Callable[[Connection], T]) -> T:
        """Runs a reading function in the caller's own thread, which is not the event loop's."""
        with disk_errors():
            return ask(connection(self._db))

    async def read(self, ask: Callable[[Connection], T]) -> T:
        """The same from the event loop, in a reader thread."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.query, ask)

    async def job(self, job_id: str) -> Job | None:
        """Read in the event loop itself: a row by its index costs less than the way to another thread."""
        return self.query(lambda sql: queries.job(sql, job_id))

    async def history(
        self, job: Job, limit: int = 100, offset: int = 0, descending: bool = False
    ) -> list[Event]:
        return await self.read(lambda sql: queries.history(sql, job.seq, limit, offset, descending))


def _probe(tx: Transaction) -> None:
    tx.sql.execute("INSERT OR REPLACE INTO environment (digest, body) VALUES ('', '')")
    tx.sql.execute("DELETE FROM environment WHERE digest = ''")


def lock(state_dir: Path, facts: Mapping[str, object]) -> int:
    """Holds the state directory for this process, and leaves word who and where it is. Raises Conflict if
    another daemon has it."""
    descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 4096).decode(errors="replace").strip()
        os.close(descriptor)
        raise Conflict(f"another jobd holds {state_dir}: {holder or 'it has not said who it is'}") from None
    leave_word(descriptor, facts)
    return descriptor


def leave_word(descriptor: int, facts: Mapping[str, object]) -> None:
    """In the lock that we hold, for those who look for us. Whoever reads meanwhile finds the old facts or the
    new ones."""
    data = json.dumps(facts).encode()
    os.pwrite(descriptor, data.ljust(os.fstat(descriptor).st_size), 0)
    os.ftruncate(descriptor, len(data))


def still_held(descriptor: int, state_dir: Path) -> bool:
    """Is what `lock` returned still the lock of that directory? Somebody may have removed or replaced it."""
    try:
        found, ours = os.stat(state_dir / "lock"), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)


def open_store(state_dir: Path) -> Store:
    """The store in that directory, made or brought up to date. Raises Invalid when it must not be touched."""
    kind = network_file_system(state_dir)
    if kind:
        raise Invalid(
            f"{state_dir} is on a network file system ({kind}), where SQLite's write-ahead log is unsafe:"
            " set stateDir (or JOBD_STATE_DIR) to a directory on a local disk"
        )
    path = state_dir / "jobd.db"
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = database(path)
    try:
        with disk_errors():
            bring_up_to_date(db, path)
    except DatabaseError as error:
        raise Invalid(f"{path} is not a store of jobd's: {error}") from error
    finally:
        db.close()
    return Store(path)


def bring_up_to_date(db: SqliteDatabase, path: Path) -> None:
    """Raises Invalid for another program's file (`path`, in words) and for one that is newer than this
    program."""
    _refuse_strangers(db, path)
    runner = Runner(db, str(_MIGRATIONS))
    unknown = [step.name for step in runner.status() if step.path is None]
    if unknown:
        raise Invalid(
            f"{path} is newer than this jobd: it has had {', '.join(unknown)}. Install the newer jobd again"
        )
    runner.up()


def _refuse_strangers(db: SqliteDatabase, path: Path) -> None:
    owner = db.pragma("application_id")
    if owner == APPLICATION_ID:
        return
    if owner or db.get_tables():
        raise Invalid(f"{path} is another program's SQLite file, not a store of jobd's")
    db.pragma("application_id", APPLICATION_ID)
