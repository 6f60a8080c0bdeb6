"""Execution systems with their queues, and who people are."""

from __future__ import annotations

import asyncio
import pwd
from typing import Any

from jobd.api import present
from jobd.api.call import Call
from jobd.api.envelope import Answer, flag
from jobd.api.jobs import as_object
from jobd.config import System
from jobd.errors import Fault, Invalid, NotFound
from jobd.verbs import drain


async def list_systems(call: Call) -> Answer:
    limit, offset = call.page()
    settings, engine = call.desk.settings, call.desk.engine
    systems = list(settings.systems)
    if "default" in call.query:
        wanted = flag(call.query["default"], "default")
        systems = [system for system in systems if (system.id == settings.default_system) == wanted]
    drains = await drain.in_force(call.desk)
    return Answer(
        [
            present.system_summary(system, settings, engine.trouble(system.id), call.base, drains)
            for system in systems[offset : offset + limit]
        ]
    )


async def system(call: Call) -> Answer:
    return await _shown(call, drain.find(call.desk, call.id))


async def _shown(call: Call, found: System) -> Answer:
    engine, drains = call.desk.engine, await drain.in_force(call.desk)
    trouble, seen = engine.trouble(found.id), engine.last_answer(found.id)
    return Answer(present.system(found, call.desk.settings, trouble, seen, call.base, drains))


async def queues(call: Call) -> Answer:
    limit, offset = call.page()
    found, drains = drain.find(call.desk, call.id), await drain.in_force(call.desk)
    return Answer([present.queue(one, found.id, drains) for one in found.queues[offset : offset + limit]])


async def drain_it(call: Call) -> Answer:
    """A system, or the queue that the path names."""
    fields = _only(as_object(await call.body()), "reason")
    reason = fields.get("reason", "")
    if not isinstance(reason, str):
        raise Invalid(Fault("reason", f"{reason!r:.100} is not right", "text"))
    return await _shown(call, await drain.drain(call.desk, call.caller, call.id, _queue(call), reason))


async def resume(call: Call) -> Answer:
    _only(as_object(await call.body()))
    return await _shown(call, await drain.resume(call.desk, call.caller, call.id, _queue(call)))


async def drains(call: Call) -> Answer:
    limit, offset = call.page()
    return Answer([present.drain(one) for one in await drain.history(call.desk, call.id, limit, offset)])


def _queue(call: Call) -> str:
    return call.request.match_info.get("queue", "")


def _only(fields: dict[str, Any], *known: str) -> dict[str, Any]:
    faults = [Fault(name[:100], "there is no such field", "reason") for name in fields.keys() - set(known)]
    if faults:
        raise Invalid(*faults)
    return fields


async def profile(call: Call) -> Answer:
    """`me` is the caller."""
    name = call.request.match_info["username"]
    me = name in ("me", call.caller.name)
    name = call.caller.name if me else name
    try:
        entry = await asyncio.to_thread(pwd.getpwnam, name)
    except (KeyError, ValueError):
        if not me:
            raise NotFound(f"no person {name}") from None
        return Answer(present.profile(name, call.caller.uid, "", call.caller.admin, call.base))
    full_name = entry.pw_gecos.partition(",")[0]
    admin = call.caller.admin if me else None
    return Answer(present.profile(entry.pw_name, entry.pw_uid, full_name, admin, call.base))
