"""A backup of the store while the daemon runs, and what has to be thought of when one comes back.

A backup is one SQLite file, consistent as of one moment, and there as a whole or not at all. A restore takes
the daemon's place (the lock of the state directory), refuses what is not a store of jobd's or is newer, and
keeps the store that it replaces beside the new one.

What happened after the backup is not in it. Nothing must run twice for that (T2):

    waiting then         may have run since: held (PAUSED), with the reason, until a person releases it
    handed over then     its tag is looked up, as after any crash, and the job taken over if the system knows
                         it; if not, its record may have been cleared away since: held as well
    queued or running    asked for as ever; of one whose record is gone nobody can say how it ended (LOST)
    submitted since      unknown to the restored store; attempts that left a record on this machine and that
                         it does not know are named
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peewee import DatabaseError

from jobd.errors import Invalid
from jobd.status import WAITING, Status
from jobd.store import moves, queries
from jobd.store.connection import APPLICATION_ID, connection, database
from jobd.store.job import Job
from jobd.store.store import bring_up_to_date
from jobd.store.writer import Transaction

RESTORED = "restored"
"""In a job's details, until a person releases it: it may have run already. If its system, asked for it, does
not know it, it is held and not handed over again."""
_RESTORED_STATUS = "STORE_RESTORED"
"""In a job's history."""


def backup(state_dir: Path, target: Path) -> None:
    """Writes the store to that file, for its owner alone. Raises Invalid, OSError."""
    store = state_dir / "jobd.db"
    if not store.is_file():
        raise Invalid(f"there is no store in {state_dir}")
    with _whole_or_not(target) as unfinished, _opened(store) as ours:
        _copy(ours, unfinished)


@dataclass(frozen=True)
class Restored:
    replaced: Path | None
    """Where the store that was there is now."""
    held: int
    """Jobs that are held, since they may have run after the backup."""
    unknown: tuple[str, ...]
    """Tags of attempts on this machine's record that the restored store does not know."""


def restore(state_dir: Path, source: Path) -> Restored:
    """Puts a backup in the store's place; the caller holds the state directory's lock. Raises Invalid,
    OSError."""
    store = state_dir / "jobd.db"
    with _whole_or_not(store) as unfinished:
        os.chown(unfinished, state_dir.stat().st_uid, state_dir.stat().st_gid)
        _take(source, unfinished)
        held, unknown = _make_safe(unfinished, state_dir / "attempts", source)
        replaced = _put_aside(store) if store.exists() else None
    return Restored(replaced, held, unknown)


@contextmanager
def _whole_or_not(target: Path) -> Iterator[Path]:
    """A new file that gets its name when all is in it and on the disk."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        yield unfinished
        _sync(unfinished)
        os.rename(unfinished, target)
        _sync(target.parent)
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{unfinished}{suffix}").unlink(missing_ok=True)


@contextmanager
def _opened(path: Path, mode: str = "rw") -> Iterator[sqlite3.Connection]:
    """An SQLite file that is there; none is made."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)) as opened:
        yield opened


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(source: sqlite3.Connection, target: Path) -> None:
    """In one step, and so as of one moment; without a write-ahead log, and so in one file."""
    with closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


def _take(source: Path, target: Path) -> None:
    """Raises Invalid for what is not a whole store of jobd's."""
    if not source.is_file():
        raise Invalid(f"there is no file {source}")
    try:
        with _opened(source, "ro") as backup:
            (owner,) = backup.execute("PRAGMA application_id").fetchone()
            if owner != APPLICATION_ID:
                raise Invalid(f"{source} is not a backup of jobd's")
            (found,) = backup.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise Invalid(f"{source} is damaged: {found}")
            _copy(backup, target)
    except sqlite3.DatabaseError as error:
        raise Invalid(f"{source} is not a backup of jobd's: {error}") from error


def _make_safe(store: Path, attempts: Path, source: Path) -> tuple[int, tuple[str, ...]]:
    """Nothing in it starts by itself any more. The number of jobs held, and the attempts that it does not
    know."""
    db = database(store)
    try:
        bring_up_to_date(db, source)
        with db.atomic():
            tx = Transaction(connection(db))
            held = _hold(tx)
            known = {tag for (tag,) in tx.sql.execute("SELECT tag FROM job WHERE tag IS NOT NULL")}
        connection(db).execute("PRAGMA journal_mode = DELETE")
    except DatabaseError as error:
        raise Invalid(f"{source} is not a backup of jobd's: {error}") from error
    finally:
        db.close()
    records = os.listdir(attempts) if attempts.is_dir() else []
    return held, tuple(sorted(tag for tag in records if tag[0] != "." and tag not in known))


def _hold(tx: Transaction) -> int:
    now = time.strftime("%Y-%m-%d %H:%M")
    doubt = f"The store was restored from a backup on {now}, after which it may have run."
    never_placed = (
        "status IN ('PENDING', 'STAGING_INPUTS', 'STAGED') OR (status = 'PAUSED' AND submitted IS NULL)"
    )
    waiting = queries.jobs(tx.sql, never_placed)
    for job in (*waiting, *queries.jobs(tx.sql, "status = 'SUBMITTING'")):
        moves.record(tx, job.seq, _RESTORED_STATUS, moves.DAEMON, doubt)
        _doubt(tx, job, doubt)
    return len(waiting)


def _doubt(tx: Transaction, job: Job, doubt: str) -> None:
    facts: dict[str, Any] = {"reason": doubt, "details": {**job.details, RESTORED: doubt}}
    if job.status in WAITING or job.status is Status.STAGING_INPUTS:
        moves.move(tx, job, Status.PAUSED, doubt, held_from=job.status, not_before=None, **facts)
    else:
        moves.change(tx, job, **facts)


def _put_aside(store: Path) -> Path:
    """Gives the store that is there another name too; its own is about to be the new one's. Its write-ahead
    log would be taken for the new one's, so it goes into the store first, or along with it."""
    aside = store.with_name(f"{store.name}.replaced-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
    try:
        with closing(sqlite3.connect(store)) as ours:
            ours.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.DatabaseError:
        pass  # damaged: perhaps the reason for all this
    os.link(store, aside)
    for log in ("-wal", "-shm"):
        if os.path.exists(f"{store}{log}"):
            os.rename(f"{store}{log}", f"{aside}{log}")
    return aside
