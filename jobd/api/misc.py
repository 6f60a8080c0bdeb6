"""The daemon itself: is it well, how does it hold jobs, and what can be asked of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

from aiohttp import web

from jobd import __version__
from jobd.api import present
from jobd.api.call import Call
from jobd.api.envelope import Answer
from jobd.config import System
from jobd.errors import JobdError
from jobd.people import person
from jobd.units import MB, format_size

_LITTLE = 100 * MB

_DOCTOR_WAIT = 30.0


async def health(call: Call) -> Answer:
    """503 when the store cannot be read, or still not be written. What else is wrong makes it DEGRADED, and
    is told to those whom the daemon serves."""
    store, settings = call.desk.store, call.desk.settings
    await store.read(lambda sql: sql.execute("SELECT 1").fetchone())
    if store.trouble:
        await store.probe()
    troubles = list(_troubles(call))
    return Answer(
        {
            "version": __version__,
            "status": "DEGRADED" if troubles else "UP",
            "mode": settings.mode,
            "pid": os.getpid(),
            "socket": str(settings.socket),
            "started": present.moment(call.api.started),
            "troubles": troubles if call.caller.uid >= 0 else [],
        }
    )


def _troubles(call: Call) -> Iterator[str]:
    store, engine, settings = call.desk.store, call.desk.engine, call.desk.settings
    if store.damage:
        yield f"the store is damaged: {store.damage}"
    free = store.free()
    if free < _LITTLE:
        yield f"less than {format_size(_LITTLE)} are free for {settings.state_dir}"
    for system in settings.systems:
        if trouble := engine.trouble(system.id):
            yield f"{system.id} does not answer: {trouble}"


async def doctor(call: Call) -> Answer:
    engine, systems = call.desk.engine, call.desk.settings.systems
    about = await asyncio.to_thread(call.api.about)
    who = person(call.caller.name)
    found = await asyncio.gather(*(_findings(call, system, who.home if who else "") for system in systems))
    return Answer(
        {
            **{name: about.get(name) for name in ("stateDir", "configFile", "containment")},
            "store": call.desk.store.trouble,
            "mail": call.desk.notifier.mail_trouble(),
            "systems": {system.id: engine.trouble(system.id) for system in systems},
            "findings": {system.id: told for system, told in zip(systems, found, strict=True)},
            "connections": call.api.connections(),
        }
    )


async def _findings(call: Call, system: System, home: str) -> list[dict[str, str]]:
    """A system that hangs makes nobody wait for the others."""
    try:
        asked = call.desk.engine.doctor(system, call.caller.name, home)
        return [vars(finding) for finding in await asyncio.wait_for(asked, _DOCTOR_WAIT)]
    except (JobdError, TimeoutError) as trouble:
        return [{"mark": "!", "message": str(trouble) or "it could not be looked at in time"}]


async def openapi_document(call: Call) -> web.Response:
    return web.Response(body=call.api.document(), content_type="application/json")
