"""What changes a job: in the body of POST /jobs/v2/{id}, or as a path of its own; DELETE is `delete`.

    kill stop cancel | delete hide | restore unhide undelete | resubmit | hold | release | resolve

An action's fields may come in the body or in the query string. A field that an action does not know is
refused: one that was meant to make a resubmission strict must not be lost by a slip of the pen.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from jobd.api import present
from jobd.api.call import Call, Handler
from jobd.api.envelope import Answer, flag
from jobd.api.jobs import as_object, whole
from jobd.errors import Fault, Invalid
from jobd.verbs import delete, hold, kill, resolve, resubmit

Fields = Mapping[str, Any]

_LOCAL_ID = re.compile(r"[!-~]{1,255}")
_SHAPING = frozenset({"naked", "pretty", "filter"})

FLAGS = {
    "ignoreInputConflicts": "ignore_input_conflicts",
    "ignoreParameterConflicts": "ignore_parameter_conflicts",
    "preserveNotifications": "preserve_notifications",
}
"""Of resubmit; true when absent."""
VALUES = ("inputs", "parameters")
"""Of resubmit; what is to be another one than the original's."""
DRY_RUN = "dryRun"


async def _kill(call: Call, fields: Fields) -> Answer:
    job, over = await call.api.unless_closing(kill.kill(call.desk, call.caller, call.id))
    if over:
        return Answer(whole(call, job))
    words = "asked for; it is not over yet: wait for it, or look again"
    return Answer(whole(call, job), 202, words)


async def _delete(call: Call, fields: Fields) -> Answer:
    job, hidden = await call.api.unless_closing(delete.delete(call.desk, call.caller, call.id))
    if hidden:
        return Answer(whole(call, job))
    words = "asked for; it is killed first, and deleted as soon as it is over"
    return Answer(whole(call, job), 202, words)


async def _restore(call: Call, fields: Fields) -> Answer:
    return Answer(whole(call, await delete.restore(call.desk, call.caller, call.id)))


async def _resubmit(call: Call, fields: Fields) -> Answer:
    wish = _wish(fields)
    if flag(fields.get(DRY_RUN, False), DRY_RUN):
        return Answer(present.plan(await resubmit.plan(call.desk, call.caller, call.id, wish)))
    key = call.key("resubmit", call.id, fields)
    return Answer(whole(call, await resubmit.resubmit(call.desk, call.caller, call.id, wish, key)), 202)


def _wish(fields: Fields) -> resubmit.Wish:
    flags = {FLAGS[name]: flag(value, name) for name, value in fields.items() if name in FLAGS}
    values = {name: fields.get(name) or {} for name in VALUES}
    for name, value in values.items():
        if not isinstance(value, dict):
            raise Invalid(Fault(name, f"{value!r:.100} is not right", "an object: field and value"))
    return resubmit.Wish(resubmit.Flags(**flags), **values)


async def resubmit_request(call: Call) -> Answer:
    return Answer(await resubmit.request_of(call.desk, call.caller, call.id))


async def _hold(call: Call, fields: Fields) -> Answer:
    return Answer(whole(call, await hold.hold(call.desk, call.caller, call.id)))


async def _release(call: Call, fields: Fields) -> Answer:
    return Answer(whole(call, await hold.release(call.desk, call.caller, call.id)))


async def _resolve(call: Call, fields: Fields) -> Answer:
    local_id = fields.get("localId")
    if local_id is not None and not (isinstance(local_id, str) and _LOCAL_ID.fullmatch(local_id)):
        raise Invalid(
            Fault(
                "localId",
                f"{local_id!r:.100} is not right",
                "the system's id of the job, a text without spaces",
            )
        )
    never = flag(fields.get("neverSubmitted", False), "neverSubmitted")
    job = await resolve.resolve(call.desk, call.caller, call.id, local_id, never)
    return Answer(whole(call, job))


_Act = Callable[[Call, Fields], Awaitable[Answer]]

ACTIONS: Mapping[str, tuple[_Act, frozenset[str]]] = {
    "kill": (_kill, frozenset()),
    "stop": (_kill, frozenset()),
    "cancel": (_kill, frozenset()),
    "delete": (_delete, frozenset()),
    "hide": (_delete, frozenset()),
    "restore": (_restore, frozenset()),
    "unhide": (_restore, frozenset()),
    "undelete": (_restore, frozenset()),
    "resubmit": (_resubmit, frozenset({*FLAGS, *VALUES, DRY_RUN})),
    "hold": (_hold, frozenset()),
    "release": (_release, frozenset()),
    "resolve": (_resolve, frozenset({"localId", "neverSubmitted"})),
}
"""Each word, what it does, and the fields that it knows."""


async def act(call: Call) -> Answer:
    """The action that the body names."""
    fields = await _fields(call)
    word = fields.pop("action", None)
    if word is None:
        raise Invalid(Fault("action", "this is missing", _one_of()))
    if not isinstance(word, str) or word.strip().lower() not in ACTIONS:
        raise Invalid(Fault("action", f"there is no action {word!r:.100}", _one_of()))
    return await _do(call, word.strip().lower(), fields)


def action(word: str) -> Handler:
    """The handler of an action's own path."""

    async def handler(call: Call) -> Answer:
        return await _do(call, word, await _fields(call))

    return handler


async def delete_job(call: Call) -> Answer:
    return await _delete(call, {})


async def _do(call: Call, word: str, fields: Fields) -> Answer:
    do, known = ACTIONS[word]
    faults = [
        Fault(name[:100], "there is no such field", _near(name, known))
        for name in fields
        if name not in known
    ]
    if faults:
        raise Invalid(*faults)
    return await do(call, fields)


async def _fields(call: Call) -> dict[str, Any]:
    fields = as_object(await call.body())
    asked = {name: value for name, value in call.query.items() if name not in _SHAPING}
    if twice := fields.keys() & asked.keys():
        raise Invalid(
            *(Fault(name, "it is in the body and in the query", "one of the two") for name in twice)
        )
    return {**fields, **asked}


def _near(name: str, known: frozenset[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"{close[0]}?" if close else f"one of {', '.join(sorted(known))}" if known else "no fields"


def _one_of() -> str:
    return f"one of {', '.join(ACTIONS)}"
