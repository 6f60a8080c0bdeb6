"""All execution systems together: one lane each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from jobd.backend import Backend, Finding, Placed, load
from jobd.config import Settings, System
from jobd.engine import kill, turns
from jobd.engine.admit import why
from jobd.engine.lane import Lane
from jobd.engine.retention import Retention
from jobd.engine.ticket import placed
from jobd.errors import Conflict, Invalid, Unavailable
from jobd.figures import Figures
from jobd.keeper.persons import Persons
from jobd.status import Status
from jobd.store import queries
from jobd.store.job import Job
from jobd.store.store import Store

T = TypeVar("T")


class Engine:
    def __init__(self, store: Store, settings: Settings, persons: Persons) -> None:
        """Raises Invalid when a backend does not take its settings."""
        self._store = store
        self._persons = persons
        self._loop = asyncio.get_running_loop()
        self._retention = Retention(store, persons)
        self._lanes = {one.id: self._lane(one, self._backend(one), settings) for one in settings.systems}

    async def start(self) -> None:
        for lane in self._lanes.values():
            await turns.start(lane)

    async def stop(self) -> None:
        """The turns end; the jobs run on."""
        self._retention.close()
        await asyncio.gather(*(lane.stop() for lane in self._lanes.values()))

    async def reload(self, settings: Settings) -> None:
        """All or nothing. Raises Invalid or Conflict, and nothing has changed, when a system cannot be as it
        is wanted.

        A lane whose system has changed goes on with new settings; it is not stopped, since a hand-over that
        is under way cannot be called back and must not be begun again (T2).
        """
        await self._refuse_to_strand(settings)
        backends = {system.id: self._backend(system) for system in settings.systems}
        for system in settings.systems:
            if system.id in self._lanes:
                pause = interval(settings, system)
                self._lanes[system.id].renew(system, backends[system.id], pause, settings.fetch)
            else:
                self._lanes[system.id] = self._lane(system, backends[system.id], settings)
                await turns.start(self._lanes[system.id])
        for name in self._lanes.keys() - backends.keys():
            await self._lanes.pop(name).stop()

    def to_stage(self, system: str) -> None:
        if system in self._lanes:
            self._lanes[system].files.set()

    def submitted(self, system: str) -> None:
        if system in self._lanes:
            self._lanes[system].newcomer()

    def kill_asked(self, job: Job) -> None:
        if job.system not in self._lanes:
            return
        if job.status is Status.STAGING_INPUTS:
            self._lanes[job.system].transfers.cut(job)
            self._lanes[job.system].files.set()
        else:
            kill.begin(self._lanes[job.system], job)

    def news(self, tag: str) -> None:
        """From any thread: there is something new to see of that attempt, on a system that jobd runs
        itself."""
        self._loop.call_soon_threadsafe(self._heard, tag)

    async def ask(self, job: Job, verb: Callable[[Backend, Placed], T]) -> T:
        lane = self._lanes.get(job.system)
        if lane is None:
            raise Unavailable(f"the execution system {job.system} is not configured any more")
        if lane.sick:
            raise Unavailable(f"{job.system} does not answer: {lane.trouble}", lane.sick.pause)
        return await lane.ask(verb, lane.backend, placed(job))

    def last_answer(self, system: str) -> float | None:
        lane = self._lanes.get(system)
        return lane.last_answer if lane else None

    def trouble(self, system: str) -> str:
        """Why the system does not answer; empty while it does."""
        lane = self._lanes.get(system)
        return lane.trouble if lane else "not configured any more"

    def figures(self, system: str) -> Figures:
        lane = self._lanes.get(system)
        return lane.figures if lane else Figures()

    def waits(self, job: Job) -> str:
        """Why a job that no system has yet was not started at the last turn."""
        lane = self._lanes.get(job.system)
        return why(job, lane.system, lane.waits) if lane else ""

    async def doctor(self, system: System, user: str, home: str) -> Sequence[Finding]:
        """What the system's backend says of it, for that person's jobs."""
        lane = self._lanes[system.id]
        place = system.work_root(user, home)
        return await lane.call(lane.backend.doctor, user, place, lane.pace.interval)

    async def clear_up(self) -> None:
        for lane in self._lanes.values():
            await turns.clear_up(lane)

    async def purge(self, after: float) -> None:
        """Removes the files of jobs hidden for longer than so many seconds."""
        await self._retention.purge(after)

    def _heard(self, tag: str) -> None:
        for lane in self._lanes.values():
            if lane.system.slots is not None:
                lane.heard(tag)

    def _lane(self, system: System, backend: Backend, settings: Settings) -> Lane:
        pause = interval(settings, system)
        return Lane(self._store, system, backend, pause, self._persons, settings.fetch)

    def _backend(self, system: System) -> Backend:
        return backend(system, self._persons)

    async def _refuse_to_strand(self, settings: Settings) -> None:
        active = await self._store.read(queries.active)
        stranded = sorted(set(active) - {system.id for system in settings.systems})
        if stranded:
            raise Conflict(
                f"there are active jobs on {', '.join(stranded)}, which the new configuration does not have"
            )


def backend(system: System, persons: Persons) -> Backend:
    """Raises Invalid when it does not take its settings, or those of a queue."""
    made = load(system.backend, system.options, persons)
    for queue in system.queues:
        try:
            made.check_queue(queue.options)
        except Invalid as wrong:
            raise Invalid(*(f"queue {queue.name}: {fault}" for fault in wrong.faults)) from None
    return made


def interval(settings: Settings, system: System) -> float:
    """The most seconds between two looks at all its jobs: systems that bring news by themselves are looked at
    now and then, the others at their own interval."""
    return settings.sweep if system.slots else system.poll_interval
