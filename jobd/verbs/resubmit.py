"""Resubmit: a new job of the same request, with the environment that the original was sent with, under
today's app, systems and queues. What differs is a conflict (apps/migrate.py has them all); the flags say
which kinds are ignored, and then the new job says what it did about them.

The new job is drafted as any submission is, from the original's request with its inputs and parameters
migrated. So a dry run is the same way without its last step, and tells what would happen.

Of an input, size and time of change (or the server's ETag) are compared now, as the caller. What only its
content can show is for staging, which knows the digest that is expected when conflicts of inputs are not
ignored.

The new job is the caller's. Where the original was somebody else's its environment stays with them: it can
hold their secrets, and what it names would be loaded and obeyed as the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic.alias_generators import to_camel

from jobd.apps import app as apps
from jobd.apps import migrate
from jobd.apps.migrate import INPUTS, Conflict, Content, Migration, Old, State
from jobd.errors import Conflict as Conflicting
from jobd.errors import Fault, Forbidden, Invalid
from jobd.store import apps as kept
from jobd.store import files, notifications
from jobd.store.job import Job
from jobd.store.notifications import Wanted
from jobd.units import format_run_time, format_size
from jobd.verbs.apps import current
from jobd.verbs.desk import Caller, Desk, find, find_writable
from jobd.verbs.draft import Chosen, draft
from jobd.verbs.once import Key
from jobd.verbs.request import JobRequest, read
from jobd.verbs.submit import Batch, check_person, keep, repeated


@dataclass(frozen=True)
class Flags:
    """True unless the request says otherwise, as in Agave."""

    ignore_input_conflicts: bool = True
    ignore_parameter_conflicts: bool = True
    preserve_notifications: bool = True

    def ignores(self, conflict: Conflict) -> bool:
        return self.ignore_input_conflicts if conflict.flag == INPUTS else self.ignore_parameter_conflicts


@dataclass(frozen=True)
class Wish:
    """What a resubmission asks for."""

    flags: Flags = Flags()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Values in place of the original's."""


@dataclass(frozen=True)
class Plan:
    """What a resubmission comes to."""

    original: Job
    flags: Flags
    request: dict[str, Any]
    """The new job's."""
    revision: int | None
    """Of the app that runs."""
    conflicts: tuple[Conflict, ...]
    faults: tuple[Fault, ...]
    """What cannot be migrated."""
    deferred: tuple[dict[str, str], ...]
    """What staging has still to look at."""
    job: Job | None
    """None where it cannot be."""

    def refusal(self) -> Invalid | Conflicting | None:
        """Why it would not be submitted, if so."""
        refusal: Invalid | Conflicting
        if self.faults:
            refusal = Invalid(*self.faults)
        elif refused := [one for one in self.conflicts if not self.flags.ignores(one)]:
            words = "; ".join(f"{one} (if ignored: {one.fit})" for one in refused)
            refusal = Conflicting(f"{_number(refused)} with what would run today: {words}")
        else:
            return None
        refusal.conflicts = [self.described(one) for one in self.conflicts]
        return refusal

    def described(self, conflict: Conflict) -> dict[str, Any]:
        """A conflict as a reply has it."""
        return {**asdict(conflict), "ignored": self.flags.ignores(conflict)}


def _number(conflicts: Sequence[Conflict]) -> str:
    return "1 conflict" if len(conflicts) == 1 else f"{len(conflicts)} conflicts"


async def resubmit(desk: Desk, caller: Caller, job_id: str, wish: Wish, key: Key | None = None) -> Job:
    """The new job. Raises Conflict with all conflicts when some may not be ignored; Invalid when it cannot be
    migrated, or when today's queues cannot take it."""
    if before := desk.store.query(lambda sql: repeated(sql, caller, key)):
        return before[0]
    made = await plan(desk, caller, job_id, wish)
    if refusal := made.refusal():
        raise refusal
    assert made.job is not None
    words = f"Resubmitted from {made.original.id}."
    told = await notifications_to_recreate(desk, caller, made)
    (job,) = await keep(desk, caller, Batch([made.job], [told], words), key)
    return job


