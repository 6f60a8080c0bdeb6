"""Drain and resume: whoever looks after a system keeps waiting jobs from starting there. What runs goes on,
and jobs are still taken."""

from __future__ import annotations

from jobd.config import System
from jobd.errors import Conflict, Fault, Forbidden, Invalid, NotFound
from jobd.store import drains
from jobd.store.drains import Drain
from jobd.verbs.desk import Caller, Desk

_LONGEST_REASON = 500


async def drain(desk: Desk, caller: Caller, system: str, queue: str, reason: str) -> System:
    """`queue` empty: all of the system. Raises NotFound, Forbidden, Invalid without a reason."""
    found = _manage(desk, caller, system, queue)
    words = reason.strip()
    if not words or len(words) > _LONGEST_REASON or not words.isprintable():
        raise Invalid(Fault("reason", "it is needed", f"one line of 1 to {_LONGEST_REASON} characters"))
    await desk.store.write(lambda tx: drains.begin(tx, system, queue, words, caller.name))
    desk.engine.submitted(system)
    return found


async def resume(desk: Desk, caller: Caller, system: str, queue: str) -> System:
    """Raises Conflict for what is not drained."""
    found = _manage(desk, caller, system, queue)
    if not await desk.store.write(lambda tx: drains.end(tx, system, queue, caller.name)):
        raise Conflict(f"{f'queue {queue} of {system}' if queue else system} is not drained")
    desk.engine.submitted(system)
    return found


async def in_force(desk: Desk) -> list[Drain]:
    return await desk.store.read(drains.in_force)


async def history(desk: Desk, system: str, limit: int, offset: int) -> list[Drain]:
    """What was drained there, by whom and why, the latest first."""
    find(desk, system)
    return await desk.store.read(lambda sql: drains.history(sql, system, limit, offset))


def find(desk: Desk, system: str) -> System:
    found = desk.settings.system(system)
    if found is None:
        raise NotFound(f"no system {system}")
    return found


def _manage(desk: Desk, caller: Caller, system: str, queue: str) -> System:
    """The system, which the caller may manage: root, an admin, or whose own daemon this is."""
    found = find(desk, system)
    if queue and found.queue(queue) is None:
        raise NotFound(f"{system} has no queue {queue}")
    if not (caller.admin or desk.settings.mode == "user"):
        raise Forbidden(f"{system} is drained and resumed by root and the admin group")
    return found
