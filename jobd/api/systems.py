"""Execution systems with their queues, and who people are."""

from __future__ import annotations

import asyncio
import pwd

from jobd.api import present
from jobd.api.call import Call
from jobd.api.envelope import Answer, flag
from jobd.config import System
from jobd.errors import NotFound


async def list_systems(call: Call) -> Answer:
    limit, offset = call.page()
    settings, engine = call.desk.settings, call.desk.engine
    systems = list(settings.systems)
    if "default" in call.query:
        wanted = flag(call.query["default"], "default")
        systems = [system for system in systems if (system.id == settings.default_system) == wanted]
    return Answer(
        [
            present.system_summary(system, settings, engine.trouble(system.id), call.base)
            for system in systems[offset : offset + limit]
        ]
    )


def _system(call: Call) -> System:
    system = call.desk.settings.system(call.id)
    if system is None:
        raise NotFound(f"no system {call.id}")
    return system


async def system(call: Call) -> Answer:
    found, engine = _system(call), call.desk.engine
    trouble, seen = engine.trouble(found.id), engine.last_answer(found.id)
    return Answer(present.system(found, call.desk.settings, trouble, seen, call.base))


async def queues(call: Call) -> Answer:
    limit, offset = call.page()
    return Answer([present.queue(queue) for queue in _system(call).queues[offset : offset + limit]])


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
