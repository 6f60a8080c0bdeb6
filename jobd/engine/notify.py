"""Telling: takes what is due out of the outbox, and has it delivered.

    outbox (store) > what is due > the messenger > what came of it, in the outbox

Nothing is taken out before the outcome is on disk: a crash repeats a delivery, under the same id, and loses
none. How many are under way is bounded (outgoing.py): a receiver that hangs holds up nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from jobd import people
from jobd.config import Settings
from jobd.courier.courier import Outcome
from jobd.engine.messenger import Messenger, in_thread, sendmail
from jobd.engine.outgoing import LEAST_PAUSE, MOST_OF_RECEIVER, Manners, Room, pause_after, pick
from jobd.errors import JobdError, TooMany, Unavailable
from jobd.keeper.persons import Persons
from jobd.store import outbox, pems
from jobd.store.outbox import Due, Try
from jobd.store.store import Store

_AFTER_A_FAULT = 5.0
_LOOK_AT_LEAST_EVERY = 60.0
"""Seconds: the clock may be set."""

log = logging.getLogger(__name__)


class Notifier:
    def __init__(self, store: Store, settings: Settings, persons: Persons) -> None:
        """Raises Invalid for a key that cannot be used."""
        self._store = store
        self._settings = settings
        self._messenger = Messenger(settings, persons)
        self._bell = store.changes.fired
        self._under_way: dict[str, Due] = {}
        """By line."""
        self._testing: Counter[str] = Counter()
        self._last = ""
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Takes up what a daemon before this one left."""
        self._spawn(self._turns())

    async def stop(self) -> None:
        """What is under way is begun again by the next daemon."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._messenger.close()

    def prepared(self, settings: Settings) -> Callable[[], None]:
        """For a configuration that was read again; what is returned has it hold. Raises Invalid as above."""
        renew_messenger = self._messenger.prepared(settings)

        def renew() -> None:
            renew_messenger()
            self._settings = settings

        return renew

    def key(self, owner: str) -> bytes:
        """What webhooks for that person are signed with."""
        return self._messenger.key(owner)

    def mail_trouble(self) -> str:
        """Why no mail can be sent; empty when it can."""
        if self._settings.notifications.smtp or sendmail():
            return ""
        return "no mail can be sent: there is no sendmail here, nor notifications.smtp in the configuration"

    async def rehearse(self, sample: Due) -> Outcome:
        """Tells it at once, past the outbox. Raises TooMany."""
        if self._testing[sample.owner] >= MOST_OF_RECEIVER:
            raise TooMany("so many tests are under way for you already: wait for one to end", LEAST_PAUSE)
        self._testing[sample.owner] += 1
        try:
            return await self._messenger.tell([sample])
        finally:
            self._testing[sample.owner] -= 1

    async def forget(self) -> None:
        """What has been settled for long enough."""
        before = time.time() - self._settings.notifications.keep
        await self._store.write(lambda tx: outbox.forget(tx, before))

    async def clock_was_put_back(self, seconds: float) -> None:
        """By a machine that began in another year, say: what is to be tried again does not wait for that."""
        try:
            await self._store.write(lambda tx: outbox.put_back(tx, seconds))
        except Unavailable as trouble:
            log.warning("what is to be told waits until the clock is where it was: %s", trouble)

    # turns

    async def _turns(self) -> None:
        manners = Manners()
        while True:
            self._bell.clear()
            later = _AFTER_A_FAULT
            try:
                begun, later = await self._turn()
                await asyncio.sleep(manners.pause(begun))
            except JobdError as trouble:
                log.warning("nothing can be told at present: %s", trouble)
            except Exception:  # it would be the end of all telling
                log.exception("nothing can be told at present")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._bell.wait(), later)

    async def _turn(self) -> tuple[int, float]:
        """Begins what may begin. Returns how much that was, and the seconds until something else is due."""
        now, room = time.time(), self._room()
        picked, later = await self._store.read(lambda sql: (pick(sql, room, now), outbox.next_due(sql, now)))
        for together in picked:
            self._under_way[together[0].line] = together[0]
            self._last = together[0].receiver
            self._spawn(self._deliver(together))
        least = _LOOK_AT_LEAST_EVERY if later is None else later - now
        return len(picked), min(max(0.0, least), _LOOK_AT_LEAST_EVERY)

    def _room(self) -> Room:
        receivers = Counter(one.receiver for one in self._under_way.values())
        persons = Counter(one.owner for one in self._under_way.values())
        return Room(frozenset(self._under_way), receivers, persons, self._last)

    async def _deliver(self, together: Sequence[Due]) -> None:
        try:
            await self._tell(together)
        except Exception:
            log.exception("telling failed")
            await asyncio.sleep(_AFTER_A_FAULT)  # or it would be begun again at once, for ever
        finally:
            del self._under_way[together[0].line]
            self._bell.set()

    async def _tell(self, together: Sequence[Due]) -> None:
        heard: list[Due] = []
        refused: list[Due] = []
        for one in together:
            (heard if await self._may_hear(one) else refused).append(one)
        if refused:
            await self._record(refused, _refusal(refused[0]))
        if heard:
            began = time.time()
            outcome = await self._messenger.tell(heard)
            await self._record(heard, _try(heard[0], began, outcome))

    async def _may_hear(self, delivery: Due) -> bool:
        """May its owner know of that job? Of somebody else's that may have been so, and be no more."""
        name, owner, admins = delivery.owner, delivery.facts["owner"], self._settings.admin_group
        if name == owner:
            return True
        await in_thread(people.groups_of, name)  # known then, so that the store's reader does not wait for it
        return await self._store.read(
            lambda sql: pems.may_read_unseen(sql, delivery.job_seq, owner, name, admins)
        )

    async def _record(self, together: Sequence[Due], one: Try) -> None:
        """Until it is on disk: what is not would be told again and again."""
        while True:
            try:
                return await self._store.write(lambda tx: outbox.tried(tx, together, one))
            except Unavailable:
                await asyncio.sleep(_AFTER_A_FAULT)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("telling failed", exc_info=error)


def _try(delivery: Due, began: float, outcome: Outcome) -> Try:
    ended = time.time()
    again = None
    if not (outcome.delivered or outcome.for_good):
        pause = pause_after(delivery.tries + 1 - delivery.counted_from, delivery.wanted.policy)
        again = None if pause is None else ended + max(pause, outcome.retry_after or 0)
    return Try(began, ended, outcome.delivered, outcome.code, outcome.words, again)


def _refusal(delivery: Due) -> Try:
    now = time.time()
    return Try(now, now, False, None, f"{delivery.owner} may not read this job any more", None)
