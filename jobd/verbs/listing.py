"""List: the jobs that match a search, of the caller's own and of those that are shared with the caller. Root
and the admin group see everybody's, but only where they ask for an owner or an id: theirs are hard to find
among a lab's otherwise, and a name is no reason to kill somebody else's job.
"""

from __future__ import annotations

from collections.abc import Mapping

from jobd.store import pems
from jobd.store.job import Job
from jobd.store.queries import Connection
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
    fields = {key.partition(".")[0].lower() for key in query}
    everybody = caller.admin and fields & {"owner", "id"} and "shared" not in fields

    def find(sql: Connection) -> list[Job]:
        grantees = () if everybody else pems.those_with_any(sql, caller.grantees)
        whose = None if everybody else caller.name
        return search(query, whose, order_by, direction, grantees).jobs(sql, limit, offset)

    return await desk.store.read(find)
