"""All routes, in one table: the server (app.py) and the OpenAPI document (openapi.py) are both made from it.

A slash at the end of a path is optional. `{path}` at the end of one stands for the rest, slashes and all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobd.api import (
    actions,
    apps,
    compare,
    jobs,
    metrics,
    misc,
    notes,
    notifications,
    outputs,
    pems,
    purges,
    systems,
    wire,
)
from jobd.api.call import MOST_ROWS, Handler
from jobd.status import KNOWN_WORDS
from jobd.store import search
from jobd.store.deliveries import STATES
from jobd.verbs.notification import EVENTS
from jobd.verbs.share import WORDS


@dataclass(frozen=True)
class Parameter:
    """In the query string, or a header."""

    name: str
    schema: Mapping[str, Any]
    description: str = ""
    place: str = "query"


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    handler: Handler
    summary: str
    result: type[wire.Wire] | None = None
    """The model of the result; of each item if `many`."""
    many: bool = False
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, Any] | None = None
    """The schema of the body; a reference to a model by its name."""
    body_required: bool = False
    codes: Mapping[int, str] = field(default_factory=lambda: {200: "what was asked for"})
    """Of success."""
    stream: str = ""
    """The media type of an answer that is not in the envelope."""
    open: bool = False
    """For everybody who can connect, not only for those whom the daemon serves."""
    also: type[wire.Wire] | None = None
    """Another model that the result can have."""


def _whole_number(least: int | None = 0, most: int | None = None) -> dict[str, Any]:
    limits = {"minimum": least, "maximum": most}
    return {"type": "integer", **{name: limit for name, limit in limits.items() if limit is not None}}


RUN_TIME = r"^[0-9]{1,4}:[0-5][0-9]:[0-5][0-9]$"
_TRUTH = {"type": "boolean"}
_KEY = Parameter(
    "Idempotency-Key",
    {"type": "string", "maxLength": 255},
    "The same key and body give the same answer again, the same key and another body 409.",
    "header",
)
_PAGE = (
    Parameter("limit", {**_whole_number(0), "default": MOST_ROWS}, f"rows; at most {MOST_ROWS}"),
    Parameter("offset", {**_whole_number(0, 10**15), "default": 0}, "rows to leave out first"),
)
_ORDER = Parameter("order", {"type": "string", "enum": ["asc", "desc"]})
_KINDS: tuple[tuple[search.Kind, Mapping[str, Any]], ...] = (
    (search.TEXT, {"type": "string"}),
    (search.NUMBER, {"type": "integer"}),
    (search.DATE, {"type": "string", "format": "date-time"}),
    (search.CLOCK, {"type": "string", "pattern": RUN_TIME}),
    (search.MEMORY, {"type": "integer", "minimum": 0, "maximum": 10**10}),
    (search.FLAG, _TRUTH),
    (search.TAG, {"type": "string"}),
    (search.STATUS, {"type": "string", "enum": sorted(KNOWN_WORDS)}),
)


def _searched(name: str, kind: search.Kind) -> Parameter:
    schema = next(schema for known, schema in _KINDS if known is kind)
    operators = " ".join(sorted(kind.operators))
    return Parameter(name, schema, f"{kind.expected}; with a comparison as {name}.OP: {operators}")


_SEARCH = tuple(_searched(name, field.kind) for name, field in search.FIELDS.items())
_LISTING = (
    *_PAGE,
    Parameter("orderBy", {"type": "string", "enum": list(search.FIELDS)}, "the last change first, if absent"),
    _ORDER,
    *_SEARCH,
)

_TRUTH_IN_WORDS = {"enum": [True, False, "true", "false", 1, 0, "1", "0"]}
_FIELDS_OF: Mapping[str, Mapping[str, Any]] = {
    "resubmit": {
        **{name: _TRUTH_IN_WORDS for name in (*actions.FLAGS, actions.DRY_RUN)},
        **{name: {"type": "object"} for name in actions.VALUES},
    },
    "resolve": {
        "localId": {"type": "string", "pattern": "^[!-~]{1,255}$"},
        "neverSubmitted": _TRUTH_IN_WORDS,
    },
}


def _object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


_ACTION = {
    "anyOf": [
        _object({"action": {"enum": list(actions.ACTIONS)}}, "action"),
        *(_object({"action": {"const": word}, **fields}, "action") for word, fields in _FIELDS_OF.items()),
    ]
}
_REQUEST = {"$ref": "#/components/schemas/JobRequest"}
_SUBMISSION = {"anyOf": [_REQUEST, {"type": "array", "items": _REQUEST, "minItems": 1}]}

_DONE = {200: "done"}
_OVER = {200: "it is over", 202: "asked for, and on record; it is not over yet"}
_NEW = {200: "what would happen, for a dry run", 202: "the new job"}
_SAID: Mapping[str, tuple[str, Mapping[int, str]]] = {
    "kill": ("End a job and all its processes", _OVER),
    "stop": ("The same as kill", _OVER),
    "cancel": ("The same as kill", _OVER),
    "delete": ("Hide a job, after killing it if need be", _OVER),
    "hide": ("The same as delete", _OVER),
    "restore": ("Bring a hidden job back", _DONE),
    "unhide": ("The same as restore", _DONE),
    "undelete": ("The same as restore", _DONE),
    "resubmit": ("A new job of the same request", _NEW),
    "hold": ("Keep a job from starting", _DONE),
    "release": ("Let a held job go on", _DONE),
    "resolve": ("Say what only a person can find out of a job whose hand-over is in doubt", _DONE),
}


def _action(word: str) -> Route:
    summary, codes = _SAID[word]
    keys = (_KEY,) if word == "resubmit" else ()
    body = _object(_FIELDS_OF.get(word, {}))
    also = wire.Plan if word == "resubmit" else None
    path, handler = f"{_JOB}/{word}", actions.action(word)
    return Route("POST", path, handler, summary, wire.Job, False, keys, body, codes=codes, also=also)


_JOBS = "/jobs/v2"
_JOB = "/jobs/v2/{id}"
_SYSTEM = "/systems/v2/{id}"
_DRAINED = {_SYSTEM: "on a system", f"{_SYSTEM}/queues/{{queue}}": "from a queue"}
_REASON = _object(
    {"reason": {"type": "string", "pattern": r"^[ -~]*[!-~][ -~]*$", "maxLength": 500}}, "reason"
)
_FOLLOW = Parameter("follow", _TRUTH, "until the job's end")
_OFFSET = Parameter("offset", _whole_number(None), "bytes from the start, or from the end if negative")
_SECONDS = Parameter("timeout", {"type": "number", "minimum": 0}, "seconds; at most 300")
_DEFAULT = Parameter("default", _TRUTH, "only the default one, or only the others")
_APP_ID = Parameter("id", {"type": "string"}, "* stands for anything")
_REVISION = Parameter("revision", _whole_number(1, 10**9), "the one that a job ran with; today's, if absent")
_DRY_RUN = Parameter("dryRun", _TRUTH, "only look whether it would be taken")
_ANY_ACTION = {**_OVER, **_NEW}

_COMPARISON = _object(
    {
        "against": {"type": "string"},
        "ignore": {
            "type": "array",
            "maxItems": 100,
            "items": {"type": "string", "maxLength": 200},
            "description": "patterns of files that are left out",
        },
    },
    "against",
)

_NOTIFICATIONS = "/notifications/v2"
_OF_OWNER = Parameter("owner", {"type": "string"}, "for administrators: this person's, or * (of all jobs)")
_OF_JOB = Parameter("associatedUuid", {"type": "string"}, "of this job only")
_PAUSE = _whole_number(0, 86400)
WISH: Mapping[str, Any] = {
    "event": {"enum": sorted(EVENTS)},
    "url": {"type": ["string", "null"], "maxLength": 2048, "description": "http(s) or mailto"},
    "command": {
        "type": ["array", "null"],
        "minItems": 1,
        "items": {"type": "string", "pattern": r"^[^\u0000]*$"},
        "description": "instead of a URL; runs as the owner",
    },
    "persistent": {"type": "boolean", "default": False, "description": "every time; else once"},
    "policy": _object(
        {
            "retryStrategy": {"enum": ["NONE", "IMMEDIATE", "DELAYED", "EXPONENTIAL"]},
            "retryLimit": _whole_number(0, 1440),
            "retryRate": _PAUSE,
            "retryDelay": _PAUSE,
            "saveOnFailure": {"type": "boolean"},
        }
    ),
    "body": {
        "anyOf": [{"type": "null"}, {"type": "string"}, {"type": "object"}, {"type": "array", "items": {}}],
        "description": "what is said in place of the usual, with macros",
    },
    "digest": {
        "type": ["number", "string", "null"],
        "description": "seconds, or 10m, for which a mail gathers news of all jobs of one name",
    },
}
_WISH: Mapping[str, Any] = {"associatedUuid": {"type": "string"}, **WISH}
_ONE = _object(_WISH, "associatedUuid", "event")
_DELIVERIES = "/deliveries/v2"
_STATE = Parameter("status", {"type": "string", "enum": list(STATES)})
_SUBSCRIPTION = {"anyOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1}]}

_PEMS = f"{_JOB}/pems"
_PEM = f"{_PEMS}/{{username}}"
_GIVEN = {200: "taken away", 201: "given"}
_GRANTEE: Mapping[str, Any] = {"username": {"type": "string", "description": "or @ and a group's name"}}
_PERMISSION: Mapping[str, Any] = {"permission": {"enum": [*WORDS], "description": "WRITE includes READ"}}

_NOTES = "/meta/v2/data"
_QUERY = Parameter("q", {"type": "string"}, 'JSON: {"associationIds": "..-007"}; also by name, owner, uuid')
_NOTE: Mapping[str, Any] = {
    "associationIds": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1},
    "name": {"type": "string", "minLength": 1, "maxLength": 128},
    "value": {},
}

# The hot ones first: those with an {id} are tried one after the other.
ROUTES: tuple[Route, ...] = (
    Route("POST", _JOBS, jobs.submit_jobs, "Submit a job, or all of an array or none", wire.Job, False,
          (_KEY,), _SUBMISSION, True, {201: "on disk; an array for an array"}),
    Route("GET", _JOBS, jobs.list_jobs, "List and search one's own and those shared with one",
          wire.Summary, True, _LISTING),
    Route("GET", _JOB, jobs.details, "A job", wire.Job),
    Route("DELETE", _JOB, actions.delete_job, "Hide it, after killing it if need be", wire.Job, codes=_OVER),
    Route("POST", _JOB, actions.act, "Do something with a job", wire.Job, False, (_KEY,), _ACTION, True,
          _ANY_ACTION, also=wire.Plan),
    Route("GET", f"{_JOB}/status", jobs.status, "Its status alone", wire.JobStatus),
    Route("GET", f"{_JOB}/wait", jobs.wait_for, "The job, once it is over", wire.Job, False, (_SECONDS,)),
    Route("GET", f"{_JOB}/history", jobs.history, "What happened to it", wire.Event, True, (*_PAGE, _ORDER)),
    Route("GET", f"{_JOB}/why", jobs.why, "Why it waits, or how it ended", wire.Why),
    Route("GET", f"{_JOB}/resubmit_request", actions.resubmit_request, "What a resubmission starts from",
          wire.Resubmitted),
    Route("GET", f"{_JOB}/diff/{{other}}", compare.diff, "In what it differs from another", wire.Diff),
    Route("POST", f"{_JOB}/verify", compare.verify, "Does what it made agree with what another made?",
          wire.Verification, False, (), _COMPARISON, True),
    Route("GET", _PEMS, pems.listing, "With whom it is shared; its owner first", wire.Pem, True, _PAGE),
    Route("POST", _PEMS, pems.share, "Share it, or no longer", wire.Pem, False, (),
          _object({**_GRANTEE, **_PERMISSION}, *_GRANTEE, *_PERMISSION), True, _GIVEN),
    Route("DELETE", _PEMS, pems.unshare_all, "Share it with nobody any more", wire.Pem, True),
    Route("GET", _PEM, pems.details, "What that user or @group may do with it", wire.Pem),
    Route("POST", _PEM, pems.share_with, "Share it with them, or no longer", wire.Pem, False, (),
          _object({**_GRANTEE, **_PERMISSION}, *_PERMISSION), True, _GIVEN),
    Route("DELETE", _PEM, pems.unshare, "Share it with them no longer", wire.Pem),
    Route("GET", f"{_JOB}/logs/{{stream}}", outputs.log, "What it wrote to stdout or stderr", None, False,
          (_FOLLOW, _OFFSET), stream="text/plain"),
    Route("GET", f"{_JOB}/outputs/listings", outputs.listings, "The files it left", wire.File, True, _PAGE),
    Route("GET", f"{_JOB}/outputs/listings/{{path}}", outputs.listings, "One directory of them", wire.File,
          True, _PAGE),
    Route("GET", f"{_JOB}/outputs/media/{{path}}", outputs.media, "One file, or a range of it", None,
          codes={200: "the file", 206: "the range"}, stream="application/octet-stream"),
    *(_action(word) for word in actions.ACTIONS),
    Route("GET", "/apps/v2", apps.list_apps, "Apps that the caller can run", wire.AppSummary, True,
          (*_PAGE, _APP_ID)),
    Route("POST", "/apps/v2", apps.submit_app, "Bring an app of one's own into force", wire.App, False,
          (_DRY_RUN,), {"type": "object"}, True, {200: "what it would be", 201: "in force"}),
    Route("GET", "/apps/v2/{id}", apps.app, "An app", wire.App, False, (_REVISION,)),
    Route("DELETE", "/apps/v2/{id}", apps.withdraw_app, "Withdraw an app of one's own", wire.App),
    Route("GET", "/systems/v2", systems.list_systems, "Execution systems", wire.SystemSummary, True,
          (*_PAGE, _DEFAULT)),
    Route("GET", _SYSTEM, systems.system, "An execution system", wire.System),
    Route("GET", f"{_SYSTEM}/queues", systems.queues, "Its queues", wire.Queue, True, _PAGE),
    *(Route("POST", f"{at}/drain", systems.drain_it, f"Start no more jobs {where}", wire.System, body=_REASON,
            body_required=True) for at, where in _DRAINED.items()),
    *(Route("POST", f"{at}/resume", systems.resume, f"Start jobs {where} again", wire.System,
            body=_object({})) for at, where in _DRAINED.items()),
    Route("GET", f"{_SYSTEM}/drains", systems.drains, "What was drained there, by whom and why", wire.Drain,
          True, _PAGE),
    Route("GET", "/profiles/v2/{username}", systems.profile, "A person; `me` is the caller", wire.Profile),
    Route("GET", "/purges/v2", purges.list_purges, "Deleted jobs whose files will be removed, and when",
          wire.Purge, True, _PAGE),
    Route("GET", _NOTIFICATIONS, notifications.listing, "Whom you want told of what", wire.Notification, True,
          (*_PAGE, _OF_JOB, _OF_OWNER)),
    Route("POST", _NOTIFICATIONS, notifications.subscribe, "Ask to be told, or all of an array or none",
          wire.Notification, False, (_KEY,), _SUBSCRIPTION, True, {201: "on disk; an array for an array"}),
    Route("GET", f"{_NOTIFICATIONS}/key", notifications.key, "What webhooks for the caller are signed with",
          wire.Key),
    Route("POST", f"{_NOTIFICATIONS}/test", notifications.rehearse, "Tell of no job, at once",
          wire.Rehearsal, False, (), _object(WISH), True, {200: "what came of it"}),
    Route("GET", f"{_NOTIFICATIONS}/{{id}}", notifications.details, "A notification", wire.Notification),
    Route("POST", f"{_NOTIFICATIONS}/{{id}}", notifications.change, "Change it", wire.Notification, False, (),
          _object(_WISH)),
    Route("DELETE", f"{_NOTIFICATIONS}/{{id}}", notifications.unsubscribe, "Take it back", wire.Notification),
    Route("GET", f"{_NOTIFICATIONS}/{{id}}/attempts", notifications.attempts, "Every try to deliver it",
          wire.Attempt, True, _PAGE),
    Route("GET", _DELIVERIES, notifications.deliveries, "What is to be told, was, or could not be",
          wire.Delivery, True, (*_PAGE, _OF_JOB, _OF_OWNER, _STATE)),
    Route("GET", f"{_DELIVERIES}/{{id}}", notifications.delivery, "A delivery", wire.Delivery),
    Route("DELETE", f"{_DELIVERIES}/{{id}}", notifications.drop, "Try it no more, and forget it",
          wire.Delivery),
    Route("POST", f"{_DELIVERIES}/{{id}}/retry", notifications.retry, "Try it anew", wire.Delivery, False, (),
          _object({})),
    Route("GET", _NOTES, notes.listing, "Notes about jobs", wire.Note, True, (*_PAGE, _QUERY)),
    Route("POST", _NOTES, notes.add, "Note something down about a job", wire.Note, False, (),
          _object(_NOTE, *_NOTE), True, {201: "on disk"}),
    Route("GET", f"{_NOTES}/{{id}}", notes.details, "A note", wire.Note),
    Route("POST", f"{_NOTES}/{{id}}", notes.change, "Change it", wire.Note, False, (), _object(_NOTE)),
    Route("DELETE", f"{_NOTES}/{{id}}", notes.remove, "Remove it", wire.Note),
    Route("GET", "/events", jobs.events, "Changes of all jobs that the caller may see, as they happen", None,
          stream="application/x-ndjson"),
    Route("GET", "/healthz", misc.health, "Is it well?", wire.Health, open=True),
    Route("GET", "/doctor", misc.doctor, "What it stands on", wire.Doctor),
    Route("GET", "/metrics", metrics.metrics, "Figures, for Prometheus", None, stream="text/plain"),
    Route("GET", "/openapi.json", misc.openapi_document, "This document", None, stream="application/json",
          open=True),
)  # fmt: skip
