"""From a request to the job that it asks for, which is not stored yet: where it goes, what it runs, where its
inputs come from and its outputs go. Submission and resubmission both end here.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import Any

from jobd.apps import sources, template, values
from jobd.apps.app import COMMAND, App
from jobd.apps.values import Values
from jobd.config import Settings, persons_directory
from jobd.errors import Fault, Forbidden, Invalid
from jobd.people import known
from jobd.store.apps import Revision
from jobd.store.job import Job, new_id, slug
from jobd.units import shown
from jobd.verbs.desk import Caller
from jobd.verbs.place import Place, place
from jobd.verbs.request import JobRequest

_ARCHIVE = "job-${JOB_ID}"
_ARCHIVE_ON_SYSTEM = "${JOB_OWNER}/archive/jobs/job-${JOB_ID}"

_KEPT_ELSEWHERE = frozenset({"environment", "notifications", "callbackUrl"})
"""What of a request the job itself does not hold."""


@dataclass(frozen=True)
class Chosen:
    """The app that a request names, as it is today."""

    app: App
    revision: Revision


@dataclass(frozen=True)
class _Drafting:
    """What stays the same while one request is drafted."""

    settings: Settings
    caller: Caller
    home: str
    request: JobRequest
    at: str
    """Goes before the fields' names in faults."""


def draft(
    settings: Settings,
    caller: Caller,
    body: dict[str, Any],
    request: JobRequest,
    chosen: Chosen | None,
    at: str = "",
) -> Job:
    """Raises Invalid with all that is wrong; Forbidden for a system that the app does not run on."""
    if chosen:
        request = _with_defaults(request, chosen.app, settings)
    it = _Drafting(settings, caller, home(caller), request, at)
    faults: list[Fault] = []
    given, plan = _inputs_and_parameters(it, chosen.app, faults) if chosen else (None, ())
    job = None
    try:
        where = place(request, settings, at, chosen.app.default_queue if chosen else None)
        job = _archived(it, _placed(it, body, where, plan), faults)
    except Invalid as error:
        faults += error.faults
    if faults or job is None:
        raise Invalid(*faults)
    return _of_app(job, chosen, given) if chosen and given else job


def home(caller: Caller) -> str:
    who = known(caller.name)
    if who is None:
        raise Forbidden(f"there is no user {caller.name} on this machine to run jobs as")
    return who.home


def _with_defaults(request: JobRequest, app: App, settings: Settings) -> JobRequest:
    """What the request leaves to its app."""
    if (
        request.execution_system
        and app.execution_systems
        and request.execution_system not in app.execution_systems
    ):
        known = ", ".join(app.execution_systems)
        raise Forbidden(f"{app.id} does not run on {request.execution_system} (expected {known})")
    of_app = {
        "execution_system": _system_of(app, settings),
        "node_count": app.default_node_count,
        "processors_per_node": app.default_processors_per_node,
        "memory_per_node": app.default_memory_per_node,
        "max_run_time": app.default_max_run_time,
        "archive": app.archive,
    }
    return request.model_copy(
        update={name: value for name, value in of_app.items() if getattr(request, name) is None}
    )


def _system_of(app: App, settings: Settings) -> str | None:
    """The first that there is; one that is not there is for `place` to name."""
    there = (name for name in app.execution_systems if settings.system(name))
    return next(there, next(iter(app.execution_systems), None))


def _inputs_and_parameters(it: _Drafting, app: App, faults: list[Fault]) -> tuple[Values, sources.Plan]:
    if not app.available:
        faults.append(Fault(f"{it.at}appId", f"{app.id} takes no jobs at present", "another app"))
    given, wrong = values.checked(app, it.request.inputs or {}, it.request.parameters or {}, it.at)
    roots = {name: str(path) for name, path in it.settings.storage_systems.items()}
    plan, nowhere = sources.plan(app, given.inputs, roots, it.at)
    faults += [*wrong, *nowhere]
    return given, plan


def _placed(it: _Drafting, body: dict[str, Any], where: Place, plan: sources.Plan) -> Job:
    request, job_id, now = it.request, new_id(), time.time()
    root = where.system.work_root(it.caller.name, it.home)
    workspace = f"{root}/job-{job_id}-{slug(request.name)}"
    return Job(
        id=job_id,
        name=request.name,
        owner=it.caller.name,
        app_id=COMMAND,
        system=where.system.id,
        queue=where.queue.name,
        request={name: value for name, value in body.items() if name not in _KEPT_ELSEWHERE},
        command=tuple(request.command or ()),
        directory=request.directory or workspace,
        workspace=workspace,
        stdin=request.stdin,
        nodes=where.nodes,
        processors=where.processors,
        memory=where.memory,
        gpus=request.gpus,
        time_limit=where.time_limit,
        priority=request.priority,
        archive=bool(request.archive),
        staging=plan,
        created=now,
        updated=now,
    )


def _archived(it: _Drafting, job: Job, faults: list[Fault]) -> Job:
    """With the place for its outputs, if they are to be archived."""
    if not job.archive:
        return job
    system = it.request.archive_system
    root = it.settings.storage_systems.get(system or "")
    if system and root is None:
        known = ", ".join(it.settings.storage_systems) or "none: the configuration has no storageSystems"
        faults.append(Fault(f"{it.at}archiveSystem", f"there is no storage system {shown(system)}", known))
        return job
    usual = _ARCHIVE_ON_SYSTEM if root else _ARCHIVE
    base = str(root or persons_directory(it.settings.archive_dir, job.owner, it.home))
    try:
        path = _archive_path(job, it.request.archive_path or usual, base, bound=root is not None)
    except Invalid as error:
        faults += [Fault(f"{it.at}archivePath", fault.problem, fault.expected) for fault in error.faults]
        return job
    return replace(job, archive_system=system, archive_path=path)


def _archive_path(job: Job, wanted: str, base: str, bound: bool) -> str:
    """`bound`: it has to lie beneath `base`; else it may be anywhere."""
    facts = {**template.facts(job), "AGAVE_JOB_NAME": slug(job.name)}
    short = {name.removeprefix("AGAVE_"): value for name, value in facts.items()}
    try:
        relative = template.filled(wanted, facts | short)
    except KeyError as unknown:
        raise Invalid(Fault("", f"${{{unknown.args[0]}}} means nothing here", ", ".join(short))) from None
    path = os.path.normpath(os.path.join(base, relative.lstrip("/") if bound else relative))
    if bound and not path.startswith(f"{base.rstrip('/')}/"):
        raise Invalid(Fault("", f"{shown(wanted)} leads out of the storage system", "a path without .."))
    if f"{path}/".startswith(f"{job.workspace}/"):
        raise Invalid(Fault("", "that is in the job's own work directory", "a place outside of it"))
    return path


def _of_app(job: Job, chosen: Chosen, given: Values) -> Job:
    """With what the app makes of it."""
    app = chosen.app
    job = replace(
        job,
        app_id=app.id,
        app_revision=chosen.revision.revision,
        inputs=given.as_inputs(),
        parameters=given.as_parameters(app),
    )
    facts = {**template.facts(job), template.APP_PATH: app.deployment_path or ""}
    put_in = {**given.parameters, **template.opened(job)}
    if app.template_path:
        script = os.path.join(app.deployment_path or "", app.template_path)
        return replace(job, command=(script, *template.of_script(app.fields(), put_in)))
    return replace(job, command=tuple(template.arguments(app.command, app.fields(), put_in, facts)))
