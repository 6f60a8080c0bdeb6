"""List: the caller's jobs that match a search, and everybody's for root and the admin group."""

from __future__ import annotations

from collections.abc import Mapping

from jobd.store.job import Job
from jobd.store.search import search
from jobd.verbs.desk import Caller, Desk


async def list_jobs(
    desk: Desk,
    caller: Caller,
    query: Mapping[str, str],
    limit: int,
    offset: int,
    order_by: str | None = None,
    direction: str | None = None,
) -> list[Job]:
    """Raises Invalid with every fault of the query, Unavailable when the search takes too long."""
    wanted = search(query, None if caller.admin else caller.name, order_by, direction)
    return await desk.store.read(lambda sql: wanted.jobs(sql, limit, offset))
