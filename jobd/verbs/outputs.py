"""Outputs: what is in a job's own directory, listed and opened as its owner.

Only what lies beneath that directory, and no link, FIFO or device: the persons' part sees to that for every
component of the path.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from io import FileIO
from pathlib import PurePosixPath

from jobd.errors import NotFound
from jobd.keeper.child import MARK
from jobd.keeper.persons import Entry
from jobd.verbs.desk import Caller, Desk, find


@dataclass(frozen=True)
class Opened:
    """A file, open for reading; whoever got it closes it."""

    file: FileIO
    name: str
    size: int
    modified: float


async def listing(desk: Desk, caller: Caller, job_id: str, path: str) -> list[Entry]:
    """By name, without what jobd keeps there for itself. A job that has not got its directory yet has an
    empty one."""
    job = await find(desk, caller, job_id)
    path = path.strip("/")
    try:
        entries = await asyncio.to_thread(desk.persons.listing, job.owner, job.workspace, path)
    except NotFound:
        if path:
            raise
        return []
    return entries if path else [entry for entry in entries if not entry.name.startswith(MARK)]


async def media(desk: Desk, caller: Caller, job_id: str, path: str) -> Opened:
    job = await find(desk, caller, job_id)
    path = path.strip("/")
    if not path:
        raise NotFound("say which file")
    return await asyncio.to_thread(_open, desk, job.owner, job.workspace, path)


def _open(desk: Desk, owner: str, workspace: str, path: str) -> Opened:
    file = FileIO(desk.persons.open(owner, workspace, path), "rb")
    facts = os.fstat(file.fileno())
    return Opened(file, PurePosixPath(path).name, facts.st_size, facts.st_mtime)
