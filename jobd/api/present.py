"""What is inside, as it goes over the wire (wire.py has the shapes). Pure, and fit for long lists."""

from __future__ import annotations

import json
import mimetypes
import os
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from jobd.apps.fields import Declared, single
from jobd.config import Queue, Settings, System
from jobd.keeper.persons import Entry
from jobd.status import Status
from jobd.store.apps import MACHINE
from jobd.store.deliveries import Attempt, Delivery
from jobd.store.drains import Drain
from jobd.store.job import Event, Job
from jobd.store.notes import Note
from jobd.store.notifications import Notification
from jobd.store.outbox import DELIVERED, FAILED
from jobd.store.pems import Pem, Right
from jobd.units import format_run_time, gigabytes
from jobd.verbs.deliveries import Rehearsal
from jobd.verbs.diff import Diff
from jobd.verbs.draft import Chosen
from jobd.verbs.resubmit import Plan
from jobd.verbs.verify import Verification

Json = dict[str, Any]


def moment(at: float | None) -> str | None:
    """ISO-8601 with milliseconds, in this machine's zone."""
    if at is None:
        return None
    second = int(at // 1)
    head, zone = _second(second)
    return f"{head}.{int((at - second) * 1000):03d}{zone}"


@lru_cache(maxsize=4096)
def _second(second: int) -> tuple[str, str]:
    """The same without the milliseconds, in two parts; a job's times are often those of its neighbours."""
    text = datetime.fromtimestamp(second).astimezone().isoformat(timespec="seconds")
    return text[:19], text[19:]


def link(href: str) -> Json:
    return {"href": href}


def _self(href: str) -> Json:
    return {"self": {"href": href}}


def job_href(base: str, job_id: str) -> str:
    return f"{base}/jobs/v2/{job_id}"


def system_href(base: str, system: str) -> str:
    return f"{base}/systems/v2/{quote(system)}"


def app_href(base: str, app_id: str) -> str:
    return f"{base}/apps/v2/{quote(app_id)}"


def _app_href(base: str, job: Job) -> str:
    """The very revision that it ran with."""
    href = app_href(base, job.app_id)
    return href if job.app_revision is None else f"{href}?revision={job.app_revision}"


def _path(path: str) -> str:
    return quote(os.fsencode(path))


def summary(job: Job, base: str) -> Json:
    href = job_href(base, job.id)
    ended = moment(job.ended)
    return {
        "id": job.id,
        "name": job.name,
        "owner": job.owner,
        "executionSystem": job.system,
        "appId": job.app_id,
        "batchQueue": job.queue,
        "localId": job.local_id,
        "created": moment(job.created),
        "status": job.status,
        "startTime": moment(job.started),
        "endTime": ended,
        "ended": ended,
        "exitCode": job.exit_code,
        "condition": job.condition,
        "reason": job.reason,
        "priority": job.priority,
        "_links": {"self": {"href": href}, "archiveData": {"href": f"{href}/outputs/listings"}},
    }


def whole(
    job: Job, base: str, settings: Settings, seen: float | None = None, *, private_app: bool = False
) -> Json:
    """`seen`: when its system last said anything. `private_app`: the caller cannot look at its app."""
    created, started, ended = moment(job.created), moment(job.started), moment(job.ended)
    submitted, message = moment(job.submitted), job.reason or None
    return {
        "id": job.id,
        "name": job.name,
        "owner": job.owner,
        "appId": job.app_id,
        "executionSystem": job.system,
        "batchQueue": job.queue,
        "nodeCount": job.nodes,
        "processorsPerNode": job.processors,
        "memoryPerNode": None if job.memory is None else gigabytes(job.memory),
        "maxRunTime": None if job.time_limit is None else format_run_time(job.time_limit),
        "archive": job.archive,
        **({"archivePath": job.archive_path, "archiveSystem": job.archive_system} if job.archive else {}),
        "retries": max(job.attempt - 1, 0),
        "localId": job.local_id,
        "outputPath": job.outputs,
        "archived": moment(job.archived),
        "purged": moment(job.purged),
        "status": job.status,
        "message": message,
        "submitTime": submitted,
        "startTime": started,
        "endTime": ended,
        "created": created,
        "lastUpdated": moment(job.updated),
        "inputs": job.inputs,
        "parameters": job.parameters,
        "visible": not job.hidden,
        # Aloe's names
        "accepted": created,
        "ended": ended,
        "lastStatusMessage": message,
        "maxHours": None if job.time_limit is None else job.time_limit / 3600,
        "remoteJobId": job.local_id,
        "remoteOutcome": _outcome(job),
        "remoteQueue": job.queue,
        "remoteStarted": started,
        "remoteSubmitted": submitted,
        "submitRetries": max(job.attempt - 1, 0),
        "systemId": job.system,
        "workPath": job.directory,
        # jobd's own
        "command": job.command,
        "directory": job.directory,
        "stdin": job.stdin,
        "umask": f"{job.umask:04o}",
        "gpus": job.gpus,
        "gpuIndices": job.gpu_indices,
        "priority": job.priority,
        "exitCode": job.exit_code,
        "signal": job.signal,
        "condition": job.condition,
        "evidence": job.evidence,
        "reason": job.reason,
        "usage": {"wall": job.wall, "cpu": job.cpu, "peakMemory": job.peak_memory},
        "killAsked": _asked(job.kill_asked, job.kill_asked_by),
        "deleteAsked": _asked(job.delete_asked, job.delete_asked_by),
        "attempt": job.attempt,
        "tag": job.tag,
        "appRevision": job.app_revision,
        "resubmitOf": job.resubmit_of,
        "migrated": job.migrated,
        "containment": job.details.get("containment"),
        "lastSeen": _last_seen(job, seen),
        "details": job.details,
        "_links": _links(job, base, settings, private_app),
    }


def _outcome(job: Job) -> str | None:
    if not job.over:
        return None
    return "FINISHED" if job.status is Status.FINISHED else "FAILED"


def _last_seen(job: Job, seen: float | None) -> str | None:
    """`seen`: when the job's system last said anything, which says nothing of a job that it has not got."""
    return moment(job.ended) if job.over else moment(seen) if job.local_id else None


def _asked(at: float | None, by: str | None) -> Json | None:
    return None if at is None else {"at": moment(at), "by": by}


def _links(job: Job, base: str, settings: Settings, private_app: bool) -> Json:
    """Only what answers: a system that is not configured any more has no page."""
    href = job_href(base, job.id)
    links = {
        "self": link(href),
        "archiveData": link(f"{href}/outputs/listings"),
        "owner": link(f"{base}/profiles/v2/{quote(job.owner)}"),
        "history": link(f"{href}/history"),
        "metadata": link(f"{base}/meta/v2/data?q={_about(job.id)}"),
        "notifications": link(f"{base}/notifications/v2?associatedUuid={job.id}"),
        "permissions": link(f"{href}/pems"),
    }
    if not private_app:
        links["app"] = link(_app_href(base, job))
    if settings.system(job.system):
        links["executionSystem"] = link(system_href(base, job.system))
    return links


def _about(job_id: str) -> str:
    """The query for what is noted down about a job."""
    return quote(json.dumps({"associationIds": job_id}))


def status(job: Job, base: str) -> Json:
    return {"id": job.id, "status": job.status, "_links": _self(job_href(base, job.id))}


def why(job: Job, words: str, seen: float | None, base: str) -> Json:
    return {
        "id": job.id,
        "status": job.status,
        "why": words,
        "reason": job.reason,
        "condition": job.condition,
        "evidence": job.evidence,
        "exitCode": job.exit_code,
        "signal": job.signal,
        "lastSeen": _last_seen(job, seen),
        "_links": _self(job_href(base, job.id)),
    }


def event(one: Event) -> Json:
    return {
        "status": one.status,
        "created": moment(one.created),
        "createdBy": one.created_by,
        "description": one.description,
    }


def purge(job: Job, due: float | None, base: str) -> Json:
    """`due`: when its files will be removed."""
    return {
        "id": job.id,
        "name": job.name,
        "owner": job.owner,
        "deleted": moment(job.updated),
        "due": moment(due),
        "directories": job.directories,
        "_links": _self(job_href(base, job.id)),
    }


def notification(one: Notification, base: str) -> Json:
    wanted, told = one.wanted, one.told
    return {
        "id": one.id,
        "associatedUuid": one.job_id,
        "owner": one.owner,
        "event": wanted.event,
        "url": wanted.url,
        "command": wanted.command or None,
        "persistent": wanted.persistent,
        "policy": wanted.policy,
        "body": wanted.body,
        "digest": wanted.digest,
        "status": _state(one),
        "attempts": told.tries,
        "responseCode": told.code,
        "lastSent": moment(told.last_try),
        "success": None if told.outcome is None else told.outcome == DELIVERED,
        "created": moment(one.created),
        "lastUpdated": moment(one.updated),
        "_links": {
            **_self(href := f"{base}/notifications/v2/{one.id}"),
            "job": link(job_href(base, one.job_id)),
            "attempts": link(f"{href}/attempts"),
        },
    }


def _state(one: Notification) -> str:
    """ACTIVE as long as something may come of it; then how that ended."""
    told = one.told
    if told.open or one.wanted.persistent or told.fired is None:
        return "ACTIVE"
    return "FAILED" if told.outcome == FAILED else "COMPLETE"


def attempt(one: Attempt, base: str) -> Json:
    return {
        "id": f"{one.delivery_id}-{one.number}",
        "deliveryId": one.delivery_id,
        "event": one.event,
        "attempt": one.number,
        "startTime": moment(one.began),
        "endTime": moment(one.ended),
        "success": bool(one.delivered),
        "responseCode": one.code,
        "message": one.words,
        "_links": {"delivery": link(f"{base}/deliveries/v2/{one.delivery_id}")},
    }


def delivery(one: Delivery, base: str) -> Json:
    return {
        "id": one.id,
        "notificationId": one.notification_id,
        "associatedUuid": one.job_id,
        "owner": one.owner,
        "event": one.event,
        "url": one.url,
        "status": one.state,
        "attempts": one.tries,
        "lastSent": moment(one.last_try),
        "responseCode": one.code,
        "message": one.words,
        "due": moment(one.due),
        "created": moment(one.created),
        "_links": {
            **_self(f"{base}/deliveries/v2/{one.id}"),
            "notification": link(f"{base}/notifications/v2/{one.notification_id}"),
            "job": link(job_href(base, one.job_id)),
        },
    }


def rehearsal(test: Rehearsal) -> Json:
    return {
        "deliveryId": test.delivery_id,
        "success": test.delivered,
        "responseCode": test.code,
        "message": test.words,
        "seconds": round(test.seconds, 3),
    }


def note(one: Note, base: str) -> Json:
    return {
        "uuid": one.id,
        "owner": one.owner,
        "associationIds": [one.job_id],
        "name": one.name,
        "value": one.value,
        "created": moment(one.created),
        "lastUpdated": moment(one.updated),
        "_links": {**_self(f"{base}/meta/v2/data/{one.id}"), "job": link(job_href(base, one.job_id))},
    }


def pem(one: Pem, job_id: str, base: str) -> Json:
    job, name = job_href(base, job_id), one.grantee
    links = {"parent": link(job)}
    if one.right is not Right.NONE:
        links["self"] = link(f"{job}/pems/{quote(name, safe='')}")
    if not name.startswith("@"):
        links["profile"] = link(f"{base}/profiles/v2/{quote(name)}")
    return {
        "username": name,
        "permission": {"read": one.right >= Right.READ, "write": one.right is Right.WRITE},
        "_links": links,
    }


def diff(found: Diff, base: str) -> Json:
    return {
        **_pair(found.jobs, base),
        "same": found.same,
        "differences": [
            {
                "group": one.group,
                "name": _readable(one.name),
                "first": one.first,
                "second": one.second,
                "counts": one.counts,
                "withheld": one.withheld,
            }
            for one in found.differences
        ],
        "omitted": found.omitted,
        "compared": found.compared,
        "missing": found.missing,
    }


def verification(found: Verification, base: str) -> Json:
    return {
        **_pair(found.jobs, base),
        "verified": found.verified,
        "files": [
            {
                "name": _readable(one.name),
                "verdict": one.verdict,
                "first": one.first and {"size": one.first.size, "sha256": one.first.sha256},
                "second": one.second and {"size": one.second.size, "sha256": one.second.sha256},
            }
            for one in found.files
        ],
        "problems": found.problems,
        "compared": found.compared,
    }


def _pair(jobs: tuple[Job, Job], base: str) -> Json:
    first, second = (job_href(base, job.id) for job in jobs)
    return {"jobs": [job.id for job in jobs], "_links": {"first": link(first), "second": link(second)}}


def media_type(name: str) -> str:
    return mimetypes.guess_type(name, strict=False)[0] or "application/octet-stream"


def file(entry: Entry, above: str, job_id: str, system: str, base: str) -> Json:
    """An entry of a listing. `above`: the directory that was listed, relative to the job's own."""
    path = f"{above.strip('/')}/{entry.name}".lstrip("/")
    folder = entry.kind == "dir"
    way = "listings" if folder else "media"
    return {
        "name": _readable(entry.name),
        "path": _readable(f"/{path}"),
        "type": entry.kind,
        "length": entry.size,
        "lastModified": moment(entry.modified),
        "permissions": _permissions(entry.mode),
        "mimeType": "text/directory" if folder else media_type(entry.name),
        "format": "folder" if folder else "raw",
        "system": system,
        "_links": _self(f"{job_href(base, job_id)}/outputs/{way}/{_path(path)}"),
    }


def _readable(name: str) -> str:
    """A name that is not UTF-8 is shown with marks in it; its link has the true one."""
    return os.fsencode(name).decode(errors="replace")


def _permissions(mode: int) -> str:
    words = [word for bit, word in ((0o400, "READ"), (0o200, "WRITE"), (0o100, "EXECUTE")) if mode & bit]
    return "ALL" if len(words) == 3 else "_".join(words) or "NONE"


def plan(plan: Plan) -> Json:
    """What a resubmission would come to."""
    refusal = plan.refusal()
    return {
        "wouldAnswer": refusal.code if refusal else 202,
        "message": str(refusal) if refusal else None,
        "errors": [fault.as_dict() for fault in plan.faults],
        "conflicts": [plan.described(one) for one in plan.conflicts],
        "deferred": list(plan.deferred),
        "appRevision": plan.revision,
        "request": plan.request,
        "inputs": plan.job.inputs if plan.job else None,
        "parameters": plan.job.parameters if plan.job else None,
        "command": plan.job.command if plan.job else None,
    }


def app_summary(one: Chosen, base: str) -> Json:
    app = one.app
    return {
        "id": app.id,
        "name": app.name,
        "version": app.version,
        "revision": one.revision.revision,
        "label": app.label,
        "shortDescription": app.short_description,
        "executionSystem": next(iter(app.execution_systems), None),
        "isPublic": one.revision.owner == MACHINE,
        "available": app.available,
        "lastModified": moment(one.revision.created),
        "_links": _self(app_href(base, app.id)),
    }


def app(one: Chosen, base: str) -> Json:
    app = one.app
    memory, run_time = app.default_memory_per_node, app.default_max_run_time
    return {
        **app_summary(one, base),
        "longDescription": app.long_description,
        "helpURI": app.help_uri,
        "tags": app.tags,
        "owner": one.revision.owner or None,
        "digest": one.revision.digest,
        "executionType": app.execution_type,
        "parallelism": app.parallelism,
        "executionSystems": app.execution_systems,
        "command": app.command or None,
        "templatePath": app.template_path,
        "deploymentPath": app.deployment_path,
        "defaultQueue": app.default_queue,
        "defaultNodeCount": app.default_node_count,
        "defaultProcessorsPerNode": app.default_processors_per_node,
        "defaultMemoryPerNode": memory and gigabytes(memory),
        "defaultMaxRunTime": run_time and format_run_time(run_time),
        "archive": app.archive,
        "inputs": [_declared(field) for field in app.in_order(app.inputs)],
        "parameters": [_declared(field) for field in app.in_order(app.parameters)],
    }


def _declared(declared: Declared) -> Json:
    """With what was left out made plain."""
    said: Json = declared.model_dump(mode="json", by_alias=True)
    said["value"]["default"] = single(declared, declared.default) if declared.default else None
    if "enumValues" in said["value"]:
        choices = said["value"]["enumValues"].items()
        said["value"]["enumValues"] = [{word: label} for word, label in choices]
    said["semantics"]["minCardinality"] = declared.least
    return said


def system_summary(
    system: System, settings: Settings, trouble: str, base: str, drains: Collection[Drain] = ()
) -> Json:
    """`drains`: those that are in force anywhere."""
    drained = _drained(drains, system.id, "")
    return {
        "id": system.id,
        "name": system.id,
        "type": "EXECUTION",
        "description": system.description,
        "status": "DOWN" if trouble else "MAINTENANCE" if drained else "UP",
        "drained": drained,
        "public": True,
        "default": system.id == settings.default_system,
        "_links": _self(system_href(base, system.id)),
    }


_SCHEDULERS: Mapping[str, str] = {"local": "FORK", "slurm": "SLURM", "pbs": "PBS"}


def system(
    system: System,
    settings: Settings,
    trouble: str,
    seen: float | None,
    base: str,
    drains: Collection[Drain] = (),
) -> Json:
    slots, summary = system.slots, system_summary(system, settings, trouble, base, drains)
    return {
        **summary,
        "executionType": "CLI" if system.backend == "local" else "HPC",
        "scheduler": _SCHEDULERS.get(system.backend, "CUSTOM"),
        "backend": system.backend,
        "available": summary["status"] == "UP",
        "trouble": trouble or None,
        "lastAnswer": moment(seen),
        "workDir": system.work_dir,
        "slots": slots
        and {
            "processors": slots.processors,
            "memory": gigabytes(slots.memory),
            "gpus": len(slots.gpus),
            "gpuIndices": slots.gpus,
        },
        "queues": [queue(one, system.id, drains) for one in system.queues],
    }


def _drained(drains: Collection[Drain], system: str, queue: str) -> Json | None:
    found = next((one for one in drains if (one.system, one.queue) == (system, queue)), None)
    return (
        None if found is None else {"at": moment(found.began), "by": found.began_by, "reason": found.reason}
    )


def drain(one: Drain) -> Json:
    return {
        "system": one.system,
        "queue": one.queue or None,
        "reason": one.reason,
        "began": moment(one.began),
        "beganBy": one.began_by,
        "ended": moment(one.ended),
        "endedBy": one.ended_by,
    }


def queue(one: Queue, system: str, drains: Collection[Drain] = ()) -> Json:
    return {
        "name": one.name,
        "mappedName": one.mapped_name,
        "description": one.description,
        "default": one.default,
        "drained": _drained(drains, system, one.name),
        "maxJobs": _limit(one.max_jobs),
        "maxUserJobs": _limit(one.max_user_jobs),
        "maxNodes": _limit(one.max_nodes),
        "maxProcessorsPerNode": _limit(one.max_processors_per_node),
        "maxMemoryPerNode": -1 if one.max_memory_per_node is None else gigabytes(one.max_memory_per_node),
        "maxRequestedTime": -1 if one.max_requested_time is None else format_run_time(one.max_requested_time),
        "defaultProcessorsPerNode": one.default_processors_per_node,
        "defaultMemoryPerNode": one.default_memory_per_node and gigabytes(one.default_memory_per_node),
        "defaultMaxRunTime": one.default_max_run_time and format_run_time(one.default_max_run_time),
        "priority": one.priority,
        "customDirectives": one.custom_directives,
    }


def _limit(value: int | None) -> int:
    return -1 if value is None else value


def profile(name: str, uid: int, full_name: str, admin: bool | None, base: str) -> Json:
    return {
        "username": name,
        "uid": uid,
        "fullName": full_name,
        "admin": admin,
        "_links": _self(f"{base}/profiles/v2/{quote(name)}"),
    }
