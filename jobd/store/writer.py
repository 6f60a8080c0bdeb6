"""The one thread that writes. Callers hand in a piece of work, a function of the transaction; many pieces
share one commit: all that have come in by the time it begins, those too that came while others were done.

Each piece runs under a savepoint of its own, so that one that raises takes only itself back. A caller hears
of success after the commit is on disk (T1), and watchers of jobs hear of the change then too, in one wake-up
of the event loop per commit.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from peewee import SqliteDatabase

from jobd.errors import Unavailable
from jobd.status import Status
from jobd.store import joblog
from jobd.store.connection import connection, disk_errors

T = TypeVar("T")

_MOST_PER_COMMIT = 64


@dataclass
class Transaction:
    """What a piece of work gets: the connection, and a list of the jobs that it changed, for those who watch
    them."""

    sql: sqlite3.Connection
    changed: list[tuple[str, Status]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """New jobs as "", ended ones by their condition."""
    fired: bool = False
    """There is more to be told (outbox.py)."""
    to_tell: list[joblog.Change] = field(default_factory=list)
    """What the log may say of it, once it is on disk."""


Work = Callable[[Transaction], T]


@dataclass
class _Piece(Generic[T]):
    work: Work[T]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[T]
    alone: bool = False
    """Outside any transaction."""
    result: T | None = None
    error: BaseException | None = None

    def deliver(self) -> None:
        if self.future.done():  # its caller has gone; the work stands all the same
            return
        if self.error is None:
            self.future.set_result(self.result)  # type: ignore[arg-type]
        else:
            self.future.set_exception(self.error)


class Writer:
    def __init__(
        self, db: SqliteDatabase, on_change: Callable[[list[tuple[str, Status]], bool], None]
    ) -> None:
        """`on_change` hears of the jobs that changed, and whether there is more to be told."""
        self._db = db
        self._on_change = on_change
        self.trouble = ""
        """Why the last commit failed; empty when it did not."""
        self._queue: queue.SimpleQueue[_Piece[Any] | None] = queue.SimpleQueue()
        self._ahead: list[_Piece[Any] | None] = []
        """Taken from the queue, and its turn is when the present commit is through."""
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self.counts: Counter[str] = Counter()
        """What transactions have counted so far. For the event loop's thread."""

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Returns when all that was handed in before is on disk."""
        self._queue.put(None)
        self._thread.join()

    def write(self, work: Work[T], *, alone: bool = False) -> asyncio.Future[T]:
        """Hands it in, at once and in this order; await its commit. `alone`: outside any transaction, and
        nobody else's work meanwhile."""
        loop = asyncio.get_running_loop()
        piece = _Piece(work, loop, loop.create_future(), alone)
        self._queue.put(piece)
        return piece.future

    def _run(self) -> None:
        while piece := self._ahead.pop() if self._ahead else self._queue.get():
            if piece.alone:
                self._do_alone(piece)
            else:
                self._commit(piece)
        self._db.close()

    def _growing(self, batch: list[_Piece[Any]]) -> Iterator[_Piece[Any]]:
        """Each of them, and what comes in while those before are being done."""
        for piece in batch:  # grows while we go
            yield piece
            if len(batch) < _MOST_PER_COMMIT and not self._ahead and not self._queue.empty():
                more = self._queue.get()
                if more is None or more.alone:
                    self._ahead.append(more)
                else:
                    batch.append(more)

    def _do_alone(self, piece: _Piece[Any]) -> None:
        try:
            with disk_errors():
                piece.result = piece.work(Transaction(connection(self._db)))
        except Exception as error:
            piece.error = error
        if not piece.loop.is_closed():
            piece.loop.call_soon_threadsafe(piece.deliver)

    def _commit(self, first: _Piece[Any]) -> None:
        batch, done = [first], list[Transaction]()
        try:
            with disk_errors():
                sql = connection(self._db)
                before = sql.total_changes
                done = self._transact(sql, batch)
            if sql.total_changes != before:  # what only reads says nothing of the disk
                self.trouble = ""
        except Exception as error:
            self.trouble = str(error)
            for piece in batch:
                piece.error = piece.error or error
        loop = first.loop
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._deliver, batch, done)
        for transaction in done:
            joblog.tell(transaction.to_tell)

    def _transact(self, sql: sqlite3.Connection, batch: list[_Piece[Any]]) -> list[Transaction]:
        sql.execute("BEGIN IMMEDIATE")
        try:
            done = [_attempt(sql, piece) for piece in self._growing(batch)]
            sql.execute("COMMIT")
        except BaseException:
            if sql.in_transaction:
                sql.execute("ROLLBACK")
            raise
        return done

    def _deliver(self, batch: list[_Piece[Any]], done: list[Transaction]) -> None:
        for transaction in done:
            self.counts += transaction.counts
        for piece in batch:
            piece.deliver()
        changed = [change for transaction in done for change in transaction.changed]
        self._on_change(changed, any(transaction.fired for transaction in done))


def _attempt(sql: sqlite3.Connection, piece: _Piece[Any]) -> Transaction:
    """Runs one piece; what it raises is its own caller's, unless the disk failed, which is everybody's."""
    transaction = Transaction(sql)
    sql.execute("SAVEPOINT piece")
    try:
        with disk_errors():
            piece.result = piece.work(transaction)
    except Unavailable:
        raise
    except Exception as error:
        piece.error = error
        sql.execute("ROLLBACK TO piece")
        transaction = Transaction(sql)  # nothing of it happened
    sql.execute("RELEASE piece")
    return transaction
