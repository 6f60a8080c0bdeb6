"""List: the caller's jobs that match a search. Root and the admin group see everybody's, but only where they
ask for an owner or an id: theirs are hard to find among a lab's otherwise, and a name is no reason to kill
somebody else's job.
"""

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
    everybody = caller.admin and any(_field(key) in ("owner", "id") for key in query)
    wanted = search(query, None if everybody else caller.name, order_by, direction)
    return await desk.store.read(lambda sql: wanted.jobs(sql, limit, offset))


def _field(key: str) -> str:
    return key.partition(".")[0].lower()
