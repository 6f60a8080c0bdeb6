"""Notifications by themselves: somebody asks to be told of a job that they may read, looks at what they have
asked for, changes it, and takes it back.

A notification is its owner's alone, whoever else may read the job: an address can be a secret, and a command
runs as whoever asked for it. And it is not there for its owner while they may not read the job: it says what
happened to that, and when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jobd.errors import Conflict, Fault, Forbidden, Invalid, NotFound
from jobd.store import notifications, outbox
from jobd.store.job import Job
from jobd.store.notifications import Notification, Wanted
from jobd.store.pems import Whose
from jobd.store.writer import Transaction
from jobd.verbs import notification, once
from jobd.verbs.desk import Caller, Desk, find, may_read
from jobd.verbs.once import Key
from jobd.verbs.submit import check_person

EVERYBODY = "*"
_JOB = "associatedUuid"


async def subscribe(
    desk: Desk, caller: Caller, bodies: Sequence[object], key: Key | None = None
) -> list[Notification]:
    """All of them or none; or those that the same key made before. Raises Invalid with every fault, NotFound,
    Forbidden for a command that cannot run as the caller, Conflict when a job would have too many."""
    wishes = _read_all(bodies)
    jobs = {job_id: await find(desk, caller, job_id) for job_id, _ in wishes}
    for _, wanted in wishes:
        check(desk, caller, wanted)
    pairs = [(jobs[job_id], wanted) for job_id, wanted in wishes]
    once.check(key)
    return await desk.store.write(lambda tx: _add(tx, caller, pairs, key))


async def listing(
    desk: Desk, caller: Caller, job_id: str | None, owner: str | None, limit: int, offset: int
) -> list[Notification]:
    """Of that job: the caller's own, and everybody's for an administrator. Of all jobs: the caller's own; an
    administrator can ask for another owner's, or `*`. Raises Forbidden to others who do."""
    if job_id is None:
        those = whose(caller, owner)
        return await desk.store.read(lambda sql: notifications.owned(sql, those, limit, offset))
    own = None if caller.admin else caller.name
    job = await find(desk, caller, job_id)
    found = await desk.store.read(lambda sql: notifications.of_job(sql, job.seq, own))
    return found[offset : offset + limit]


async def details(desk: Desk, caller: Caller, notification_id: str) -> Notification:
    """Raises NotFound, for other people's too."""
    found = await desk.store.read(lambda sql: notifications.get(sql, notification_id))
    if found is None or not await may_see(desk, caller, found):
        raise NotFound(f"no notification {notification_id}")
    return found


def whose(caller: Caller, owner: str | None) -> Whose:
    """Raises Forbidden."""
    if owner not in (None, caller.name) and not caller.admin:
        raise Forbidden(f"what {owner} is told is not yours to see")
    named = None if owner == EVERYBODY else owner or caller.name
    return Whose(named, () if caller.admin else caller.grantees)


class Owned(Protocol):
    """A notification, or what is to be told for one."""

    @property
    def owner(self) -> str: ...

    @property
    def job_id(self) -> str: ...


async def may_see(desk: Desk, caller: Caller, one: Owned) -> bool:
    job = await desk.store.job(one.job_id)
    assert job is not None, "rows are never removed"
    return caller.admin or (one.owner == caller.name and may_read(desk, caller, job))


async def change(desk: Desk, caller: Caller, notification_id: str, body: Mapping[str, Any]) -> Notification:
    """With these fields; the others stay. Raises Invalid, NotFound, Forbidden."""
    found = await details(desk, caller, notification_id)
    if body.get(_JOB, found.job_id) != found.job_id:
        raise Invalid(Fault(_JOB, "a notification stays with its job", found.job_id))
    wanted = notification.read({**_kept(found.wanted, body), **_of_itself(body)})
    check(desk, caller, wanted)
    await desk.store.write(lambda tx: _change(tx, found, wanted))
    return await details(desk, caller, notification_id)


