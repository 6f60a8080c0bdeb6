"""Show: a job, its history, and in plain words why it waits or how it ended, and how that is known."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from jobd.status import WAITING, Condition, Status
from jobd.store.job import Event, Job
from jobd.units import format_moment, format_run_time, format_size
from jobd.verbs.desk import Caller, Desk, find


async def details(desk: Desk, caller: Caller, job_id: str) -> Job:
    return await find(desk, caller, job_id)


async def history(
    desk: Desk, caller: Caller, job_id: str, limit: int, offset: int, descending: bool = False
) -> list[Event]:
    job = await find(desk, caller, job_id)
    return await desk.store.history(job, limit, offset, descending)


async def why(desk: Desk, caller: Caller, job_id: str) -> tuple[Job, str]:
    """The job, and a few sentences about what it waits for or how it ended."""
    job = told(desk, await find(desk, caller, job_id))
    sentences = _ended(job) if job.over else [*_waits(job), *_asked(job), *_silence(desk, job)]
    return job, " ".join(sentence for sentence in sentences if sentence)


def told(desk: Desk, job: Job) -> Job:
    """With the reason why it waits for its turn: that is known as of the last turn, and not written into all
    who wait."""
    deferred = job.not_before is not None and job.not_before > time.time()
    if job.status not in WAITING or deferred:
        return job
    return replace(job, reason=desk.engine.waits(job) or job.reason)


def _sentence(words: str) -> str:
    words = words.strip()
    return words if not words or words[-1] in ".!?" else f"{words}."


def _waits(job: Job) -> list[str]:
    match job.status:
        case Status.PENDING | Status.STAGED:
            return [_sentence(job.reason) or "It waits for its turn."]
        case Status.SUBMITTING:
            return [f"It is being handed over to {job.system}.", _sentence(job.reason)]
        case Status.QUEUED:
            where = f"{job.system} has it as {job.local_id} and has not started it."
            return [where, _sentence(job.reason)]
        case Status.STAGING_INPUTS:
            being = "Its inputs are being brought into its work directory."
            return [_sentence(job.reason) or being, _progress(job)]
        case Status.CLEANING_UP:
            return [_how(job), "Its outputs wait for their turn to be archived.", _progress(job)]
        case Status.ARCHIVING:
            return [_how(job), f"Its outputs are being put into {job.archive_path}.", _progress(job)]
        case Status.PAUSED:
            return [_sentence(job.reason) or "It is held.", "Release lets it go on."]
        case _:
            since = f" since {format_moment(job.started)}" if job.started else ""
            return [f"It runs on {job.system} as {job.local_id}{since}.", _sentence(job.reason)]


def _progress(job: Job) -> str:
    """Of the files that are being moved."""
    found = job.details.get("progress", {})
    if trouble := found.get("trouble"):
        return f"It is tried again: {_sentence(trouble)}"
    return f"{format_size(found['bytes'])} so far; now {found.get('doing')}." if "bytes" in found else ""


def _asked(job: Job) -> list[str]:
    words = []
    if job.kill_asked:
        words.append(f"{job.kill_asked_by} asked for its end at {format_moment(job.kill_asked)}.")
    if job.delete_asked:
        words.append("It is deleted as soon as it is over.")
    return words


def _silence(desk: Desk, job: Job) -> list[str]:
    """What keeps us from knowing better."""
    trouble = desk.engine.trouble(job.system)
    if not trouble:
        return []
    last = desk.engine.last_answer(job.system)
    news = f"no news since {format_moment(last)}" if last else "no news since jobd started"
    return [f"{job.system} does not answer, {news}: {_sentence(trouble)}"]


def _ended(job: Job) -> list[str]:
    how = _how(job)
    reason = _sentence(job.reason)
    known = f"Known from: {job.evidence}." if job.evidence else ""
    return [how, reason if reason != how else "", known]


_IN_WORDS: Mapping[Condition, Callable[[Job], str]] = {
    Condition.NORMAL: lambda job: "It finished with exit code 0.",
    Condition.EXIT_CODE: lambda job: f"Its program ended with exit code {job.exit_code}.",
    Condition.SIGNAL: lambda job: f"Its program was ended by {_signal(job.signal)}.",
    Condition.TIME_LIMIT: lambda job: (
        f"It was ended at its time limit{_of(job.time_limit and format_run_time(job.time_limit))}."
    ),
    Condition.MEMORY_LIMIT: lambda job: (
        f"It was ended at its memory limit{_of(job.memory and format_size(job.memory))}."
    ),
    Condition.LOG_LIMIT: lambda job: "It was ended since its logs had become too large.",
    Condition.KILLED: lambda job: f"It was killed{_by(job.kill_asked_by)}.",
    Condition.NODE_LOST: lambda job: "The machine that it ran on went down.",
    Condition.PREEMPTED: lambda job: "Its system ended it for a job that goes first.",
    Condition.STAGING_FAILED: lambda job: "Its inputs could not be brought in, so it did not run.",
    Condition.LAUNCH_FAILED: lambda job: "It could not be started.",
    Condition.ARCHIVING_FAILED: lambda job: (
        f"Its outputs could not be archived and are still in {job.workspace}; {_program(job)}."
    ),
    Condition.LOST: lambda job: "Nobody can say how it ended.",
}


def _how(job: Job) -> str:
    return _IN_WORDS[job.condition or Condition.LOST](job)


def _program(job: Job) -> str:
    if job.signal:
        return f"its program was ended by {_signal(job.signal)}"
    return f"its exit code is {job.exit_code}"


def _by(person: str | None) -> str:
    return f"; {person} asked for that" if person else ""


def _of(limit: object) -> str:
    return f" of {limit}" if limit else ""


def _signal(number: int | None) -> str:
    try:
        return f"signal {number} ({signal.Signals(number or 0).name})"
    except ValueError:
        return f"signal {number}"
