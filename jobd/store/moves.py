"""Changes of a job, each with its line of history and with what is to be told of it in the same transaction.

A move is a compare-and-set: it names the status and the attempt that it saw, and happens only if both are
still so. Whoever loses the race reads again and decides anew; nobody overwrites.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from jobd.status import CORRECTIONS, START, TERMINAL, Condition, Status, can_move
from jobd.store import notifications, outbox
from jobd.store.job import Job
from jobd.store.notifications import Wanted
from jobd.store.tables import INSERT, insert_values, to_sql
from jobd.store.writer import Transaction

DAEMON = "jobd"
"""Who made a change that no person asked for."""


def insert(tx: Transaction, job: Job, by: str, description: str, wanted: Iterable[Wanted] = ()) -> int:
    """A new job, at the start of its life: in PENDING, or a step further if it has inputs; its owner wants to
    be told of what happens to it. Returns its place in the order of submission."""
    seq = tx.sql.execute(INSERT, insert_values(job)).lastrowid
    assert seq is not None
    record(tx, seq, START, by, description)
    if notifications.add(tx, seq, job.owner, wanted):
        outbox.fire(tx, seq, [START])
    tx.counts[""] += 1
    tx.changed.append((job.id, job.status))
    tx.to_tell.append((job, {}))
    if job.staging and job.status is START:
        words = "Waits for its turn to get its inputs."
        move(tx, replace(job, seq=seq), Status.STAGING_INPUTS, words, reason=words)
    return seq


def record(tx: Transaction, seq: int, status: str, by: str, description: str) -> None:
    """A line of history."""
    tx.sql.execute(
        "INSERT INTO history (job_seq, status, created, created_by, description) VALUES (?, ?, ?, ?, ?)",
        (seq, status, time.time(), by, description),
    )


def move(tx: Transaction, job: Job, to: Status, description: str, by: str = DAEMON, **columns: Any) -> bool:
    """From the status in which `job` was seen to another. False, and nothing done, if it is no longer so.

    Raises ValueError for a move that is not in the table: a mistake of the program.
    """
    if not can_move(job.status, to):
        raise ValueError(f"no job goes from {job.status} to {to}")
    columns = {"status": to, **columns}
    if to in TERMINAL and job.delete_asked is not None:
        columns["hidden"] = True
    if not _update(tx, job, columns):
        return False
    record(tx, job.seq, to, by, description)
    outbox.fire(tx, job.seq, _words(job, to, columns))
    if to in TERMINAL and job.delete_asked is not None:
        record(
            tx,
            job.seq,
            "DELETED",
            job.delete_asked_by or by,
            "Hidden from listings, as asked when it was still active.",
        )
    return True


def correct(tx: Transaction, job: Job, to: Status, description: str, **columns: Any) -> bool:
    """The one ending that may be put right: a LOST job's, by evidence that came late."""
    if job.condition is not Condition.LOST or to not in CORRECTIONS:
        raise ValueError(f"only a job that was LOST is corrected, not {job.status}/{job.condition}")
    if not _update(tx, job, {"status": to, **columns}):
        return False
    record(tx, job.seq, "CORRECTED", DAEMON, description)
    record(tx, job.seq, to, DAEMON, description)
    outbox.fire(tx, job.seq, _words(job, to, columns))
    return True


def _words(job: Job, to: Status, columns: dict[str, Any]) -> list[str]:
    """By which it can be asked for: the status, and at the end how it ended."""
    condition = columns.get("condition") or job.condition
    return [to, condition] if to in TERMINAL and condition else [to]


def change(tx: Transaction, job: Job, **columns: Any) -> bool:
    """Facts beside the status. False, and nothing done, if the job has moved since it was seen."""
    return _update(tx, job, columns)


def forgotten(tx: Transaction, seqs: Sequence[int]) -> None:
    """Nothing is kept for these outside the store any more. Not a change that anybody lists or watches."""
    tx.sql.executemany("UPDATE job SET kept = 0 WHERE seq = ?", [(seq,) for seq in seqs])


def _update(tx: Transaction, job: Job, columns: dict[str, Any]) -> bool:
    columns = {"updated": time.time(), **columns}
    assignments = ", ".join(f"{name} = ?" for name in columns)
    done = tx.sql.execute(
        f"UPDATE job SET {assignments} WHERE seq = ? AND status = ? AND attempt = ?",
        [*(to_sql(name, value) for name, value in columns.items()), job.seq, job.status, job.attempt],
    )
    if done.rowcount:
        if columns.get("status") in TERMINAL:
            tx.counts[columns.get("condition") or job.condition or Condition.LOST] += 1
        tx.changed.append((job.id, columns.get("status", job.status)))
        tx.to_tell.append((job, columns))
    return bool(done.rowcount)
