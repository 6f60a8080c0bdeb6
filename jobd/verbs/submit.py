"""Submit: acknowledged only when it is on disk (T1), all of an array or none of it, and once per
Idempotency-Key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jobd.errors import Fault, Forbidden, Invalid, TooMany
from jobd.store import moves, queries
from jobd.store.job import Job
from jobd.store.notifications import Wanted
from jobd.store.tables import dump
from jobd.store.writer import Transaction
from jobd.units import shown
from jobd.verbs.apps import chosen_by
from jobd.verbs.desk import Caller, Desk
from jobd.verbs.draft import Chosen, draft
from jobd.verbs.notification import check_allowed
from jobd.verbs.once import Key, check, made_before, remember
from jobd.verbs.request import JobRequest, read

_RETRY_AFTER = 10.0


@dataclass(frozen=True)
class Batch:
    """New jobs that get onto the disk together."""

    jobs: Sequence[Job]
    told: Sequence[Sequence[Wanted]]
    """The notifications that are wanted of each."""
    description: str
    environments: Mapping[str | None, str] = field(default_factory=dict)
    """By digest, those that are new."""


async def submit(desk: Desk, caller: Caller, bodies: Sequence[object], key: Key | None = None) -> list[Job]:
    """The new jobs, or those that the same key made before. Raises Invalid (every fault of every request),
    Forbidden, Conflict, TooMany."""
    check_person(desk, caller)
    if before := desk.store.query(lambda sql: repeated(sql, caller, key)):
        return before
    if len(bodies) > desk.settings.max_jobs_per_request:
        raise Invalid(
            f"{len(bodies)} jobs in one request (expected at most {desk.settings.max_jobs_per_request})"
        )
    single = len(bodies) == 1
    requests = _read_all(bodies, single)
    for _, request, at in requests:
        check_allowed(desk.settings.notifications.allow, request.wanted, f"{at}notifications")
    wanted = [request.app_id for _, request, _ in requests if request.app_id and request.runs_app]
    apps = await chosen_by(desk, caller, wanted)
    drafts = _draft_all(desk, caller, requests, apps)
    sent = [_environment(request) for _, request, _ in requests]
    jobs = [replace(job, environment=digest) for job, (digest, _) in zip(drafts, sent, strict=True)]
    told = [request.wanted for _, request, _ in requests]
    return await keep(desk, caller, Batch(jobs, told, "Submitted.", dict(sent)), key)


async def keep(desk: Desk, caller: Caller, batch: Batch, key: Key | None) -> list[Job]:
    """Puts new jobs on disk, and rings the engine's bell. Also what resubmit ends with."""
    check(key)
    most = desk.settings.max_active_jobs
    number = len(batch.jobs)
    if most is not None and number > most:
        raise Invalid(f"{number} jobs in one request (expected at most {most}, as maxActiveJobs says)")
    jobs = await desk.store.write(lambda tx: _write(tx, caller, batch, key, most))
    for system in {job.system for job in jobs}:
        desk.engine.submitted(system)
    for system in {job.system for job in jobs if job.staging}:
        desk.engine.to_stage(system)
    return jobs


def check_person(desk: Desk, caller: Caller) -> None:
    if not desk.persons.may_run_as(caller.name):
        raise Forbidden(f"no job can run as {caller.name}: {desk.persons.whom()}")


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


def _draft_all(
    desk: Desk,
    caller: Caller,
    requests: Sequence[tuple[dict[str, Any], JobRequest, str]],
    apps: Mapping[str, Chosen],
) -> list[Job]:
    """The jobs; the faults of all of them together."""
    drafts: list[Job] = []
    faults: list[Fault | str] = []
    for body, request, at in requests:
        try:
            drafts.append(draft(desk.settings, caller, body, request, _app(request, apps, at), at))
        except Invalid as error:
            faults += error.faults
    if faults:
        raise Invalid(*faults)
    return drafts


def _app(request: JobRequest, apps: Mapping[str, Chosen], at: str) -> Chosen | None:
    if not request.runs_app:
        return None
    chosen = apps.get(request.app_id or "")
    if chosen is None:
        raise Invalid(Fault(f"{at}appId", f"there is no app {shown(request.app_id)}", "one of /apps/v2"))
    return chosen


def _environment(request: JobRequest) -> tuple[str | None, str]:
    """The digest and text of the environment that came with the request; None: there was none."""
    if request.environment is None:
        return None, ""
    text = dump(dict(sorted(request.environment.items())))
    return hashlib.sha256(text.encode()).hexdigest(), text


def _write(tx: Transaction, caller: Caller, batch: Batch, key: Key | None, most: int | None) -> list[Job]:
    if before := repeated(tx.sql, caller, key):
        return before
    _check_room(tx, caller, len(batch.jobs), most)
    for digest, text in batch.environments.items():
        if digest is None:
            continue
        tx.sql.execute("INSERT OR IGNORE INTO environment (digest, body) VALUES (?, ?)", (digest, text))
    jobs = [
        replace(job, seq=moves.insert(tx, job, caller.name, batch.description, wanted))
        for job, wanted in zip(batch.jobs, batch.told, strict=True)
    ]
    remember(tx, caller, key, [job.id for job in jobs])
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


def repeated(sql: queries.Connection, caller: Caller, key: Key | None) -> list[Job] | None:
    """The jobs that this key made before; None when it is new. Asked before anything else, too: what was
    taken once is not refused because an app has changed since."""
    ids = made_before(sql, caller, key)
    return None if ids is None else [job for job_id in ids if (job := queries.job(sql, job_id))]