async def request_of(desk: Desk, caller: Caller, job_id: str) -> dict[str, Any]:
    """What a resubmission starts from: the request as it came, without its environment."""
    return (await find(desk, caller, job_id)).request


async def plan(desk: Desk, caller: Caller, job_id: str, wish: Wish) -> Plan:
    """What would happen. Raises NotFound, Forbidden."""
    original = await find_writable(desk, caller, job_id)
    check_person(desk, caller)
    if original.app_revision is None:
        given = Migration(dict(wish.inputs), dict(wish.parameters))  # which its check refuses, if there are
        return _fitted(desk, caller, original, wish, None, given, _Looked({}, {}, ()))
    chosen = await current(desk, caller, original.app_id)
    if chosen is None:
        why = "any more" if original.owner == caller.name else f"for you, or {original.owner}'s own is meant"
        gone = Fault("appId", f"there is no app {original.app_id} {why}", "an app of /apps/v2")
        return Plan(original, wish.flags, original.request, None, (), (gone,), (), None)
    looked = await _look(desk, caller, original)
    migration = _migrated(chosen, original, wish, looked.content)
    before = await _revision_before(desk, original)
    was = apps.what_runs(before.body) if before else {}
    now = apps.what_runs(chosen.revision.body)
    migration.conflicts += migrate.of_app(
        chosen.app, was, now, original.app_revision, chosen.revision.revision
    )
    return _fitted(desk, caller, original, wish, chosen, migration, looked)


async def _revision_before(desk: Desk, original: Job) -> kept.Revision | None:
    number = original.app_revision
    assert number is not None
    return await desk.store.read(lambda sql: kept.revision(sql, original.owner, original.app_id, number))


def _migrated(chosen: Chosen, original: Job, wish: Wish, content: Content) -> Migration:
    asked = original.request
    return migrate.migrate(
        chosen.app,
        Old(asked.get("inputs") or {}, original.inputs),
        Old(asked.get("parameters") or {}, original.parameters),
        wish.inputs,
        wish.parameters,
        content,
    )


def _fitted(
    desk: Desk,
    caller: Caller,
    original: Job,
    wish: Wish,
    chosen: Chosen | None,
    migration: Migration,
    looked: _Looked,
) -> Plan:
    body = _body(original, migration)
    conflicts, faults = list(migration.conflicts), list(migration.faults)
    job = None
    try:
        request = read(body)
        job = draft(desk.settings, caller, body, request, chosen)
        conflicts += migrate.of_place(_place(original), _place(job), _asked(request))
    except Invalid as error:
        faults += [fault for fault in error.faults if fault.field not in {one.field for one in faults}]
    except Forbidden as error:
        faults.append(Fault("executionSystem", str(error)))
    if job and not wish.flags.ignore_input_conflicts:
        job = replace(job, staging=_expecting(job, looked.digests))
    plan = Plan(
        original,
        wish.flags,
        body,
        chosen.revision.revision if chosen else None,
        tuple(conflicts),
        tuple(faults),
        _deferred(job, looked),
        None,
    )
    return replace(plan, job=_again(original, job, plan) if job and not faults else None)


def _body(original: Job, migration: Migration) -> dict[str, Any]:
    """The original's request with today's inputs and parameters, in the same words where nothing differs."""
    body = dict(original.request)
    parts = {"inputs": migration.inputs, "parameters": migration.parameters}
    for name, value in parts.items():
        if value or body.get(name):
            body[name] = value
    return body


async def notifications_to_recreate(desk: Desk, caller: Caller, plan: Plan) -> list[Wanted]:
    """Those that the caller has of the original now, fired or not, with all that belongs to them; or none.
    Other people's are theirs: no address or command of theirs becomes the caller's. This is the one place
    where `preserveNotifications` means something."""
    if not plan.flags.preserve_notifications:
        return []
    found = await desk.store.read(lambda sql: notifications.of_job(sql, plan.original.seq, caller.name))
    return [one.wanted for one in found]


