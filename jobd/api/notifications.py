"""Notifications: who wants to be told of what happens to a job. Agave's routes and fields; `command` beside
`url` is jobd's own."""

from __future__ import annotations

from jobd.api import present
from jobd.api.call import Call
from jobd.api.envelope import Answer
from jobd.api.jobs import as_object
from jobd.errors import Fault, Invalid
from jobd.verbs import subscribe as verbs

_NOT_YET = "kept; this version of jobd delivers no notifications yet"


async def listing(call: Call) -> Answer:
    limit, offset = call.page()
    job_id = call.query.get("associatedUuid")
    found = await verbs.listing(call.desk, call.caller, job_id, limit, offset)
    return Answer([present.notification(one, call.base) for one in found])


async def subscribe(call: Call) -> Answer:
    body = await call.body()
    if not body:
        raise Invalid(Fault("body", "it is empty", "a notification, or an array of them"))
    several = isinstance(body, list)
    made = await verbs.subscribe(call.desk, call.caller, body if several else [body])
    shown = [present.notification(one, call.base) for one in made]
    return Answer(shown if several else shown[0], 201, _NOT_YET)


async def details(call: Call) -> Answer:
    return Answer(present.notification(await verbs.details(call.desk, call.caller, call.id), call.base))


async def change(call: Call) -> Answer:
    body = as_object(await call.body())
    changed = await verbs.change(call.desk, call.caller, call.id, body)
    return Answer(present.notification(changed, call.base), 200, _NOT_YET)


async def unsubscribe(call: Call) -> Answer:
    return Answer(present.notification(await verbs.unsubscribe(call.desk, call.caller, call.id), call.base))
