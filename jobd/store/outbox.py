"""The outbox: what is still to be told, in the same transaction as what it tells of.

A notification *fires* when its event happens to its job; what it then has to tell is a delivery, with the
facts of the job as they were in that moment. Deliveries to one target about one job are a *line*: they go one
after the other, in the order of what happened, and only the first of them is ever due. A notification that
gathers (`digest`) has a line for all jobs of one name, whose deliveries go together.

A delivery is open until it is `DELIVERED` or has `FAILED`; what was under way in a crash is still open after
it, and is sent again with the same id.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from jobd.store.notifications import COLUMNS, Wanted, wanted
from jobd.store.tables import SELECT, dump, to_job
from jobd.store.writer import Transaction

ANY = "*"
DELIVERED, FAILED = "DELIVERED", "FAILED"
FACTS = (
    "id", "name", "owner", "status", "app_id", "system", "queue", "local_id", "condition", "exit_code",
    "signal", "reason", "created", "submitted", "started", "ended", "archive_path", "archive_system",
)  # fmt: skip
"""Of a job, what may be told."""
_COMMAND, _MAIL = "command", "mail"


@dataclass(frozen=True)
class Due:
    """A delivery that is to be tried."""

    seq: int
    id: str
    notification_id: str
    job_seq: int
    owner: str
    event: str
    facts: dict[str, Any]
    receiver: str
    line: str
    created: float
    tries: int
    """So far."""
    counted_from: int
    """Those before somebody had it tried anew."""
    wanted: Wanted


@dataclass(frozen=True)
class Try:
    """What came of trying. Times in seconds since the epoch."""

    began: float
    ended: float
    delivered: bool
    code: int | None
    words: str
    again: float | None
    """When to try again; None: never."""


# ---- what happens to a job


def fire(tx: Transaction, job_seq: int, words: Iterable[str]) -> None:
    """Something has happened to the job, of which these are the words: its new status, how it ended."""
    found = tx.sql.execute(
        f"SELECT seq, owner, {COLUMNS} FROM notification WHERE job_seq = ? AND event IN (?, ?, ?)"
        " AND (persistent OR fired IS NULL) ORDER BY seq",
        (job_seq, *_three(words)),
    ).fetchall()
    if not found:
        return
    now = time.time()
    job = to_job(tx.sql.execute(f"{SELECT} WHERE seq = ?", (job_seq,)).fetchone())
    facts = dump({name: getattr(job, name) for name in FACTS})
    for seq, owner, *columns in found:
        one = wanted(columns)
        event = job.status if one.event == ANY else one.event
        place = (receiver(owner, one), line(job_seq, job.name, owner, one))
        tx.sql.execute(
            "INSERT INTO delivery (id, notification_seq, owner, event, facts, receiver, line, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (str(uuid.uuid4()), seq, owner, event, facts, *place, now),
        )
        tx.sql.execute("UPDATE notification SET fired = ? WHERE seq = ?", (now, seq))
        _advance(tx, place[1], now + (one.digest or 0))
    tx.fired = True


def _three(words: Iterable[str]) -> tuple[str, ...]:
    """Of one statement's length, so that SQLite prepares it once."""
    several = (ANY, *words)
    return (*several, *(ANY,) * (3 - len(several)))


def receiver(owner: str, wanted: Wanted) -> str:
    """Who is asked, and for whom: one that hangs holds up nobody else. Begins with the owner and a space."""
    if wanted.url is None:
        return f"{owner} {_COMMAND}"
    parts = urlsplit(wanted.url)
    return f"{owner} {_MAIL if parts.scheme == 'mailto' else f'{parts.scheme}://{parts.netloc}'}"


def line(job_seq: int, job_name: str, owner: str, wanted: Wanted) -> str:
    target = wanted.url if wanted.url is not None else dump(wanted.command)
    about = f"of {job_name}" if wanted.digest else f"job {job_seq}"
    return hashlib.blake2s(f"{owner}\n{about}\n{target}".encode(), digest_size=16).hexdigest()


def _advance(tx: Transaction, line: str, at: float) -> None:
    """The first that is open in the line is due at that time, unless it has one; nobody else is."""
    row = tx.sql.execute(
        "SELECT min(seq) FROM delivery WHERE line = ? AND outcome IS NULL", (line,)
    ).fetchone()
    tx.sql.execute("UPDATE delivery SET due = ? WHERE seq = ? AND due IS NULL", (at, row[0]))


def _halt(tx: Transaction, line: str) -> None:
    """Nobody in the line is due any more: only its first was."""
    tx.sql.execute(
        "UPDATE delivery SET due = NULL WHERE seq ="
        " (SELECT min(seq) FROM delivery WHERE line = ? AND outcome IS NULL)",
        (line,),
    )


# ---- telling

_DUE = f"""SELECT delivery.seq, delivery.id, notification.id, job_seq, delivery.owner, delivery.event, facts,
    receiver, line, delivery.created, tries, counted_from, {COLUMNS}
    FROM delivery JOIN notification ON notification.seq = notification_seq"""


_RECEIVERS = """WITH RECURSIVE known (name) AS (
        SELECT min(receiver) FROM delivery WHERE due IS NOT NULL
        UNION ALL
        SELECT (SELECT min(receiver) FROM delivery WHERE due IS NOT NULL AND receiver > name)
        FROM known WHERE name IS NOT NULL
    )
    SELECT name FROM known
    WHERE (SELECT min(due) FROM delivery WHERE due IS NOT NULL AND receiver = name) <= ?"""


def receivers(sql: sqlite3.Connection, now: float) -> list[str]:
    """Those for whom something is due: one look at the index for each, however much there is."""
    return [name for (name,) in sql.execute(_RECEIVERS, (now,))]