def _place(job: Job) -> dict[str, Any]:
    """Where it goes and what it gets there, by the request's names, in words."""
    return {
        "executionSystem": job.system,
        "batchQueue": job.queue,
        "nodeCount": job.nodes,
        "processorsPerNode": job.processors,
        "memoryPerNode": None if job.memory is None else format_size(job.memory),
        "maxRunTime": None if job.time_limit is None else format_run_time(job.time_limit),
        "archive": job.archive,
    }


def _asked(request: JobRequest) -> dict[str, Any]:
    return {to_camel(name): getattr(request, name) for name in JobRequest.model_fields}


def _again(original: Job, job: Job, plan: Plan) -> Job:
    flags = {to_camel(name): value for name, value in asdict(plan.flags).items()}
    migrated = [_did(one) for one in plan.conflicts]
    return replace(
        job,
        environment=original.environment if original.owner == job.owner else None,
        resubmit_of=original.id,
        migrated=tuple(migrated),
        details={"resubmit": flags},
    )


def _did(conflict: Conflict) -> dict[str, Any]:
    """What was done about a conflict, as the new job keeps it."""
    return {
        "field": conflict.field,
        "kind": conflict.kind,
        "was": conflict.was,
        "now": conflict.now,
        "why": conflict.problem,
        "done": conflict.fit,
    }


# ---- what became of the inputs


@dataclass(frozen=True)
class _Looked:
    content: Content
    digests: Mapping[tuple[str, str], str]
    """SHA-256 by input and source (as the plan of staging has it) of what was staged."""
    unknown: tuple[tuple[str, str], ...]
    """Inputs and sources of which nothing can be said."""


async def _look(desk: Desk, caller: Caller, original: Job) -> _Looked:
    """What has become of the original's sources, as far as can be seen without reading them."""
    staged = await desk.store.read(lambda sql: files.sources(sql, original))
    there = await asyncio.to_thread(desk.persons.facts, caller.name, [one.source for one in staged])
    said = _sources_as_asked(original)
    found = {(one.input, one.source): _state(one, there.get(one.source)) for one in staged}
    content = {(name, said[name, source]): state for (name, source), state in found.items() if state}
    digests = {(one.input, one.source): one.sha256 for one in staged if one.sha256}
    unknown = tuple(key for key, state in found.items() if state is None)
    return _Looked(content, digests, unknown)


def _state(staged: files.Staged, facts: Mapping[str, Any] | None) -> State | None:
    """None: it cannot be said. Of a directory only its own time is looked at, and an ETag goes before size
    and time."""
    if facts is None:
        return State.VANISHED
    if staged.etag and facts.get("etag"):
        return State.SAME if facts["etag"] == staged.etag else State.CHANGED
    pairs = [(facts.get("modified"), staged.mtime)]
    pairs += [] if facts.get("directory") else [(facts.get("size"), staged.size)]
    known = [(now, then) for now, then in pairs if now is not None and then is not None]
    if not known:
        return None
    return State.SAME if all(now == then for now, then in known) else State.CHANGED


def _sources_as_asked(original: Job) -> dict[tuple[str, str], str]:
    """By input and source as it is in the plan of staging: how the request named it."""
    found: dict[tuple[str, str], str] = {}
    for name, sources in original.inputs.items():
        entries = [entry["source"] for entry in original.staging if entry["input"] == name]
        found |= {(name, place): source for place, source in zip(entries, sources, strict=True)}
    return found


def _expecting(job: Job, digests: Mapping[tuple[str, str], str]) -> tuple[dict[str, Any], ...]:
    """The plan of staging, with the content that alone will do."""
    return tuple(
        {**entry, "sha256": digests[entry["input"], entry["source"]]}
        if (entry["input"], entry["source"]) in digests
        else entry
        for entry in job.staging
    )


def _deferred(job: Job | None, looked: _Looked) -> tuple[dict[str, str], ...]:
    """Checks that are left to staging, which ends the job when content is another than the one expected; and
    sources of which nothing could be seen."""
    entries = job.staging if job else ()
    return tuple(
        {"field": f"inputs.{entry['input']}", "source": entry["source"]}
        | ({"sha256": entry["sha256"]} if "sha256" in entry else {})
        for entry in entries
        if "sha256" in entry or (entry["input"], entry["source"]) in looked.unknown
    )
