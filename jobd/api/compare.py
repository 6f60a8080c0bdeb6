"""Two jobs beside each other: in what they differ, and whether what they have made agrees."""

from __future__ import annotations

from jobd.api import present
from jobd.api.call import Call
from jobd.api.envelope import Answer
from jobd.api.jobs import as_object
from jobd.errors import Fault, Invalid
from jobd.verbs import diff as differing
from jobd.verbs import verify as verifying


async def diff(call: Call) -> Answer:
    other = call.request.match_info["other"]
    found = await call.api.unless_closing(differing.diff(call.desk, call.caller, call.id, other))
    return Answer(present.diff(found, call.base))


async def verify(call: Call) -> Answer:
    fields = as_object(await call.body())
    if unknown := fields.keys() - {"against", "ignore"}:
        raise Invalid(*(Fault(name[:100], "there is no such field", "against, ignore") for name in unknown))
    against, ignore = fields.get("against"), fields.get("ignore") or []
    if not isinstance(against, str):
        raise Invalid(Fault("against", "this is missing", "the id of the job that is to agree"))
    if not (isinstance(ignore, list) and all(isinstance(pattern, str) for pattern in ignore)):
        raise Invalid(Fault("ignore", "it is not right", 'a list of patterns, for example ["*.log"]'))
    work = verifying.verify(call.desk, call.caller, call.id, against, ignore)
    return Answer(present.verification(await call.api.unless_closing(work), call.base))
