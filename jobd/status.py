"""The life of a job. Everything about statuses and the moves between them is in this file and derives from
MOVES.

The words are those of the Agave Jobs service. A status says where a job is; *how* it ended is data beside it:
exit code, signal, `Condition`, and evidence. A word that nobody can enter yet is not in the table, but a
search may still name it (`KNOWN_WORDS`).

    PENDING     acknowledged and on disk; waits here for a quota
    STAGING_INPUTS  its inputs are being brought into its work directory, or wait for their turn; a job that
                has none is never here, and one that has some is never in PENDING for longer than a moment
    STAGED      ready; waits here for a free slot
    SUBMITTING  being handed to the backend; the intent and its tag are on disk, so that after a crash it is
                looked up, not repeated
    QUEUED      the system has it and has not started it
    RUNNING     its first process runs; falls back to QUEUED when a scheduler requeues it
    CLEANING_UP its program is over; waits for its turn to be archived. How it ended is on record, and decides
                what it will be
    ARCHIVING   its outputs are being put into the archive
    PAUSED      held, by a person, in its system's queue, or because only a person can say whether it has run;
                release returns it to where it was
    FINISHED, FAILED, STOPPED   over; STOPPED means killed
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    PENDING = "PENDING"
    STAGING_INPUTS = "STAGING_INPUTS"
    STAGED = "STAGED"
    SUBMITTING = "SUBMITTING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CLEANING_UP = "CLEANING_UP"
    ARCHIVING = "ARCHIVING"
    PAUSED = "PAUSED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


_ENDINGS = (Status.FINISHED, Status.FAILED, Status.STOPPED)
_ENDED = (Status.CLEANING_UP, *_ENDINGS)

MOVES: dict[Status, tuple[Status, ...]] = {
    Status.PENDING: (
        Status.STAGING_INPUTS, Status.STAGED, Status.SUBMITTING, Status.PAUSED, Status.FAILED, Status.STOPPED,
    ),
    Status.STAGING_INPUTS: (Status.STAGED, Status.PAUSED, Status.FAILED, Status.STOPPED),
    Status.STAGED: (Status.SUBMITTING, Status.PAUSED, Status.FAILED, Status.STOPPED),
    Status.SUBMITTING: (Status.STAGED, Status.PAUSED, Status.QUEUED, Status.RUNNING, *_ENDED),
    Status.QUEUED: (Status.RUNNING, Status.PAUSED, *_ENDED),
    Status.RUNNING: (Status.QUEUED, Status.PAUSED, *_ENDED),
    Status.CLEANING_UP: (Status.ARCHIVING,),
    Status.ARCHIVING: (Status.FINISHED, Status.FAILED),
    Status.PAUSED: (
        Status.PENDING, Status.STAGING_INPUTS, Status.STAGED, Status.QUEUED, Status.RUNNING, *_ENDED,
    ),
    Status.FINISHED: (),
    Status.FAILED: (),
    Status.STOPPED: (),
}  # fmt: skip
"""From each status, where a job can go. The one exception, the correction of a LOST ending, is
`CORRECTIONS`."""

CORRECTIONS = _ENDINGS
"""Where late evidence can take a job that was FAILED with condition LOST, once."""

START = Status.PENDING
TERMINAL = frozenset(status for status, onward in MOVES.items() if not onward)
ACTIVE = frozenset(MOVES) - TERMINAL
PLACED = frozenset({Status.QUEUED, Status.RUNNING})
"""A backend has it, under a local id."""
AT_SYSTEM = PLACED | {Status.PAUSED}
"""What a backend says of it counts; of one that was held before that, it says nothing."""
WAITING = frozenset({Status.PENDING, Status.STAGED})
"""Nothing outside jobd knows of it yet: it can be stopped or held by a line in the store."""

PUTTING_AWAY = frozenset({Status.CLEANING_UP, Status.ARCHIVING})
"""Its program is over, and nothing is left to kill."""

KNOWN_WORDS = frozenset(Status) | {
    "PROCESSING_INPUTS", "STAGING_JOB", "ARCHIVING_FINISHED", "ARCHIVING_FAILED", "BLOCKED", "KILLED",
    "HEARTBEAT",
}  # fmt: skip
"""Agave's words that a search may name; those that are not a Status match nothing."""


class Condition(StrEnum):
    """How a job ended."""

    NORMAL = "NORMAL"
    EXIT_CODE = "EXIT_CODE"
    SIGNAL = "SIGNAL"
    TIME_LIMIT = "TIME_LIMIT"
    MEMORY_LIMIT = "MEMORY_LIMIT"
    LOG_LIMIT = "LOG_LIMIT"
    KILLED = "KILLED"
    NODE_LOST = "NODE_LOST"
    PREEMPTED = "PREEMPTED"
    STAGING_FAILED = "STAGING_FAILED"
    LAUNCH_FAILED = "LAUNCH_FAILED"
    ARCHIVING_FAILED = "ARCHIVING_FAILED"
    LOST = "LOST"


def can_move(old: Status, new: Status) -> bool:
    return new in MOVES[old]


def ending(condition: Condition) -> Status:
    """The terminal status that goes with a condition."""
    if condition is Condition.NORMAL:
        return Status.FINISHED
    return Status.STOPPED if condition is Condition.KILLED else Status.FAILED


def judge(exit_code: int | None, signal: int | None) -> Condition:
    """The condition of a job of which nothing is known but how its first process ended; LOST when not even
    that is."""
    if signal:
        return Condition.SIGNAL
    if exit_code is None:
        return Condition.LOST
    return Condition.EXIT_CODE if exit_code else Condition.NORMAL


def diagram() -> str:
    """The moves as a Mermaid state diagram, which the README carries."""
    lines = ["stateDiagram-v2", f"    [*] --> {START}"]
    lines += [f"    {old} --> {new}" for old, onward in MOVES.items() for new in onward]
    lines += [f"    {status} --> [*]" for status in MOVES if status in TERMINAL]
    return "\n".join(lines)
