"""This machine. A client of the keeper, which does all the work (see jobd/keeper/__init__.py): here its
records become reports.

The local id is the pid of the job's first process; who that is exactly (start time, boot id) is in the
handle. Nothing here goes by a pid: kill reaches the supervisor, which is known by its record, its lock and
its start time. Where the record is missing or damaged, the handle still says who the supervisor is: as long
as that one lives nothing is said of the job, and when it is gone the job is LOST.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from jobd.backend import Backend, Phase, Placed, Report, Ticket, Usage
from jobd.errors import Invalid, Unavailable
from jobd.keeper.persons import Damaged, Look, Order, Persons, Record
from jobd.status import Condition
from jobd.units import BadUnit, parse_size

_RECORD = "supervisor's record"
_MAX_PROCESSES = 10_000
_OPTIONS = ("maxProcesses", "limitProcessors", "maxLogSize")


class LocalBackend(Backend):
    """Options; the first two are limits of a job's control group where there are the controllers:

    maxProcesses      processes and threads of a job, against fork bombs (10000; -1: no limit)
    limitProcessors   true: no job gets more of the machine than the processors that it asked for (false)
    maxLogSize        how large a job's logs may become before it is ended, like "2GB" (-1: no limit)

    How jobs are contained is the keeper's business, one way for the whole daemon.
    """

    persons: Persons
    looks = 1  # the keeper knows for certain

    def __init__(self, options: Mapping[str, Any], persons: Any) -> None:
        super().__init__(options, persons)
        if unknown := sorted(options.keys() - set(_OPTIONS)):
            raise Invalid(
                f"the local backend has no option {unknown[0]!r} (expected one of {', '.join(_OPTIONS)})"
            )
        self._processes = options.get("maxProcesses", _MAX_PROCESSES)
        self._limit_processors = options.get("limitProcessors", False)
        self._log_limit = _size(options.get("maxLogSize", -1))
        if type(self._processes) is not int or (self._processes < 1 and self._processes != -1):
            raise Invalid("maxProcesses of the local backend: expected a number above 0, or -1 for no limit")
        if type(self._limit_processors) is not bool:
            raise Invalid("limitProcessors of the local backend: expected true or false")

    def submit(self, ticket: Ticket) -> Placed:
        record = self.persons.launch(self._order(ticket))
        return self._placed(ticket, Look(record, alive=not record.over, same_boot=True))

    def _order(self, ticket: Ticket) -> Order:
        return Order(
            tag=ticket.tag,
            job_id=ticket.job_id,
            user=ticket.user,
            argv=ticket.argv,
            directory=ticket.directory,
            workspace=ticket.workspace,
            stdout=ticket.stdout,
            stderr=ticket.stderr,
            stdin=ticket.stdin,
            umask=ticket.umask,
            environment=dict(ticket.environment),
            memory=ticket.memory,
            processors=ticket.processors if self._limit_processors else None,
            processes=None if self._processes == -1 else self._processes,
            log_limit=self._log_limit,
            time_limit=ticket.time_limit,
            kill_grace=ticket.kill_grace,
        )

    def find(self, ticket: Ticket) -> Placed | None:
        try:
            look = self.persons.find(ticket.tag)
        except Damaged:
            look = self._spoilt(ticket.tag)
        return self._placed(ticket, look) if look else None

    def _spoilt(self, tag: str) -> Look:
        """It was taken, its record says nothing, and its supervisor is gone. Raises Unavailable as long as it
        is not."""
        held = self.persons.is_held(tag)
        try:
            seen = self.persons.look(tag)  # again, now that it is known whether anybody writes
        except Damaged:
            if held:
                raise
            seen = None
        nobody = Record(tag, self.persons.boot_id, supervisor=0, supervisor_ticks=0, rung="")
        return seen or Look(nobody, alive=False, same_boot=True)

    def poll(self, placed: Collection[Placed]) -> Mapping[str, Report]:
        reports = ((each.tag, self._poll_one(each)) for each in placed)
        return {tag: report for tag, report in reports if report}

    def kill(self, placed: Placed) -> None:
        self.persons.kill(placed.tag, known=_remembered(placed))

    def forget(self, placed: Collection[Placed]) -> None:
        self.persons.forget([each.tag for each in placed])

    def _placed(self, ticket: Ticket, look: Look) -> Placed:
        record = look.record
        handle = {
            "tag": record.tag,
            "ticks": record.ticks,
            "boot_id": record.boot_id,
            "supervisor": record.supervisor,
            "supervisor_ticks": record.supervisor_ticks,
            "rung": record.rung,
            "cgroup": record.cgroup,
        }
        local_id = str(record.pid) if record.pid else ""
        submitted = record.claimed or time.time()
        report = self._report(look)
        return Placed(local_id, ticket.tag, ticket.user, submitted, handle, ticket.workspace, report)

    def _poll_one(self, placed: Placed) -> Report | None:
        try:
            seen = self._look(placed.tag)
            return self._report(seen) if isinstance(seen, Look) else self._without_record(placed)
        except Unavailable:
            # One that cannot be looked at is no reason to know nothing of the others; and it ends nothing.
            return None

    def _look(self, tag: str) -> Look | str:
        """Or, in words, why there is no record to read."""
        try:
            return self.persons.look(tag) or "its record is missing"
        except Damaged as trouble:
            return str(trouble)

    def _without_record(self, placed: Placed) -> Report | None:
        """By what the store remembers of the supervisor."""
        if placed.handle.get("boot_id") not in (None, self.persons.boot_id):
            return _node_lost()  # the record was not on the disk yet when the power went
        known = _remembered(placed)
        if known is None or self.persons.lives(known):
            return None
        seen = self._look(placed.tag)  # again: its end may have been written just now
        if isinstance(seen, Look):
            return self._report(seen)
        return self._gone(known, f"{seen}, and its supervisor is gone")

    def _report(self, look: Look) -> Report:
        if look.record.over:
            return _ended(look.record)
        if not look.same_boot:
            return _node_lost(look.record)
        return _running(look.record) if look.alive else self._gone(look.record)

    def _gone(self, record: Record, reason: str = "the job's supervisor was killed") -> Report:
        """Its supervisor was killed: what is left of the job is ended, and how it would have ended nobody can
        say."""
        survivors = self.persons.clear_orphans(record.tag, record)
        details = _details(record) | ({"survivors": list(survivors)} if survivors else {})
        phase = Phase.RUNNING if survivors else Phase.ENDED
        return Report(
            phase,
            "supervisor gone",
            local_id=_local_id(record),
            condition=None if survivors else Condition.LOST,
            reason=reason,
            started=record.started,
            details=details,
        )


def _size(value: object) -> int | None:
    if value == -1:
        return None
    try:
        return parse_size(value)
    except BadUnit as error:
        raise Invalid(f"maxLogSize of the local backend: {error}") from error


def _remembered(placed: Placed) -> Record | None:
    """The first lines of its record, as far as the handle has them; None: it has no supervisor, or is another
    attempt's."""
    handle = placed.handle
    if handle.get("tag", placed.tag) != placed.tag:
        return None
    if None in map(handle.get, ("boot_id", "supervisor", "supervisor_ticks")):
        return None
    return Record(
        placed.tag,
        handle["boot_id"],
        handle["supervisor"],
        handle["supervisor_ticks"],
        rung=handle.get("rung", ""),
        cgroup=handle.get("cgroup"),
        pid=int(placed.local_id) if placed.local_id.isdecimal() else None,
        ticks=handle.get("ticks"),
    )


