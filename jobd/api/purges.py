"""What will be removed of hidden jobs."""

from __future__ import annotations

from jobd.api import present
from jobd.api.call import Call
from jobd.api.envelope import Answer
from jobd.verbs import purge


async def list_purges(call: Call) -> Answer:
    limit, offset = call.page()
    found = await purge.preview(call.desk, call.caller, limit, offset)
    return Answer([present.purge(one.job, one.due, call.base) for one in found])
