"""With whom a job is shared. Agave's routes and fields; `@group` where it has users is jobd's own."""

from __future__ import annotations

from typing import Any

from jobd.api import present
from jobd.api.call import Call
from jobd.api.envelope import Answer
from jobd.api.jobs import as_object
from jobd.errors import Fault, Invalid
from jobd.store.pems import Right
from jobd.units import shown
from jobd.verbs import share as verbs

_EXPECTED = {"username": "a user's name, or @ and a group's", "permission": ", ".join(verbs.WORDS)}
"""The fields of a body, and what they hold."""


async def listing(call: Call) -> Answer:
    found = await verbs.listing(call.desk, call.caller, call.id, *call.page())
    return Answer([present.pem(one, call.id, call.base) for one in found])


async def details(call: Call) -> Answer:
    found = await verbs.details(call.desk, call.caller, call.id, _grantee(call))
    return Answer(present.pem(found, call.id, call.base))


async def share(call: Call) -> Answer:
    fields = await _fields(call)
    return await _shared(call, fields["username"], fields["permission"])


async def share_with(call: Call) -> Answer:
    """The grantee is in the path."""
    fields = await _fields(call, username=_grantee(call))
    return await _shared(call, fields["username"], fields["permission"])


async def _shared(call: Call, grantee: str, word: str) -> Answer:
    right = verbs.WORDS.get(word.strip().upper())
    if right is None:
        raise Invalid(Fault("permission", f"{shown(word)} is no permission", _EXPECTED["permission"]))
    made = await verbs.share(call.desk, call.caller, call.id, grantee, right)
    return Answer(present.pem(made, call.id, call.base), 200 if right is Right.NONE else 201)


async def unshare(call: Call) -> Answer:
    left = await verbs.unshare(call.desk, call.caller, call.id, _grantee(call))
    return Answer(present.pem(left, call.id, call.base))


async def unshare_all(call: Call) -> Answer:
    left = await verbs.unshare_all(call.desk, call.caller, call.id)
    return Answer([present.pem(one, call.id, call.base) for one in left])


def _grantee(call: Call) -> str:
    return call.request.match_info["username"]


async def _fields(call: Call, **said: str) -> dict[str, Any]:
    """Those of the body, with what the path has said already. Raises Invalid with every fault."""
    body = as_object(await call.body())
    fields = {**body, **said}
    faults = [
        Fault(name[:100], "there is no such field", " or ".join(_EXPECTED))
        for name in body.keys() - _EXPECTED
    ]
    faults += [
        Fault(name, f"it is {shown(body[name])} here and {shown(value)} in the path", "one of the two")
        for name, value in said.items()
        if body.get(name, value) != value
    ]
    for name, expected in _EXPECTED.items():
        if not isinstance(fields.get(name), str):
            faults.append(Fault(name, "it is no text" if name in fields else "this is missing", expected))
    if faults:
        raise Invalid(*faults)
    return fields
