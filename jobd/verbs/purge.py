"""Purge, beforehand: which hidden jobs' files will be removed, and when. The engine does that by itself."""

from __future__ import annotations

from dataclasses import dataclass

from jobd.store import queries
from jobd.store.job import Job
from jobd.verbs.desk import Caller, Desk


@dataclass(frozen=True)
class Due:
    job: Job
    due: float | None
    """None: never, as the configuration is."""


async def preview(desk: Desk, caller: Caller, limit: int, offset: int) -> list[Due]:
    """The caller's, an admin's everybody's; what goes first comes first."""
    owner = None if caller.admin else caller.name
    after = desk.settings.purge_after
    jobs = await desk.store.read(lambda sql: queries.hidden(sql, owner, limit, offset))
    return [Due(job, None if after is None else job.updated + after) for job in jobs]
