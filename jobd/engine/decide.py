"""What a report means for a job: the one place where a system's word becomes a status of jobd's. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jobd.backend import Phase, Report
from jobd.status import Condition, Status, ending, judge
from jobd.store.job import Job
from jobd.store.moves import DAEMON


@dataclass(frozen=True)
class Decision:
    """Columns to set; with `to`, a move to that status as well."""

    columns: dict[str, Any]
    to: Status | None = None
    description: str = ""
    by: str = DAEMON


def decide(job: Job, report: Report, now: float) -> Decision | None:
    """None when the report says nothing new."""
    match report.phase:
        case Phase.ENDED:
            return _ended(job, report, now)
        case Phase.RUNNING | Phase.SUSPENDED:
            return _running(job, report, now)
        case Phase.QUEUED:
            return _queued(job, report)
        case Phase.HELD:
            return _held(job, report)


def absent(job: Job, gap: float, lost_after: float | None, now: float) -> Decision | None:
    """A complete answer did not name the job. `gap` is the time since the last complete answer, in seconds.

    That is no ending: only an absence from every answer for longer than `lost_after` is, and even that can be
    corrected (T4).
    """
    missing_for = job.missing_for + gap
    if lost_after is None or missing_for < lost_after:
        return Decision({"missing_for": missing_for})
    words = f"Absent from every answer of {job.system} for {missing_for / 3600:.1f} hours."
    facts = {
        "condition": Condition.LOST,
        "evidence": "absence",
        "reason": words,
        "ended": now,
        "missing_for": missing_for,
    }
    return Decision(facts, Status.FAILED, words)


def _ended(job: Job, report: Report, now: float) -> Decision | None:
    condition = report.condition or judge(report.exit_code, report.signal)
    if job.condition is Condition.LOST and condition in (Condition.LOST, Condition.NODE_LOST):
        return None  # not knowing, again; after a reboot in other words
    columns = {
        "exit_code": report.exit_code,
        "signal": report.signal,
        "condition": condition,
        "evidence": report.evidence,
        "reason": report.reason,
        "started": report.started or job.started,
        "ended": report.ended or now,
        "wall": report.usage.wall,
        "cpu": report.usage.cpu,
        "peak_memory": report.usage.peak_memory,
        "missing_for": 0.0,
        **_common(job, report),
    }
    to = _after(job, condition)
    by = job.kill_asked_by or DAEMON if condition is Condition.KILLED else DAEMON
    words = describe(condition, report)
    if condition is Condition.KILLED and not job.kill_asked_by:
        words = f"Killed, and not through jobd. {report.reason}".strip()
    return Decision(columns, to, words, by)


_ARCHIVED = {
    Condition.NORMAL,
    Condition.EXIT_CODE,
    Condition.SIGNAL,
    Condition.TIME_LIMIT,
    Condition.MEMORY_LIMIT,
    Condition.LOG_LIMIT,
    Condition.NODE_LOST,
    Condition.PREEMPTED,
}
"""What is not here has left nothing, was killed by a person, or may run on for all we know (LOST)."""


def _after(job: Job, condition: Condition) -> Status:
    """Where it goes when its program is over; a LOST one that is corrected stays where its files are."""
    wanted = condition is Condition.NORMAL or job.request.get("archiveOnAppError", True)
    if job.archive and wanted and condition in _ARCHIVED and not job.over:
        return Status.CLEANING_UP
    return ending(condition)


def describe(condition: Condition, report: Report) -> str:
    """The ending in one sentence, for the history."""
    words = {
        Condition.NORMAL: "Ended with exit code 0.",
        Condition.EXIT_CODE: f"Ended with exit code {report.exit_code}.",
        Condition.SIGNAL: f"Ended by signal {report.signal}.",
        Condition.TIME_LIMIT: "Ended at its time limit.",
        Condition.MEMORY_LIMIT: "Ended at its memory limit.",
        Condition.LOG_LIMIT: "Ended at the limit of its logs.",
        Condition.KILLED: "Killed; nothing of it is left."
        if not report.details.get("survivors")
        else "Killed.",
        Condition.NODE_LOST: "The machine went down while it ran.",
        Condition.PREEMPTED: "Ended by its system, for a job that goes first.",
        Condition.STAGING_FAILED: "Its inputs could not be brought in.",
        Condition.LAUNCH_FAILED: "Could not be started.",
        Condition.ARCHIVING_FAILED: "Its outputs could not be archived.",
        Condition.LOST: "Nobody can say how it ended.",
    }[condition]
    return f"{words} {report.reason}".strip()


def _running(job: Job, report: Report, now: float) -> Decision | None:
    columns = _common(job, report)
    suspended = report.phase is Phase.SUSPENDED
    reason = (report.reason or "Suspended by its system.") if suspended else ""
    if reason != job.reason:
        columns["reason"] = reason
    if job.status is Status.RUNNING:
        return Decision(columns) if columns else None
    columns |= {"started": job.started or report.started or now, "held_from": None}
    return Decision(columns, Status.RUNNING, "Its first process runs.")


def _queued(job: Job, report: Report) -> Decision | None:
    columns = _common(job, report)
    if report.reason != job.reason:
        columns["reason"] = report.reason
    if job.status is Status.QUEUED:
        return Decision(columns) if columns else None
    if job.status is Status.RUNNING:
        requeues = {"requeues": job.details.get("requeues", 0) + 1}
        columns["details"] = {**job.details, **columns.get("details", {}), **requeues}
        return Decision(columns, Status.QUEUED, "Back in its system's queue: requeued.")
    columns["held_from"] = None
    return Decision(columns, Status.QUEUED, "In its system's queue.")


def _held(job: Job, report: Report) -> Decision | None:
    if job.status is Status.PAUSED:
        return None
    if job.status is Status.SUBMITTING:
        return _queued(job, report)
    columns = {**_common(job, report), "held_from": job.status, "reason": report.reason}
    return Decision(columns, Status.PAUSED, "Held in its system's queue.")


def _common(job: Job, report: Report) -> dict[str, Any]:
    """What any report can bring; only what differs."""
    columns: dict[str, Any] = {}
    if job.missing_for:
        columns["missing_for"] = 0.0
    if report.local_id and report.local_id != job.local_id:
        columns["local_id"] = report.local_id
    details = {**job.details, **report.details}
    if details != job.details:
        columns["details"] = details
    return columns


@dataclass(frozen=True)
class Decided:
    """A job, as it was seen, and what follows for it."""

    job: Job
    decision: Decision = field(compare=False)