def due(sql: sqlite3.Connection, receiver: str, now: float, most: int) -> list[Due]:
    """Of that receiver, the longest due first."""
    return _found(sql, "receiver = ? AND due <= ? ORDER BY due LIMIT ?", (receiver, now, most))


def next_due(sql: sqlite3.Connection, after: float) -> float | None:
    """When the next one becomes due after that time."""
    row = sql.execute("SELECT min(due) FROM delivery WHERE due IS NOT NULL AND due > ?", (after,)).fetchone()
    return None if row[0] is None else float(row[0])


def gathered(sql: sqlite3.Connection, line: str, most: int) -> list[Due]:
    """What is open in a line, in order."""
    return _found(sql, "line = ? AND outcome IS NULL ORDER BY delivery.seq LIMIT ?", (line, most))


def _found(sql: sqlite3.Connection, where: str, parameters: tuple[Any, ...]) -> list[Due]:
    return [_due(*row) for row in sql.execute(f"{_DUE} WHERE {where}", parameters)]


def _due(seq: int, own_id: str, notification_id: str, job_seq: int, owner: str, *rest: Any) -> Due:
    event, facts, receiver, line, created, tries, counted_from, *columns = rest
    return Due(
        seq, own_id, notification_id, job_seq, owner, event, json.loads(facts), receiver, line, created,
        tries, counted_from, wanted(columns),
    )  # fmt: skip


def tried(tx: Transaction, together: Sequence[Due], one: Try) -> None:
    """What came of telling these, which are of one line. Those that were taken back meanwhile are not missed;
    what has another target by now is still to be told there, and what somebody has had tried anew is not
    given up for what was begun before."""
    outcome = None if one.again is not None else DELIVERED if one.delivered else FAILED
    for delivery in together:
        if not _remember(tx, delivery, one):
            continue
        tx.sql.execute(
            "UPDATE delivery SET outcome = ?, settled = ?, due = NULL WHERE seq = ? AND line = ?"
            " AND outcome IS NULL AND (? OR counted_from = ?)",
            (
                outcome, one.ended if outcome else None, delivery.seq, delivery.line, one.delivered,
                delivery.counted_from,
            ),
        )  # fmt: skip
    first = together[0]
    _advance(tx, first.line, one.again if one.again is not None else one.ended + (first.wanted.digest or 0))


def _remember(tx: Transaction, delivery: Due, one: Try) -> bool:
    """Returns whether there still is such a delivery."""
    known = tx.sql.execute(
        "UPDATE delivery SET tries = tries + 1, last_try = ?, code = ?, words = ? WHERE seq = ?",
        (one.began, one.code, one.words, delivery.seq),
    )
    tx.sql.execute(
        "INSERT INTO delivery_try SELECT seq, tries, ?, ?, ?, ?, ? FROM delivery WHERE seq = ?",
        (one.began, one.ended, one.delivered, one.code, one.words, delivery.seq),
    )
    return bool(known.rowcount)


# ---- what people do about it


def anew(tx: Transaction, seq: int, to: Wanted) -> None:
    """This delivery is to be tried as if it never had been, and to that target."""
    before, owner, job_seq, job_name = tx.sql.execute(
        "SELECT line, delivery.owner, job_seq, job.name FROM delivery"
        " JOIN notification ON notification.seq = notification_seq JOIN job ON job.seq = job_seq"
        " WHERE delivery.seq = ?",
        (seq,),
    ).fetchone()
    place = (receiver(owner, to), line(job_seq, job_name, owner, to))
    for one in {before, place[1]}:
        _halt(tx, one)  # who was its first may not be so any more
    tx.sql.execute(
        "UPDATE delivery SET outcome = NULL, settled = NULL, due = NULL, counted_from = tries, receiver = ?,"
        " line = ? WHERE seq = ?",
        (*place, seq),
    )
    for one in {before, place[1]}:
        _advance(tx, one, time.time())
    tx.fired = True


def moved(tx: Transaction, notification_seq: int, to: Wanted) -> None:
    """The notification is another one now: what is still open of it goes where that goes."""
    rows = tx.sql.execute(
        "SELECT seq FROM delivery WHERE notification_seq = ? AND outcome IS NULL ORDER BY seq",
        (notification_seq,),
    ).fetchall()
    for (seq,) in rows:
        anew(tx, seq, to)


def removed(tx: Transaction, where: str, parameters: Sequence[Any]) -> int:
    """These deliveries are not to be tried any more, nor remembered. Returns how many."""
    lines = tx.sql.execute(
        f"SELECT DISTINCT line FROM delivery WHERE {where} AND outcome IS NULL", parameters
    ).fetchall()
    done = tx.sql.execute(f"DELETE FROM delivery WHERE {where}", parameters)
    for (one,) in lines:
        _advance(tx, one, time.time())
    tx.fired = bool(lines)
    return done.rowcount


def put_back(tx: Transaction, seconds: float) -> None:
    """The clock was put back by so much, and what was to be tried at some time of before is so sooner."""
    now = time.time()
    tx.sql.execute("UPDATE delivery SET due = max(?, due - ?) WHERE due > ?", (now, seconds, now))
    tx.fired = True


def forget(tx: Transaction, before: float) -> None:
    """What was settled before that time; what failed and was to be saved stays until somebody removes it."""
    tx.sql.execute(
        "DELETE FROM delivery WHERE settled < ? AND NOT (outcome = 'FAILED' AND notification_seq IN"
        " (SELECT seq FROM notification WHERE json_extract(policy, '$.saveOnFailure')))",
        (before,),
    )
