"""A PBS cluster, by its commands: OpenPBS and PBS Professional, or Torque (see pbs_words.py).

Everything goes by the job's name, which is the attempt's tag: a local id alone is no identity, since numbers
are used again (T3). qsub, qdel, qselect, qhold and qrls run as the person, qstat as the daemon; one at a
time: each takes a reserved port for a minute, and one that finds none waits for more than half of that.

One poll is one qstat without ids for everybody's live jobs (T9). What is asked besides, by ladder:

    the script  of a job that is over or gone: the exact code (see jobscript.py)
    history     of jobs that are gone, a few ids at a time, where the server keeps one (by default not)
    qdel        of jobd's, which took a job that is in no answer afterwards, and left a mark that it did

A job that is in none of them is absent, which ends nothing (T4). An exit status counts only of a job that is
over, and says little of one that was deleted: programs were seen to end with 0, 5, 137, 143, 265 and 271.

The script opens the job's logs itself, on the file system that the nodes share: what PBS spools and copies is
not there while the job runs, and keeps it from ending when it cannot be copied.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobd import units
from jobd.backend import Backend, Finding, Phase, Placed, Report, Ticket, Usage
from jobd.backends import batch, jobscript, pbs_doctor, pbs_text, pbs_words
from jobd.backends.batch import LOOK_BACK, Answer, Programs, RecordReader, Scheduler, Unheard
from jobd.backends.jobscript import UNCLAIMED, Records
from jobd.backends.pbs_text import Row
from jobd.backends.pbs_words import Dialect
from jobd.errors import Conflict, Down, Fault, Invalid, Refused, Unavailable
from jobd.keeper.persons import Finished, Ran
from jobd.status import Condition

PROGRAMS = ("qsub", "qstat", "qdel", "qselect", "qhold", "qrls")
OPTIONS = {*PROGRAMS, "dialect", "conf", "server", "forceAfter", "timeouts"}
QUEUE_OPTIONS = {
    "account": (r"[^\s'\"\\#,]+", "one word without quotes"),
    "project": (r"[^\s'\"\\#,]+", "one word without quotes"),
    "place": (r"[\w:=+.-]+", "as after -l place="),
    "chunk": (r"[\w:=.-]+", "what is added to each chunk, such as ngpus=1:arch=linux"),
    "request": ("select|nodes", "select or nodes"),
}
_TIMEOUT = 60.0
"""Seconds for one command: above the time that a client waits for a free port."""
_MOST_IDS = 50
"""Of which the history is asked at once: each has a connection of its own."""
_OF_THE_SCHEDULER = re.compile(r"PBS_.*|NCPUS")
_OF_DEVICES = {"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "JOBD_GPUS"}


_DELETE = """
umask 077
mark=$1
shift
"$@" || exit
(: > "$mark") 2>/dev/null
exit 0
"""
"""In one command, so that a daemon that dies in between leaves no deletion without its mark."""


@dataclass(frozen=True)
class _OneAtATime(Scheduler):
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def delete(self, placed: Placed, *arguments: str) -> None:
        """qdel, with a mark beside the script's records that it took it. Raises Refused, Unavailable."""
        mark = f"{placed.workspace}/{jobscript.attempt(batch.name_of(placed))}/deleted"
        argv = ["/bin/sh", "-c", _DELETE, "jobd", mark, self.programs.paths["qdel"], *arguments]
        self.outcome("qdel", self._run(placed.owner, "qdel", argv))

    def submit(self, ticket: Ticket, name: str, arguments: Sequence[str], script: bytes) -> str | Ran:
        with self._turn:
            return super().submit(ticket, name, arguments, script)

    def _run(self, user: str | None, name: str, argv: Sequence[str]) -> Finished:
        with self._turn:
            return super()._run(user, name, argv)


