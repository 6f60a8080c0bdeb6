"""Outputs: what is in a job's own directory, or in its archive when it has got there, listed and opened as
its owner.

Only what lies beneath that directory, and no link, FIFO or device: the persons' part sees to that for every
component of the path. Others than its owner, who may read the job, get what the job has made and nothing
else: of an archive, which can be any directory of the owner's, the files that are on record; and of a work
directory not what jobd itself keeps there, such as a cluster's script with the environment in it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import PurePosixPath
from typing import TypeVar

from jobd.errors import NotFound
from jobd.keeper.persons import Entry, is_own
from jobd.store import files, queries
from jobd.store.job import Job
from jobd.units import format_moment
from jobd.verbs.desk import Caller, Desk, find

T = TypeVar("T")


@dataclass(frozen=True)
class Opened:
    """A file, open for reading; whoever got it closes it."""

    file: FileIO
    name: str
    size: int
    modified: float


async def listing(desk: Desk, caller: Caller, job_id: str, path: str) -> list[Entry]:
    """By name, without jobd's own. A job that has not got its directory yet has an empty one."""
    job = await find(desk, caller, job_id)
    check_there(job)
    path = path.strip("/")
    try:
        entries = await asyncio.to_thread(
            _where_they_are, desk, job, lambda now: _listed(desk, caller, now, path)
        )
    except NotFound:
        if path:
            raise
        return []
    return entries if path else [entry for entry in entries if not is_own(entry.name)]


async def media(desk: Desk, caller: Caller, job_id: str, path: str) -> Opened:
    job = await find(desk, caller, job_id)
    check_there(job)
    path = path.strip("/")
    if not path:
        raise NotFound("say which file")
    return await asyncio.to_thread(_open, desk, caller, job, path)


def check_there(job: Job) -> None:
    """Raises NotFound when its files were removed, in words."""
    if job.purged is not None:
        raise NotFound(
            f"the files of job {job.id} are gone: they were removed on {format_moment(job.purged)}"
        )


def log(desk: Desk, job: Job, name: str) -> int:
    """A descriptor of that one of its logs. Not to be called in the event loop."""
    return _where_they_are(desk, job, lambda now: desk.persons.open(now.owner, now.outputs, name))


def _where_they_are(desk: Desk, job: Job, use: Callable[[Job], T]) -> T:
    """They may have gone into the archive since the job was read."""
    try:
        return use(job)
    except NotFound:
        now = desk.store.query(lambda sql: queries.job(sql, job.id))
        if now is None or now.outputs == job.outputs:
            raise
        return use(now)


def _listed(desk: Desk, caller: Caller, job: Job, path: str) -> list[Entry]:
    if caller.name == job.owner:
        return desk.persons.listing(job.owner, job.outputs, path)
    _check_made(desk, job, path)
    entries = desk.persons.listing(job.owner, job.outputs, path)
    if len(entries) == 1 and entries[0].kind != "dir" and path.endswith(entries[0].name):
        return entries  # a file, itself
    return [entry for entry in entries if _is_made(desk, job, f"{path}/{entry.name}")]


def _open(desk: Desk, caller: Caller, job: Job, path: str) -> Opened:
    def opened(now: Job) -> int:
        if caller.name != now.owner:
            _check_made(desk, now, path)
        return desk.persons.open(now.owner, now.outputs, path)

    file = FileIO(_where_they_are(desk, job, opened), "rb")
    facts = os.fstat(file.fileno())
    return Opened(file, PurePosixPath(path).name, facts.st_size, facts.st_mtime)


def _check_made(desk: Desk, job: Job, path: str) -> None:
    if not _is_made(desk, job, path):
        raise NotFound(f"there is no {path!r} among what job {job.id} has made")


def _is_made(desk: Desk, job: Job, path: str) -> bool:
    """Is it for others than the job's owner?"""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if job.archived is None or not parts:
        return not (parts and is_own(parts[0]))
    return desk.store.query(lambda sql: files.is_output(sql, job, "/".join(parts)))
