"""Share: who besides its owner may see a job (READ), or do with it what its owner may (WRITE, which includes
READ: whoever may resubmit it sees all of it in the copy). Users, and groups as `@group`. Its history says who
gave and took what.
"""

from __future__ import annotations

import asyncio

from jobd.errors import Fault, Invalid, NotFound
from jobd.people import group_id, group_name, person, user_name
from jobd.store import moves, pems, queries
from jobd.store.job import Job
from jobd.store.pems import Pem, Right
from jobd.store.writer import Transaction
from jobd.units import shown
from jobd.verbs.desk import Caller, Desk, check_writable, find, find_writable

WORDS = {
    "READ": Right.READ,
    "WRITE": Right.WRITE,
    "READ_WRITE": Right.WRITE,
    "ALL": Right.WRITE,
    "NONE": Right.NONE,
}
"""How rights are called in requests."""


async def listing(desk: Desk, caller: Caller, job_id: str, limit: int, offset: int) -> list[Pem]:
    """The owner's first, the others' by name."""
    job = await find(desk, caller, job_id)
    return (await _all(desk, job))[offset : offset + limit]


async def details(desk: Desk, caller: Caller, job_id: str, grantee: str) -> Pem:
    """Raises NotFound when nothing was given to that very user or group."""
    job = await find(desk, caller, job_id)
    for pem in await _all(desk, job):
        if pem.grantee == grantee:
            return pem
    raise NotFound(f"job {job_id} is not shared with {grantee}")


async def share(desk: Desk, caller: Caller, job_id: str, grantee: str, right: Right) -> Pem:
    """They have that right from now on, more or less than before; NONE: none. Raises NotFound, also when
    there is no such user or group, Forbidden, Invalid for the owner."""
    job = await find_writable(desk, caller, job_id)
    had = {pem.grantee for pem in await _all(desk, job)}
    if grantee != job.owner and not (
        right is Right.NONE and grantee in had
    ):  # who has left can be struck off
        grantee = await asyncio.to_thread(_known, desk, grantee)
    if grantee == job.owner:
        problem = f"{grantee} is its owner, who has every right already"
        raise Invalid(Fault("username", problem, "another user, or @ and a group"))
    pem = Pem(grantee, right)
    await desk.store.write(lambda tx: _set(tx, caller, job.id, [pem]))
    return pem


async def unshare(desk: Desk, caller: Caller, job_id: str, grantee: str) -> Pem:
    """What they have then. Raises NotFound when there is nothing to take away."""
    await find_writable(desk, caller, job_id)
    await details(desk, caller, job_id, grantee)
    return await share(desk, caller, job_id, grantee, Right.NONE)


async def unshare_all(desk: Desk, caller: Caller, job_id: str) -> list[Pem]:
    """What is left: the owner's."""
    job = await find_writable(desk, caller, job_id)

    def write(tx: Transaction) -> None:
        there = pems.of_job(tx.sql, job.seq)
        _set(tx, caller, job_id, [Pem(pem.grantee, Right.NONE) for pem in there])

    await desk.store.write(write)
    return [_owners(job)]


async def _all(desk: Desk, job: Job) -> list[Pem]:
    return [_owners(job), *await desk.store.read(lambda sql: pems.of_job(sql, job.seq))]


def _owners(job: Job) -> Pem:
    return Pem(job.owner, Right.WRITE)


def _known(desk: Desk, grantee: str) -> str:
    """By the name that the kernel's number for them becomes. Raises NotFound."""
    try:
        found = _group(desk, grantee[1:]) if grantee.startswith("@") else _user(desk, grantee)
    except ValueError:  # a NUL, or what is not Unicode
        found = None
    if found is None:
        what = f"group {shown(grantee[1:])}" if grantee.startswith("@") else f"user {shown(grantee)}"
        raise NotFound(f"there is no {what} on this machine (expected a user's name, or @ and a group's)")
    return found


def _user(desk: Desk, name: str) -> str | None:
    who = person(name)
    if who and not desk.persons.may_run_as(name):
        raise NotFound(f"nothing can be shared with {name}: {desk.persons.whom()}")
    return user_name(who.uid) if who else None


def _group(desk: Desk, name: str) -> str | None:
    gid = group_id(name)
    if gid is not None and desk.settings.mode == "user":
        raise NotFound(f"nothing can be shared with @{name}: {desk.persons.whom()}")
    found = None if gid is None else group_name(gid)
    return found and f"@{found}"


def _set(tx: Transaction, caller: Caller, job_id: str, wanted: list[Pem]) -> None:
    """The caller's own right is looked at again: it can have been taken away a moment ago."""
    job = queries.job(tx.sql, job_id)
    assert job is not None, "rows are never removed"
    check_writable(tx.sql, caller, job)
    for pem in wanted:
        before = pems.right(tx.sql, job.seq, [pem.grantee])
        if pem.right is before:
            continue
        pems.put(tx, job.seq, pem, caller.name)
        event = "PERMISSION_GRANT" if pem.right > before else "PERMISSION_REVOKE"
        moves.record(tx, job.seq, event, caller.name, _words(pem, before))
        tx.changed.append((job.id, job.status))  # whoever follows it looks whether they still may


def _words(pem: Pem, before: Right) -> str:
    if pem.right is Right.WRITE:
        return f"{pem.grantee} may read and change it."
    if pem.right is Right.READ:
        return f"{pem.grantee} may read it{', and no longer change it' if before is Right.WRITE else ''}."
    return f"No longer shared with {pem.grantee}."  # who may be in a group that it is shared with
