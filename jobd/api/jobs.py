"""Jobs: list, submit, look at one, wait for it, and hear of all changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from aiohttp import web

from jobd.api import present
from jobd.api.call import Call
from jobd.api.envelope import Answer
from jobd.errors import Fault, Invalid
from jobd.store.job import Job
from jobd.verbs import apps, listing, show, submit, wait
from jobd.verbs.desk import may_read

LONGEST_WAIT = 300.0
"""Seconds; who wants to wait longer asks again."""
_USUAL_WAIT = 30.0
_HEARTBEAT = 15.0
_MANY = 200
_MOST_REMEMBERED = 10_000


def whole(call: Call, job: Job) -> present.Json:
    seen = call.desk.engine.last_answer(job.system)
    private = apps.is_private(call.desk, call.caller, job)
    return present.whole(show.told(call.desk, job), call.base, call.desk.settings, seen, private_app=private)


async def list_jobs(call: Call) -> Answer:
    query = call.query
    limit, offset = call.page()
    words = {name.lower(): value for name, value in query.items()}
    jobs = await listing.list_jobs(
        call.desk, call.caller, query, limit, offset, words.get("orderby"), words.get("order")
    )
    if query.get("filter"):  # which may ask for any field
        return Answer([whole(call, job) for job in jobs])
    return Answer([present.summary(show.told(call.desk, job), call.base) for job in jobs])


async def submit_jobs(call: Call) -> Answer:
    body = await call.body()
    if not body:
        raise Invalid(Fault("body", "it is empty", "a job request, or an array of them"))
    several = isinstance(body, list)
    jobs = await submit.submit(call.desk, call.caller, body if several else [body], call.key("submit", body))
    if not several:
        (job,) = jobs
        headers = {"Location": present.job_href(call.base, job.id)}
        return Answer(whole(call, job), 201, headers=headers)
    if len(jobs) < _MANY:
        return Answer([whole(call, job) for job in jobs], 201)
    return Answer(await asyncio.to_thread(lambda: [whole(call, job) for job in jobs]), 201)


async def details(call: Call) -> Answer:
    return Answer(whole(call, await show.details(call.desk, call.caller, call.id)))


async def status(call: Call) -> Answer:
    return Answer(present.status(await show.details(call.desk, call.caller, call.id), call.base))


async def history(call: Call) -> Answer:
    limit, offset = call.page()
    direction = call.query.get("order", "asc").lower()
    if direction not in ("asc", "desc"):
        raise Invalid(Fault("order", f"{direction[:100]!r} is not right", "asc or desc"))
    events = await show.history(call.desk, call.caller, call.id, limit, offset, direction == "desc")
    return Answer([present.event(one) for one in events])


async def why(call: Call) -> Answer:
    job, words = await show.why(call.desk, call.caller, call.id)
    return Answer(present.why(job, words, call.desk.engine.last_answer(job.system), call.base))


async def wait_for(call: Call) -> Answer:
    seconds = _seconds(call.query.get("timeout"))
    job = await call.api.unless_closing(wait.wait(call.desk, call.caller, call.id, seconds))
    return Answer(whole(call, job))


def _seconds(word: str | None) -> float:
    if word is None:
        return _USUAL_WAIT
    try:
        seconds = float(word)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:  # which a NaN is not
        raise Invalid(Fault("timeout", f"{word[:100]!r} is not right", "a number of seconds"))
    return min(seconds, LONGEST_WAIT)


async def events(call: Call) -> web.StreamResponse:
    """Lines of JSON, or server-sent events for who asks for text/event-stream. An empty line, or a comment,
    is only a sign of life."""
    as_events = "text/event-stream" in call.request.headers.get("Accept", "")
    kind = "text/event-stream" if as_events else "application/x-ndjson"
    headers = {"Content-Type": kind, "Cache-Control": "no-store"}
    return await call.stream(_changes(call, as_events), headers)


async def _changes(call: Call, as_events: bool) -> AsyncGenerator[bytes, None]:
    alive, before, after = (b": alive\n\n", "data: ", "\n\n") if as_events else (b"\n", "", "\n")
    known: dict[str, _Whose] = {}
    with call.desk.store.changes.subscribe() as changes:
        yield alive
        while True:
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    job_id, status = await changes.get()
            except TimeoutError:
                yield alive
                continue
            if await _readable(call, job_id, known):
                yield f"{before}{json.dumps({'id': job_id, 'status': status})}{after}".encode()


class _Whose(NamedTuple):
    """Of a job, what never changes."""

    seq: int
    owner: str


async def _readable(call: Call, job_id: str, known: dict[str, _Whose]) -> bool:
    """Rights are not remembered: they can be given and taken away at any moment."""
    if call.caller.admin:
        return True
    if job_id not in known:
        job = await call.desk.store.job(job_id)
        if len(known) > _MOST_REMEMBERED:
            known.clear()
        if job is None:
            return False
        known[job_id] = _Whose(job.seq, job.owner)
    return may_read(call.desk, call.caller, known[job_id])


def as_object(body: Any) -> dict[str, Any]:
    """An action's body, which may be absent."""
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise Invalid(Fault("body", "this is not an object", "an object with the action's fields"))
    return body
