"""The daemon itself: is it well, what does it count, how does it hold jobs, and what can be asked of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable

from aiohttp import web

from jobd import __version__
from jobd.api import present
from jobd.api.call import Call
from jobd.api.envelope import Answer
from jobd.store import queries


async def health(call: Call) -> Answer:
    """Answers when the store does."""
    await call.desk.store.read(lambda sql: sql.execute("SELECT 1").fetchone())
    settings = call.desk.settings
    return Answer(
        {
            "version": __version__,
            "status": "UP",
            "mode": settings.mode,
            "pid": os.getpid(),
            "socket": str(settings.socket),
            "started": present.moment(call.api.started),
        }
    )


async def doctor(call: Call) -> Answer:
    engine = call.desk.engine
    about = await asyncio.to_thread(call.api.about)
    return Answer(
        {
            **{name: about.get(name) for name in ("stateDir", "configFile", "containment")},
            "store": call.desk.store.trouble,
            "systems": {system.id: engine.trouble(system.id) for system in call.desk.settings.systems},
            "connections": call.api.connections(),
        }
    )


async def metrics(call: Call) -> web.Response:
    """In the text format of Prometheus."""
    active = await call.desk.store.read(queries.active)
    lines = [
        *_metric("jobd_info", "gauge", "The daemon.", [(f'version="{__version__}"', 1)]),
        *_metric("jobd_up_seconds", "gauge", "Since its start.", [("", time.time() - call.api.started)]),
        *_metric("jobd_connections", "gauge", "Open connections.", [("", call.api.connections())]),
        *_metric(
            "jobd_active_jobs",
            "gauge",
            "Jobs that are not over, by system.",
            [(f'system="{system}"', number) for system, number in sorted(active.items())],
        ),
        *_metric(
            "jobd_requests_total",
            "counter",
            "Requests answered, by code.",
            [(f'code="{code}"', number) for code, number in sorted(call.api.answered.items())],
        ),
    ]
    return web.Response(text="\n".join(lines) + "\n", content_type="text/plain", charset="utf-8")


def _metric(name: str, kind: str, words: str, samples: Iterable[tuple[str, float]]) -> list[str]:
    head = [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
    return head + [
        f"{name}{{{labels}}} {value:g}" if labels else f"{name} {value:g}" for labels, value in samples
    ]


async def openapi_document(call: Call) -> web.Response:
    return web.Response(body=call.api.document(), content_type="application/json")
