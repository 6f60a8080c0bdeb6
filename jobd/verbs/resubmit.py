"""Resubmit: a new job of the same request, with the environment that the original was sent with, checked
against today's queues.

The three flags say how strictly differences are to be taken. They are kept with the new job; a plain command
has no inputs, parameters or notifications that could differ, so here nothing can conflict.

The new job is the caller's. Where the original was somebody else's its environment stays with them: it can
hold their secrets, and what it names would be loaded and obeyed as the caller.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic.alias_generators import to_camel

from jobd.store.job import Job, new_id, slug
from jobd.verbs.desk import Caller, Desk, find_writable
from jobd.verbs.place import place
from jobd.verbs.request import read
from jobd.verbs.submit import Key, check_person, home, keep


@dataclass(frozen=True)
class Flags:
    """True unless the request says otherwise, as in Agave."""

    ignore_input_conflicts: bool = True
    ignore_parameter_conflicts: bool = True
    preserve_notifications: bool = True


async def resubmit(desk: Desk, caller: Caller, job_id: str, flags: Flags, key: Key | None = None) -> Job:
    """The new job. Raises Invalid when today's queues cannot take it."""
    original = await find_writable(desk, caller, job_id)
    check_person(desk, caller)
    draft = _again(desk, caller, original, flags)
    (job,) = await keep(desk, caller, [draft], {}, key, f"Resubmitted from {original.id}.")
    return job


def _again(desk: Desk, caller: Caller, original: Job, flags: Flags) -> Job:
    request = read(original.request)
    where = place(request, desk.settings)
    job_id, now = new_id(), time.time()
    own = original.owner == caller.name
    root = original.workspace.rpartition("/")[0] if own else where.system.work_root(caller.name, home(caller))
    workspace = f"{root}/job-{job_id}-{slug(original.name)}"
    in_own_directory = original.directory == original.workspace
    kept: dict[str, Any] = {to_camel(name): value for name, value in asdict(flags).items()}
    return replace(
        original.as_asked(),
        id=job_id,
        owner=caller.name,
        system=where.system.id,
        queue=where.queue.name,
        processors=where.processors,
        memory=where.memory,
        time_limit=where.time_limit,
        priority=request.priority,
        directory=workspace if in_own_directory else original.directory,
        workspace=workspace,
        environment=original.environment if own else None,
        resubmit_of=original.id,
        created=now,
        updated=now,
        details={"resubmit": kept},
    )
