"""Notes about jobs, as Agave's metadata: a job's `_links.metadata` is a search of these."""

from __future__ import annotations

from jobd.api import present
from jobd.api.call import Call
from jobd.api.envelope import Answer
from jobd.api.jobs import as_object
from jobd.verbs import notes


async def listing(call: Call) -> Answer:
    limit, offset = call.page()
    found = await notes.listing(call.desk, call.caller, call.query.get("q"), limit, offset)
    return Answer([present.note(one, call.base) for one in found])


async def add(call: Call) -> Answer:
    made = await notes.add(call.desk, call.caller, as_object(await call.body()))
    return Answer(present.note(made, call.base), 201)


async def details(call: Call) -> Answer:
    return Answer(present.note(await notes.details(call.desk, call.caller, call.id), call.base))


async def change(call: Call) -> Answer:
    body = as_object(await call.body())
    return Answer(present.note(await notes.change(call.desk, call.caller, call.id, body), call.base))


async def remove(call: Call) -> Answer:
    return Answer(present.note(await notes.remove(call.desk, call.caller, call.id), call.base))
