"""What is said of an event: to a program in JSON, to a person in words, or in the words of whoever asked.

How much that is, whoever asked has a say in: a body of macros, for thousands of jobs. So there is a most.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from jobd import macros
from jobd.courier.courier import Message
from jobd.errors import Invalid
from jobd.status import Condition
from jobd.store.outbox import Due
from jobd.units import format_moment, format_run_time

_MOST = 256 * 1024
"""Characters of one message, with its address."""
_ROOM = 4096
"""Of these, for the address, and for what is said around a list."""
_FOR_PROGRAMS = ("http", "https")


def message(together: Sequence[Due], url: str, public_url: str, key: bytes) -> Message:
    """To that address, with its macros filled in. What is gathered has the id of its last part, so that it
    has another one when there is more of it. Raises Invalid when it is too long."""
    body, kind = _body(together, public_url, for_programs=urlsplit(url).scheme in _FOR_PROGRAMS)
    target = macros.in_url(url, values(together[0], public_url))
    _check_length(len(target) + len(body))
    return Message(together[-1].id, target, title(together), body, kind, key)


def for_command(delivery: Due, public_url: str) -> tuple[dict[str, str], bytes]:
    """Variables of its environment, and what it reads on standard input. Raises Invalid as above."""
    body, _ = _body([delivery], public_url, for_programs=True)
    _check_length(len(body))
    return values(delivery, public_url), body.encode(errors="replace")


def _check_length(length: int) -> None:
    if length > _MOST:
        raise Invalid(f"it would be {length} characters with its macros filled in (at most {_MOST})")


def title(together: Sequence[Due]) -> str:
    name = together[0].facts["name"]
    if len(together) == 1:
        return f"[jobd] {name}: {together[0].event}"
    counts = Counter(one.event for one in together)
    return f"[jobd] {name}: {', '.join(f'{number} {event}' for event, number in counts.items())}"


def values(delivery: Due, public_url: str) -> dict[str, str]:
    """What macros stand for."""
    facts = delivery.facts
    found = {
        "DELIVERY_ID": delivery.id,
        "EVENT": delivery.event,
        "JOB_APP": facts["app_id"],
        "JOB_ARCHIVE_PATH": facts["archive_path"],
        "JOB_CONDITION": facts["condition"],
        "JOB_END_TIME": _moment(facts["ended"]),
        "JOB_ERROR": _why(facts),
        "JOB_EXIT_CODE": facts["exit_code"],
        "JOB_ID": facts["id"],
        "JOB_LOCAL_ID": facts["local_id"],
        "JOB_NAME": facts["name"],
        "JOB_OWNER": facts["owner"],
        "JOB_START_TIME": _moment(facts["started"]),
        "JOB_STATUS": facts["status"],
        "JOB_SUBMIT_TIME": _moment(facts["created"]),
        "JOB_SYSTEM": facts["system"],
        "JOB_URL": _href(facts, public_url),
        "NOTIFICATION_ID": delivery.notification_id,
        "OWNER": delivery.owner,
    }
    return {name: "" if value is None else str(value) for name, value in found.items()}


def _body(together: Sequence[Due], public_url: str, *, for_programs: bool) -> tuple[str, str]:
    template = together[0].wanted.body
    if template is None and for_programs:
        return json.dumps(_usual(together[0], public_url)), "application/json"
    if template is None:
        return _words(together, public_url), "text/plain"
    filled = (macros.in_value(template, values(one, public_url)) for one in together)
    if isinstance(template, str):
        return "\n".join(_as_many_as_fit(filled, len(together))), "text/plain"
    return json.dumps(next(filled)), "application/json"


def _as_many_as_fit(parts: Iterable[str], number: int) -> list[str]:
    """Of so many; of the others, how many they are. The first in any case."""
    fit: list[str] = []
    left = _MOST - _ROOM
    for part in parts:
        left -= len(part) + 1
        if left < 0 and fit:
            return [*fit, f".. and {number - len(fit)} more"]
        fit.append(part)
    return fit


def _usual(delivery: Due, public_url: str) -> dict[str, Any]:
    facts = delivery.facts
    return {
        "id": delivery.id,
        "event": delivery.event,
        "timestamp": _moment(delivery.created),
        "notificationId": delivery.notification_id,
        "owner": delivery.owner,
        "job": {
            "id": facts["id"],
            "name": facts["name"],
            "owner": facts["owner"],
            "status": facts["status"],
            "condition": facts["condition"],
            "exitCode": facts["exit_code"],
            "signal": facts["signal"],
            "message": facts["reason"] or None,
            "appId": facts["app_id"],
            "executionSystem": facts["system"],
            "batchQueue": facts["queue"],
            "localId": facts["local_id"],
            "created": _moment(facts["created"]),
            "startTime": _moment(facts["started"]),
            "endTime": _moment(facts["ended"]),
            "archivePath": facts["archive_path"] or None,
            "_links": {"self": {"href": _href(facts, public_url)}},
        },
    }


def _words(together: Sequence[Due], public_url: str) -> str:
    if len(together) == 1:
        return _words_of_one(together[0], public_url)
    lines = _as_many_as_fit(map(_line, together), len(together))
    return "\n".join([f"What has happened to jobs called {together[0].facts['name']}:", "", *lines, ""])


def _line(delivery: Due) -> str:
    facts = delivery.facts
    words = f"{format_moment(delivery.created)}  {delivery.event:<10} {facts['id']}"
    return f"{words}  {_why(facts)}".rstrip()


def _why(facts: Mapping[str, Any]) -> str:
    """Why it waits or how it ended. (Of a program that ended by itself there is no reason on record.)"""
    condition = facts["condition"]
    if facts["reason"] or condition in (None, Condition.NORMAL):
        return str(facts["reason"])
    if condition == Condition.SIGNAL:
        return f"ended by signal {facts['signal']}"
    if condition == Condition.EXIT_CODE:
        return f"exit code {facts['exit_code']}"
    return str(condition).replace("_", " ").lower()


def _words_of_one(delivery: Due, public_url: str) -> str:
    facts = delivery.facts
    rows = {
        "job": facts["id"],
        "name": facts["name"],
        "owner": facts["owner"],
        "status": facts["status"],
        "condition": facts["condition"],
        "message": facts["reason"],
        "exit code": facts["exit_code"],
        "system": f"{facts['system']}, queue {facts['queue']}",
        "started": facts["started"] and format_moment(facts["started"]),
        "ended": facts["ended"] and format_moment(facts["ended"]),
        "ran for": _ran_for(facts),
        "archive": facts["archive_path"],
        "address": _href(facts, public_url),
    }
    lines = [f"{name:<10} {value}" for name, value in rows.items() if value not in (None, "")]
    return "\n".join([f"{facts['name']}: {delivery.event}", "", *lines, ""])


def _ran_for(facts: Mapping[str, Any]) -> str | None:
    began, ended = facts["started"], facts["ended"]
    return format_run_time(max(0.0, ended - began)) if began and ended else None


def _href(facts: Mapping[str, Any], public_url: str) -> str:
    return f"{public_url.rstrip('/')}/jobs/v2/{facts['id']}"


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at).astimezone().isoformat(timespec="milliseconds")
