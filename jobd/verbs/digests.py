"""What a job has made, by its digests: as they were recorded when it was archived, else read now, as its
owner, in the directory that jobd made for it.

A directory that a person named is not looked into: nobody could say what in there is the job's. The logs have
the job's id in their names, so they go by what they are: `stdout` and `stderr`. Inputs that were staged and
are as they were are none of its outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from jobd.errors import Conflict, Refused
from jobd.store import files
from jobd.store.files import Output
from jobd.store.job import Job
from jobd.verbs.desk import Caller, Desk

LOGS = ("stdout", "stderr")


@dataclass(frozen=True)
class Made:
    """By name, and in words what was looked at."""

    files: Mapping[str, Output] | None
    """None: they cannot be looked at any more, or not yet. One without a digest is no regular file."""
    where: str
    missing: tuple[str, ...] = ()
    """Why these are not all of its outputs."""


def nothing(why: str) -> Made:
    return Made(None, "nothing of it", (why,))


async def made(desk: Desk, caller: Caller, job: Job) -> Made:
    """Raises Conflict when its files cannot be read, Unavailable when they are written to just now."""
    if not job.over:
        return nothing(f"it is {job.status}, so its outputs are not compared")
    if job.archived is not None:
        found = await desk.store.read(lambda sql: files.outputs(sql, job))
        details = job.details
        return _made(job, found, details.get("notArchived", ()), details.get("notRecorded", 0))
    if job.purged is not None:
        return nothing("its files were removed before anybody had digested them")
    try:
        said = await desk.aside.read(
            caller.name, lambda leash: desk.persons.digests(job.owner, job.workspace, leash)
        )
    except Refused as error:
        raise Conflict(f"the outputs of job {job.id} cannot be compared: {error}") from None
    staged = await desk.store.read(lambda sql: files.staged(sql, job))
    as_staged = {(one.name, one.sha256) for one in staged}
    found = [Output(**one) for one in said["files"] if (one["path"], one["sha256"]) not in as_staged]
    return _made(job, found, said["left"], said["more"])


def _made(job: Job, found: Iterable[Output], others: Iterable[str], more: int) -> Made:
    outputs = {_name(job, one.path): one for one in found}
    words = _in_words(job, outputs)
    outputs |= {_name(job, path): Output(path, 0, None) for path in others}
    return Made(outputs, words, (f"{more} more files have no digest on record",) if more else ())


def _in_words(job: Job, outputs: Mapping[str, Output]) -> str:
    logs = [name for name in LOGS if name in outputs]
    others = len(outputs) - len(logs)
    number = [f"{others} other file{'s' * (others != 1)}"] if others else []
    what = ", ".join([*logs, *number]) or "no file"
    where = f"as they were archived in {job.archive_path}" if job.archived else f"in {job.workspace}"
    if job.directory == job.workspace:
        return f"{what}, {where}"
    return f"{what}, {where}; not what it wrote to {job.directory}, where it ran"


def _name(job: Job, path: str) -> str:
    for name, log in zip(LOGS, (job.stdout, job.stderr), strict=True):
        if path == PurePosixPath(log).name:
            return name
    return f"./{path}" if path in LOGS else path
