"""Outputs: what is in a job's own directory, or in its archive when it has got there, listed and opened as
its owner.

Only what lies beneath that directory, and no link, FIFO or device: the persons' part sees to that for every
component of the path.
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
from jobd.store import queries
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
            _where_they_are, desk, job, lambda root: desk.persons.listing(job.owner, root, path)
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
    return await asyncio.to_thread(_open, desk, job, path)


def check_there(job: Job) -> None:
    """Raises NotFound when its files were removed, in words."""
    if job.purged is not None:
        raise NotFound(
            f"the files of job {job.id} are gone: they were removed on {format_moment(job.purged)}"
        )


def opened(desk: Desk, job: Job, path: str) -> int:
    """A descriptor of that file. Not to be called in the event loop."""
    return _where_they_are(desk, job, lambda root: desk.persons.open(job.owner, root, path))


def _where_they_are(desk: Desk, job: Job, use: Callable[[str], T]) -> T:
    """They may have gone into the archive since the job was read."""
    try:
        return use(job.outputs)
    except NotFound:
        now = desk.store.query(lambda sql: queries.job(sql, job.id))
        if now is None or now.outputs == job.outputs:
            raise
        return use(now.outputs)


def _open(desk: Desk, job: Job, path: str) -> Opened:
    file = FileIO(opened(desk, job, path), "rb")
    facts = os.fstat(file.fileno())
    return Opened(file, PurePosixPath(path).name, facts.st_size, facts.st_mtime)