async def unsubscribe(desk: Desk, caller: Caller, notification_id: str) -> Notification:
    """As it was. What is still to be delivered of it goes too."""
    found = await details(desk, caller, notification_id)
    await desk.store.write(lambda tx: _remove(tx, found))
    return found


def check(desk: Desk, caller: Caller, wanted: Wanted) -> None:
    """Can it be delivered for that person? Raises Invalid, Forbidden."""
    notification.check_allowed(desk.settings.notifications.allow, [wanted], "url")
    if wanted.command:
        check_person(desk, caller)


async def doubts(desk: Desk, made: Sequence[Notification]) -> str | None:
    """Why, as things are, nobody may ever be told."""
    jobs = [await desk.store.job(job_id) for job_id in {one.job_id for one in made}]
    if over := [job.id for job in jobs if job and job.over]:
        return f"{', '.join(over)}: over already, so that there may be nothing to tell any more"
    if any((one.wanted.url or "").startswith("mailto:") for one in made):
        return desk.notifier.mail_trouble() or None
    return None


def _read_all(bodies: Sequence[object]) -> list[tuple[str, Wanted]]:
    """Each with the id of its job; the faults of all of them together."""
    wishes: list[tuple[str, Wanted]] = []
    faults: list[Fault | str] = []
    for number, body in enumerate(bodies):
        try:
            wishes.append(_read(body, "" if len(bodies) == 1 else f"{number}."))
        except Invalid as error:
            faults += error.faults
    if faults:
        raise Invalid(*faults)
    return wishes


def _read(body: object, at: str) -> tuple[str, Wanted]:
    if not isinstance(body, dict):
        problem = "this is not a notification"
        raise Invalid(Fault(at.rstrip("."), problem, f"an object with {_JOB}, event and url"))
    job_id = body.get(_JOB)
    faults: list[Fault | str] = []
    if not isinstance(job_id, str):
        problem = "it is no text" if _JOB in body else "this is missing"
        faults.append(Fault(f"{at}{_JOB}", problem, "the id of a job"))
    try:
        wanted = notification.read(_of_itself(body), at)
    except Invalid as error:
        raise Invalid(*faults, *error.faults) from None
    if faults:
        raise Invalid(*faults)
    return str(job_id), wanted


def _of_itself(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != _JOB}


def _kept(wanted: Wanted, body: Mapping[str, Any]) -> dict[str, Any]:
    """What stays of it, as it would come. A new target takes the place of the old one, whichever kind each
    is."""
    names = ("event", "persistent", "policy", "body")
    kept: dict[str, Any] = {name: getattr(wanted, name) for name in names}
    if body.get("url") is None and body.get("command") is None:
        kept |= (
            {"command": wanted.command} if wanted.command else {"url": wanted.url, "digest": wanted.digest}
        )
    return kept


def _change(tx: Transaction, found: Notification, wanted: Wanted) -> None:
    notifications.change(tx, found.id, wanted)
    outbox.moved(tx, found.seq, wanted)


def _remove(tx: Transaction, found: Notification) -> None:
    outbox.removed(tx, "notification_seq = ?", (found.seq,))
    notifications.remove(tx, found.id)


def _add(
    tx: Transaction, caller: Caller, pairs: Sequence[tuple[Job, Wanted]], key: Key | None
) -> list[Notification]:
    if before := once.made_before(tx.sql, caller, key):
        return _those(tx, before)
    ids = [made for job, wanted in pairs for made in notifications.add(tx, job.seq, caller.name, [wanted])]
    for job in {job.seq: job for job, _ in pairs}.values():
        if notifications.count(tx.sql, job.seq, caller.name) > notification.MOST:
            raise Conflict(f"you would have more than {notification.MOST} notifications of job {job.id}")
    once.remember(tx, caller, key, ids)
    return _those(tx, ids)


def _those(tx: Transaction, ids: Sequence[str]) -> list[Notification]:
    return [made for one in ids if (made := notifications.get(tx.sql, one))]