def _running(record: Record) -> Report:
    if record.pid is None:
        return Report(Phase.QUEUED, _RECORD, reason="being started", details=_details(record))
    return Report(
        Phase.RUNNING, _RECORD, local_id=_local_id(record), started=record.started, details=_details(record)
    )


def _ended(record: Record) -> Report:
    return Report(
        Phase.ENDED,
        _RECORD,
        local_id=_local_id(record),
        exit_code=record.exit_code,
        signal=record.signal,
        condition=_condition(record.condition),
        reason=record.message,
        started=record.started,
        ended=record.ended,
        usage=Usage(record.wall, record.cpu, record.peak_memory),
        details=_details(record),
    )


def _node_lost(record: Record | None = None) -> Report:
    return Report(
        Phase.ENDED,
        "boot id",
        local_id=_local_id(record) if record else None,
        condition=Condition.NODE_LOST,
        reason="the machine was started again",
        started=record.started if record else None,
        details=_details(record) if record else {},
    )


def _local_id(record: Record) -> str | None:
    return str(record.pid) if record.pid else None


def _details(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {"containment": record.rung} if record.rung else {}
    if record.survivors:
        found["survivors"] = list(record.survivors)
    if record.notes:
        found["notes"] = list(record.notes)
    return found


def _condition(word: str | None) -> Condition | None:
    """Of a word that a later version wrote: judge by exit code and signal."""
    return Condition(word) if word in set(Condition) else None