class PbsBackend(Backend):
    def __init__(self, options: Mapping[str, Any], persons: Any) -> None:
        super().__init__(options, persons)
        batch.check_names(options, OPTIONS, "options")
        known = "|".join(pbs_words.DIALECTS)
        named = batch.text_option(options, "dialect", "options", f"{known}|auto", "openpbs, torque or auto")
        self._named = pbs_words.DIALECTS.get(named)
        self._force_after = _force_after(options)
        self._unheard = Unheard()
        self._records = RecordReader(persons)
        self._first_qdel: dict[str, float] = {}
        """By tag, when it took one (monotonic)."""
        programs = Programs.read(options, PROGRAMS, _TIMEOUT)
        self._pbs = _OneAtATime(persons, programs, _environment(options), pbs_words.DOWN)

    def check_queue(self, options: Mapping[str, Any]) -> None:
        batch.check_names(options, QUEUE_OPTIONS, "options")
        for name in options:
            batch.text_option(options, name, "options", *QUEUE_OPTIONS[name])

    @property
    def dialect(self) -> Dialect:
        """Raises Down when it is not named and cannot be told."""
        if self._named is None:
            done = self._pbs.query("qstat", "--version")
            self._named = pbs_words.dialect((done.out + done.err).decode("utf-8", "replace"))
        if self._named is None:
            raise Down(f"which PBS is this? (options.dialect can say) {batch.words('qstat', done)}")
        return self._named

    # handing over

    def submit(self, ticket: Ticket) -> Placed:
        began = time.time()
        arguments = self._arguments(ticket)
        try:
            said = self._pbs.submit(ticket, "qsub", arguments, _script(ticket))
        except Refused as words:
            if pbs_words.LATER.search(str(words)):
                raise Unavailable(str(words)) from words
            raise
        if isinstance(said, Ran):
            return batch.placed(ticket, said.local_id, began - LOOK_BACK, said.tag)
        found = pbs_text.ids(said)
        if not found:
            raise Unavailable(f"qsub took it and named no job: {said[:200]!r}")
        return batch.placed(ticket, found[-1], began)

    def _arguments(self, ticket: Ticket) -> list[str]:
        """What no directive in the script can change."""
        given = ticket.options
        wanted = {
            "-C": "#PBS",
            "-N": ticket.tag,
            "-q": ticket.queue,
            "-A": given.get("account"),
            "-P": given.get("project"),
            "-v": f"JOBD_JOB_ID={_plain(ticket.job_id)},JOBD_JOB_NAME={_plain(ticket.name)}",
            "-r": "n",
            "-j": "oe",
            "-o": "/dev/null",
            "-S": "/bin/sh",
        }
        words = [word for option, value in wanted.items() if value for word in (option, str(value))]
        resources = _resources(ticket, given.get("request") or self.dialect.request)
        return [*self.dialect.submit, *words, *(word for each in resources for word in ("-l", each))]

    def find(self, ticket: Ticket) -> Placed | None:
        """By its name, and in the script's records, which say of several which one runs."""
        since = time.time() - LOOK_BACK
        sought = batch.placed(ticket, "", since)
        found = self._ids(sought, over=True)
        known = self._records.read([sought])[ticket.tag]
        if known and known.local_id:
            return batch.placed(ticket, known.local_id, since)
        if found:
            return batch.placed(ticket, found[0], since)
        if known is None:
            raise Unavailable(f"{ticket.workspace} cannot be read as {ticket.user}")
        return None

    def _ids(self, placed: Placed, over: bool = False) -> list[str]:
        """All that have its name, as its person sees them. Raises Unavailable."""
        arguments = ["-N", batch.name_of(placed), "-u", placed.owner]
        for more in [self.dialect.select, ()] if over else [()]:
            done = self._pbs.query("qselect", *more, *arguments, user=placed.owner)
            if done.code != 0:
                words = batch.words("qselect", done)
                raise Down(words) if pbs_words.DOWN.search(words) else Unavailable(words)
            if not pbs_words.NO_HISTORY.search(done.err.decode("utf-8", "replace")):
                break
        return pbs_text.ids(done.out.decode("utf-8", "replace"))

    # hearing

    def poll(self, placed: Collection[Placed]) -> Mapping[str, Report | None]:
        if not placed:
            return {}
        told = Answer(self.dialect.read(self._pbs.ask("qstat", *self.dialect.all)))
        seen = [_Seen(each, self.dialect, told.of(each)) for each in placed]
        found = self._records.read(one.placed for one in seen if one.needs_records)
        for one in seen:
            one.records = found.get(one.placed.tag, Records())
        gone = [one for one in seen if one.row is None]
        if gone and self.dialect.history:
            self._ask_history(gone)
        return {one.placed.tag: one.report() for one in seen if not one.is_absent}

    def _ask_history(self, gone: Sequence[_Seen]) -> None:
        """Once for those that are gone; of those unknown to it not at every poll."""
        due = [one for one in gone if self._unheard.is_due(one.placed.tag)]
        asked = [one for one in due[:_MOST_IDS] if one.ids]
        rows = self._history([each for one in asked for each in one.ids]) if asked else []
        told = Answer(rows or ())
        for one in due:
            one.unanswered = one not in asked or rows is None
            one.rows = [*one.rows, *told.of(one.placed)]
            self._unheard.note(one.placed.tag, one in asked and rows is not None and one.row is None)

    def _history(self, ids: Sequence[str]) -> list[Row] | None:
        """None: no complete answer. Of ids that it does not know qstat says so, and goes on."""
        try:
            done = self._pbs.query("qstat", *self.dialect.history, *ids)
        except Unavailable:
            return None
        complaints = done.err.decode("utf-8", "replace")
        if pbs_words.NO_HISTORY.search(complaints):
            return []
        if done.code != 0 and (done.code is None or not pbs_text.only_unknown(complaints)):
            return None
        return self.dialect.read(done.out.decode("utf-8", "replace"))

    # ending, holding

    def kill(self, placed: Placed) -> None:
        """By name, as the person: a number that is somebody else's by now is safe."""
        for each in self._ids(placed):
            try:
                self._pbs.delete(placed, *self._force(placed), each)
            except Refused as words:
                if not pbs_words.ALREADY_OVER.search(str(words)):
                    raise Unavailable(str(words)) from words
            else:
                self._first_qdel.setdefault(placed.tag, time.monotonic())

    def _force(self, placed: Placed) -> Sequence[str]:
        first = self._first_qdel.get(placed.tag)
        late = first is not None and time.monotonic() - first >= self._force_after
        return self.dialect.force if late else ()

    def forget(self, placed: Collection[Placed]) -> None:
        for each in placed:
            self._first_qdel.pop(each.tag, None)

    def hold(self, placed: Placed) -> None:
        self._alter(placed, "qhold", "hold")

    def release(self, placed: Placed) -> None:
        self._alter(placed, "qrls", "release")

    def _alter(self, placed: Placed, program: str, verb: str) -> None:
        found = self._ids(placed)
        if not found:
            raise Conflict(f"PBS does not {verb} it: it has no such job any more")
        try:
            self._pbs.order(placed.owner, program, *found)
        except Refused as words:
            raise Conflict(f"PBS does not {verb} it: {words}") from words

    def doctor(self, user: str, directory: str, interval: float) -> Sequence[Finding]:
        return list(pbs_doctor.findings(self._pbs, lambda: self.dialect, user, directory, interval))


