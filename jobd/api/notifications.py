"""Notifications: who wants to be told of what happens to a job, and what came of telling. Agave's routes and
fields; `command` beside `url`, `body` and `digest`, and the deliveries one by one, are jobd's own.
"""

from __future__ import annotations

from jobd import signing
from jobd.api import present
from jobd.api.call import Call
from jobd.api.envelope import Answer
from jobd.api.jobs import as_object
from jobd.errors import Fault, Invalid
from jobd.store.deliveries import STATES
from jobd.verbs import deliveries as told
from jobd.verbs import subscribe as verbs


async def listing(call: Call) -> Answer:
    limit, offset = call.page()
    job_id = call.query.get("associatedUuid")
    found = await verbs.listing(call.desk, call.caller, job_id, call.query.get("owner"), limit, offset)
    return Answer([present.notification(one, call.base) for one in found])


async def subscribe(call: Call) -> Answer:
    body = await call.body()
    if not body:
        raise Invalid(Fault("body", "it is empty", "a notification, or an array of them"))
    several, key = isinstance(body, list), call.key("notify", body)
    made = await verbs.subscribe(call.desk, call.caller, body if several else [body], key)
    shown = [present.notification(one, call.base) for one in made]
    return Answer(shown if several else shown[0], 201, await verbs.doubts(call.desk, made))


async def details(call: Call) -> Answer:
    return Answer(present.notification(await verbs.details(call.desk, call.caller, call.id), call.base))


async def change(call: Call) -> Answer:
    body = as_object(await call.body())
    changed = await verbs.change(call.desk, call.caller, call.id, body)
    return Answer(present.notification(changed, call.base), 200, await verbs.doubts(call.desk, [changed]))


async def unsubscribe(call: Call) -> Answer:
    return Answer(present.notification(await verbs.unsubscribe(call.desk, call.caller, call.id), call.base))


async def attempts(call: Call) -> Answer:
    found = await told.attempts(call.desk, call.caller, call.id, *call.page())
    return Answer([present.attempt(one, call.base) for one in found])


async def rehearse(call: Call) -> Answer:
    body = as_object(await call.body())
    test = await call.api.unless_closing(told.rehearse(call.desk, call.caller, body))
    return Answer(present.rehearsal(test))


async def key(call: Call) -> Answer:
    return Answer({"owner": call.caller.name, "key": signing.shown(call.desk.notifier.key(call.caller.name))})


async def deliveries(call: Call) -> Answer:
    limit, offset = call.page()
    job_id, state = call.query.get("associatedUuid"), call.query.get("status")
    if state is not None and (state := state.upper()) not in STATES:
        raise Invalid(Fault("status", f"{state[:100]!r} is no state of a delivery", ", ".join(STATES)))
    owner = call.query.get("owner")
    found = await told.listing(call.desk, call.caller, job_id, owner, state, limit, offset)
    return Answer([present.delivery(one, call.base) for one in found])


async def delivery(call: Call) -> Answer:
    return Answer(present.delivery(await told.details(call.desk, call.caller, call.id), call.base))


async def retry(call: Call) -> Answer:
    return Answer(present.delivery(await told.retry(call.desk, call.caller, call.id), call.base))


async def drop(call: Call) -> Answer:
    return Answer(present.delivery(await told.drop(call.desk, call.caller, call.id), call.base))
