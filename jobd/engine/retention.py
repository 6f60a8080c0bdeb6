"""Removing the files of jobs that have been hidden for as long as the configuration says (never, by default):
the work directory and the archive, as their owner, and each only if it has the job's mark. Rows stay."""

from __future__ import annotations

import asyncio
import logging
import time

from jobd.errors import JobdError
from jobd.keeper.persons import Leash, Persons
from jobd.store import moves, queries
from jobd.store.job import Job
from jobd.store.store import Store
from jobd.store.writer import Transaction

_MOST = 1000
"""In one turn; the next one goes on."""

log = logging.getLogger(__name__)


class Retention:
    def __init__(self, store: Store, persons: Persons) -> None:
        self._store = store
        self._persons = persons
        self._leash = Leash()

    def close(self) -> None:
        self._leash.cut(wait=False)

    async def purge(self, after: float) -> None:
        """A turn: those hidden for longer than `after` seconds, one after the other."""
        hidden_before = time.time() - after
        for job in await self._store.read(lambda sql: queries.to_purge(sql, hidden_before, _MOST)):
            current = await self._store.job(job.id)
            if current and current.hidden and not self._leash.is_cut:
                await self._purge(current)

    async def _purge(self, job: Job) -> None:
        try:
            stays = await asyncio.to_thread(self._remove, job)
        except JobdError as trouble:
            log.warning("the files of %s stay for now: %s", job.id, trouble)
        else:
            await self._store.write(lambda tx: _purged(tx, job, stays))

    def _remove(self, job: Job) -> list[str]:
        """The directories that have not its mark, and were not touched. Raises Refused, Forbidden,
        Unavailable."""
        return [
            path for path in job.directories if not self._persons.remove(job.owner, path, job.id, self._leash)
        ]


def _purged(tx: Transaction, job: Job, stays: list[str]) -> None:
    """The job may have been brought back in the very moment: its files are gone all the same."""
    current = queries.job(tx.sql, job.id) or job
    if moves.change(tx, current, purged=time.time()):
        words = "Its files were removed, as it has been hidden for long."
        if stays:
            words += f" Without jobd's mark, and not touched: {', '.join(stays)}."
        moves.record(tx, job.seq, "PURGED", moves.DAEMON, words)
