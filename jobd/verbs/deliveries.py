"""Deliveries: what is still to be told, what was, what failed; having that tried anew; and a test of the way.
Each is its notification's owner's alone."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any

from jobd.errors import Conflict, NotFound
from jobd.status import Condition, Status
from jobd.store import deliveries, notifications, outbox
from jobd.store.deliveries import OPEN, Attempt, Delivery
from jobd.store.outbox import Due
from jobd.store.writer import Transaction
from jobd.verbs import notification, subscribe
from jobd.verbs.desk import Caller, Desk, find


@dataclass(frozen=True)
class Rehearsal:
    """What came of a test."""

    delivery_id: str
    delivered: bool
    code: int | None
    words: str
    seconds: float


async def listing(
    desk: Desk,
    caller: Caller,
    job_id: str | None,
    owner: str | None,
    state: str | None,
    limit: int,
    offset: int,
) -> list[Delivery]:
    """As `subscribe.listing`, in that state or any."""
    if job_id is None:
        those = subscribe.whose(caller, owner)
        return await desk.store.read(lambda sql: deliveries.of_owner(sql, those, state, limit, offset))
    own = None if caller.admin else caller.name
    job = await find(desk, caller, job_id)
    return await desk.store.read(lambda sql: deliveries.of_job(sql, job.seq, own, state, limit, offset))


async def details(desk: Desk, caller: Caller, delivery_id: str) -> Delivery:
    """Raises NotFound, for other people's too, and for those about jobs that the caller may not read any
    more: it says what happened to the job."""
    found = await desk.store.read(lambda sql: deliveries.get(sql, delivery_id))
    if found is None or not await subscribe.may_see(desk, caller, found):
        raise NotFound(f"no delivery {delivery_id}")
    return found


async def retry(desk: Desk, caller: Caller, delivery_id: str) -> Delivery:
    """Has it tried anew, with as many tries as at first, to where its notification goes today. One that is
    still open is tried now. Raises NotFound; Conflict when it was delivered."""
    found = await details(desk, caller, delivery_id)
    await desk.store.write(lambda tx: _retry(tx, found))
    return await details(desk, caller, delivery_id)


async def drop(desk: Desk, caller: Caller, delivery_id: str) -> Delivery:
    """It is not tried any more, nor remembered. Returns what it was."""
    found = await details(desk, caller, delivery_id)
    await desk.store.write(lambda tx: outbox.removed(tx, "seq = ?", (found.seq,)))
    return found


async def attempts(
    desk: Desk, caller: Caller, notification_id: str, limit: int, offset: int
) -> list[Attempt]:
    one = await subscribe.details(desk, caller, notification_id)
    return await desk.store.read(lambda sql: deliveries.attempts(sql, one.seq, limit, offset))


async def rehearse(desk: Desk, caller: Caller, body: dict[str, Any]) -> Rehearsal:
    """Tells of a job that there is not, at once, and says what came of it. Raises Invalid, Forbidden,
    TooMany."""
    wanted = notification.read({"event": Status.FINISHED, **body})
    subscribe.check(desk, caller, wanted)
    now = time.time()
    facts = _sample(caller.name, wanted.event, now)
    one = Due(
        seq=0, id=str(uuid.uuid4()), notification_id="test-011", job_seq=0, owner=caller.name,
        event=facts["status"], facts=facts, receiver="", line="", created=now, tries=0, counted_from=0,
        wanted=wanted,
    )  # fmt: skip
    outcome = await desk.notifier.rehearse(one)
    return Rehearsal(one.id, outcome.delivered, outcome.code, outcome.words, time.time() - now)


def _retry(tx: Transaction, seen: Delivery) -> None:
    found = deliveries.get(tx.sql, seen.id)
    one = notifications.get(tx.sql, seen.notification_id)
    if found is None or one is None:
        raise NotFound(f"no delivery {seen.id}")
    if found.state not in (OPEN, outbox.FAILED):
        raise Conflict(f"delivery {seen.id} was delivered")
    outbox.anew(tx, found.seq, one.wanted)


def _sample(owner: str, event: str, now: float) -> dict[str, Any]:
    status = event if event in set(Status) else Status.FINISHED
    facts: dict[str, Any] = dict.fromkeys(outbox.FACTS)
    return facts | {
        "id": "00000000-0000-0000-0000-000000000000-007", "name": "test", "owner": owner, "status": status,
        "app_id": "test", "system": "test", "queue": "test", "condition": Condition.NORMAL, "exit_code": 0,
        "reason": "This is a test: there is no such job.", "created": now, "started": now, "ended": now,
    }  # fmt: skip
