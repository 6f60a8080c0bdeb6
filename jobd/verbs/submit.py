"""Submit: acknowledged only when it is on disk (T1), all of an array or none of it, and once per
Idempotency-Key."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobd.errors import Conflict, Fault, Forbidden, Invalid, TooMany
from jobd.people import known
from jobd.store import moves, queries
from jobd.store.job import Job, new_id, slug
from jobd.store.tables import dump
from jobd.store.writer import Transaction
from jobd.verbs.desk import Caller, Desk
from jobd.verbs.place import place
from jobd.verbs.request import COMMAND_APP, JobRequest, read

_LONGEST_KEY = 255
_RETRY_AFTER = 10.0


@dataclass(frozen=True)
class Key:
    """An Idempotency-Key and the digest of the request that came with it."""

    key: str
    digest: str


async def submit(desk: Desk, caller: Caller, bodies: Sequence[object], key: Key | None = None) -> list[Job]:
    """The new jobs, or those that the same key made before. Raises Invalid (every fault of every request),
    Forbidden, Conflict, TooMany."""
    check_person(desk, caller)
    if len(bodies) > desk.settings.max_jobs_per_request:
        raise Invalid(
            f"{len(bodies)} jobs in one request (expected at most {desk.settings.max_jobs_per_request})"
        )
    single = len(bodies) == 1
    requests = _read_all(bodies, single)
    drafts = [_draft(desk, caller, body, request, at) for body, request, at in requests]
    environments = {digest: text for _, digest, text in drafts if digest}
    return await keep(desk, caller, [draft for draft, _, _ in drafts], environments, key, "Submitted.")


async def keep(
    desk: Desk,
    caller: Caller,
    drafts: Sequence[Job],
    environments: Mapping[str, str],
    key: Key | None,
    description: str,
) -> list[Job]:
    """Puts new jobs on disk, and rings the engine's bell. Also what resubmit ends with."""
    if key and len(key.key) > _LONGEST_KEY:
        raise Invalid(Fault("Idempotency-Key", "it is too long", f"at most {_LONGEST_KEY} characters"))
    most = desk.settings.max_active_jobs
    if most is not None and len(drafts) > most:
        raise Invalid(f"{len(drafts)} jobs in one request (expected at most {most}, as maxActiveJobs says)")
    jobs = await desk.store.write(lambda tx: _write(tx, caller, drafts, environments, key, description, most))
    for system in {job.system for job in jobs}:
        desk.engine.submitted(system)
    return jobs


def check_person(desk: Desk, caller: Caller) -> None:
    if not desk.persons.may_run_as(caller.name):
        raise Forbidden(f"no job can run as {caller.name}: {desk.persons.whom()}")


def home(caller: Caller) -> str:
    who = known(caller.name)
    if who is None:
        raise Forbidden(f"there is no user {caller.name} on this machine to run jobs as")
    return who.home


def _read_all(bodies: Sequence[object], single: bool) -> list[tuple[dict[str, Any], JobRequest, str]]:
    """Each request with its place in the array; the faults of all of them together."""
    requests: list[tuple[dict[str, Any], JobRequest, str]] = []
    faults: list[Fault | str] = []
    for number, body in enumerate(bodies):
        at = "" if single else f"{number}."
        try:
            requests.append((body, read(body, at), at))  # type: ignore[arg-type]
        except Invalid as error:
            faults += error.faults
    if faults:
        raise Invalid(*faults)
    return requests


def _draft(
    desk: Desk, caller: Caller, body: dict[str, Any], request: JobRequest, at: str
) -> tuple[Job, str | None, str]:
    """A job that is not stored yet, with its environment's digest and text."""
    where = place(request, desk.settings, at)
    assert request.command is not None
    job_id, now = new_id(), time.time()
    root = where.system.work_root(caller.name, home(caller))
    workspace = f"{root}/job-{job_id}-{slug(request.name)}"
    text = "" if request.environment is None else dump(dict(sorted(request.environment.items())))
    digest = hashlib.sha256(text.encode()).hexdigest() if text else None
    job = Job(
        id=job_id,
        name=request.name,
        owner=caller.name,
        app_id=COMMAND_APP,
        system=where.system.id,
        queue=where.queue.name,
        request={name: value for name, value in body.items() if name != "environment"},
        command=tuple(request.command),
        directory=request.directory or workspace,
        workspace=workspace,
        stdin=request.stdin,
        environment=digest,
        nodes=request.node_count,
        processors=where.processors,
        memory=where.memory,
        gpus=request.gpus,
        time_limit=where.time_limit,
        priority=request.priority,
        created=now,
        updated=now,
    )
    return job, digest, text


def _write(
    tx: Transaction,
    caller: Caller,
    drafts: Sequence[Job],
    environments: Mapping[str, str],
    key: Key | None,
    description: str,
    most: int | None,
) -> list[Job]:
    if key and (before := _repeated(tx, caller, key)):
        return before
    _check_room(tx, caller, len(drafts), most)
    for digest, text in environments.items():
        tx.sql.execute("INSERT OR IGNORE INTO environment (digest, body) VALUES (?, ?)", (digest, text))
    jobs = [replace(job, seq=moves.insert(tx, job, caller.name, description)) for job in drafts]
    if key:
        tx.sql.execute(
            "INSERT INTO request_key (owner, key, digest, jobs, created) VALUES (?, ?, ?, ?, ?)",
            (caller.name, key.key, key.digest, dump([job.id for job in jobs]), time.time()),
        )
    return jobs


def _check_room(tx: Transaction, caller: Caller, more: int, most: int | None) -> None:
    if most is None:
        return
    active = queries.active_of(tx.sql, caller.name)
    if active + more > most:
        raise TooMany(
            f"{caller.name} has {active} jobs that are not over, of at most {most}: {more} more must wait",
            _RETRY_AFTER,
        )


def _repeated(tx: Transaction, caller: Caller, key: Key) -> list[Job] | None:
    """The jobs that this key made before; None when it is new."""
    found = queries.request_key(tx.sql, caller.name, key.key)
    if found is None:
        return None
    digest, ids = found
    if digest != key.digest:
        raise Conflict(
            "this Idempotency-Key came with another request before: use a new key for a new request"
        )
    return [job for job_id in ids if (job := queries.job(tx.sql, job_id))]