def _environment(options: Mapping[str, Any]) -> dict[str, str]:
    """Of every command: neither dialect minds the other's variables."""
    conf = batch.text_option(options, "conf", "options", "/.*", "an absolute path")
    server = batch.text_option(options, "server", "options", r"[\w.:-]+", "the name of one server")
    return {
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PATH": "/usr/bin:/bin",
        **({"PBS_CONF_FILE": conf} if conf else {}),
        **({each.server: server for each in pbs_words.DIALECTS.values()} if server else {}),
    }


def _force_after(options: Mapping[str, Any]) -> float:
    """Seconds after the first qdel; for ever where it is not given."""
    if "forceAfter" not in options:
        return float("inf")
    try:
        return units.parse_duration(options["forceAfter"])
    except units.BadUnit as wrong:
        raise Invalid(Fault("options.forceAfter", wrong.problem, wrong.expected)) from None


# ---- what goes to qsub


def _script(ticket: Ticket) -> bytes:
    environment = {
        name: value
        for name, value in ticket.environment.items()
        if not _OF_THE_SCHEDULER.fullmatch(name) and not (ticket.gpu_count and name in _OF_DEVICES)
    }
    return jobscript.script(ticket, [], environment, "PBS_JOBID", "PBS_RESTARTS", opens_logs=True)


