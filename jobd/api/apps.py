"""Apps: list, look at one, and bring one of one's own into force."""

from __future__ import annotations

from jobd.api import present
from jobd.api.call import Call
from jobd.api.envelope import Answer, flag
from jobd.verbs import apps


async def list_apps(call: Call) -> Answer:
    """`id` may hold `*`; so may `id.like`, as in searches for jobs."""
    limit, offset = call.page()
    like = call.query.get("id", call.query.get("id.like", "*"))
    found = await apps.listing(call.desk, call.caller, like, limit, offset)
    return Answer([present.app_summary(one, call.base) for one in found])


async def app(call: Call) -> Answer:
    """As it is today, or as the revision was that a job ran with."""
    number = call.whole_number("revision", 0) or None
    return Answer(present.app(await apps.find(call.desk, call.caller, call.id, number), call.base))


async def submit_app(call: Call) -> Answer:
    dry_run = flag(call.query.get("dryRun", False), "dryRun")
    one = await apps.submit(call.desk, call.caller, await call.body(), dry_run)
    return Answer(present.app(one, call.base), 200 if dry_run else 201)


async def withdraw_app(call: Call) -> Answer:
    return Answer(present.app(await apps.withdraw(call.desk, call.caller, call.id), call.base))