def _resources(ticket: Ticket, request: str) -> list[str]:
    """For -l each. In a select statement memory is that of a chunk, beside `nodes` that of all."""
    time_limit = [f"walltime={-int(-ticket.time_limit // 1)}"] if ticket.time_limit else []
    memory = -(-(ticket.memory or 0) // 1024)
    if request == "nodes":
        wanted = {"ppn": ticket.processors, "gpus": ticket.gpu_count}
        mem = [f"mem={memory * ticket.nodes}kb"] if memory else []
        return [f"nodes={ticket.nodes}:{_chunk(wanted, ticket)}", *mem, *time_limit]
    wanted = {"ncpus": ticket.processors, "mpiprocs": ticket.processors, "ngpus": ticket.gpu_count}
    chunk = _chunk(wanted | ({"mem": f"{memory}kb"} if memory else {}), ticket)
    place = ticket.options.get("place") or ("scatter" if ticket.nodes > 1 else "")
    return [f"select={ticket.nodes}:{chunk}", *([f"place={place}"] if place else []), *time_limit]


def _chunk(wanted: Mapping[str, Any], ticket: Ticket) -> str:
    """With what the queue's configuration adds, or says otherwise."""
    parts = {name: str(value) for name, value in wanted.items() if value}
    for each in filter(None, str(ticket.options.get("chunk", "")).split(":")):
        name, _, value = each.partition("=")
        parts[name] = value
    return ":".join(f"{name}={value}" if value else name for name, value in parts.items())


def _plain(text: str) -> str:
    """For a variable that is there to be seen in qstat: neither quotes nor commas nor anything strange."""
    return re.sub(r"[^A-Za-z0-9@%+_.-]", "_", text)


# ---- what comes back


@dataclass
class _Seen:
    """A job, and what each of those that know of it has said."""

    placed: Placed
    dialect: Dialect
    rows: Sequence[Row]
    records: Records | None = None
    unanswered: bool = False
    """The history could not be asked now."""

    @property
    def needs_records(self) -> bool:
        return len(self.rows) != 1 or self.rows[0].state in pbs_words.OVER

    @property
    def ids(self) -> list[str]:
        """Under which the history may have it."""
        claimed = self.records.local_id if self.records else None
        return [each for each in dict.fromkeys((claimed, self.placed.local_id)) if each]

    @property
    def row(self) -> Row | None:
        return batch.chosen(self.rows, self.placed, self.records, pbs_text.number)

    @property
    def is_absent(self) -> bool:
        """Everybody was asked, and nobody knows it."""
        silent = self.records is not None and not (self.records.over or self.records.deleted)
        return self.row is None and silent and not self.unanswered

    def report(self) -> Report | None:
        """None: one of those who would know cannot be asked now."""
        row = self.row
        if row and row.state not in pbs_words.OVER:
            return _alive(row)
        if self.records is None or self.unanswered:
            return None
        return self._ended(row, self.records) if row else self._gone(self.records)

    def _ended(self, row: Row, known: Records) -> Report:
        exact = known.over and pbs_text.number(known.local_id or "") == pbs_text.number(row.local_id)
        condition, reason = self.dialect.how(row)
        if condition is None and not reason:
            condition, reason = _by_script(row, known, exact)
        code, signal = pbs_words.code(row.status) if condition is None else (None, None)
        return Report(
            Phase.ENDED,
            "qstat and the script's record" if exact else "qstat",
            local_id=row.local_id,
            exit_code=known.code if exact else code,
            signal=known.signal if exact else signal,
            condition=condition,
            reason=reason,
            started=known.started if exact else row.started,
            ended=known.ended if exact else row.ended,
            usage=Usage(
                known.wall if exact else row.wall, known.cpu if exact else row.cpu, row.peak_memory or None
            ),
            details=_details(row),
        )

    def _gone(self, known: Records) -> Report:
        """Of a job that is in no answer any more: as its script says, or the qdel that took it."""
        condition, reason = Condition.KILLED if known.deleted else None, ""
        if condition is None and known.failed:
            condition, reason = Condition.LAUNCH_FAILED, known.failed
        source = "script's record" if known.over else "qdel took it"
        return Report(
            Phase.ENDED,
            f"{source}, and qstat has it no longer",
            local_id=known.local_id,
            exit_code=known.code,
            signal=known.signal,
            condition=condition,
            reason=reason,
            started=known.started,
            ended=known.ended,
            usage=Usage(known.wall, known.cpu),
            details={"nodes": known.node} if known.node else {},
        )


def _by_script(row: Row, known: Records, exact: bool) -> tuple[Condition | None, str]:
    """The condition of a job that nobody ended, where its code alone does not say it, and the reason."""
    if exact:
        return (Condition.LAUNCH_FAILED, known.failed) if known.failed else (None, "")
    if known.started is not None or not row.status:
        return None, ""
    if row.status == UNCLAIMED:
        words = "Its script could not make its records, or another submission had run."
        return Condition.LAUNCH_FAILED, words
    return Condition.LAUNCH_FAILED, f"Its script never began (Exit_status {row.status})."


def _alive(row: Row) -> Report:
    phase = pbs_words.phase(row)
    return Report(
        phase,
        "qstat",
        local_id=row.local_id,
        reason=pbs_words.why(row),
        started=row.started if phase is Phase.RUNNING else None,
        details=_details(row),
    )


def _details(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {"nodes": row.nodes} if row.nodes else {}
    return found | ({"restarts": row.runs - 1} if row.runs > 1 else {})
