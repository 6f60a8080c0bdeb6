"""A Slurm cluster (22.05 and later), by its commands.

Everything goes by the job's name, which is the attempt's tag: a local id alone is no identity, since ids are
used again (T3). sbatch, scancel and scontrol run as the person, the queries as the daemon.

One poll is one squeue for everybody's jobs (T9). What it says, and what is asked besides, by ladder:

    squeue      while the job is there: the state, and when it is over its end
    the script  of a job that is over or gone: the exact code (see jobscript.py)
    sacct       of a job that is gone, where the cluster keeps accounts; its codes from 129 on lack 128

A job that is in none of them is absent, which ends nothing (T4). One that squeue no longer lists, and whose
script wrote down its end, is over.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobd.backend import Backend, Finding, Phase, Placed, Report, Ticket, Usage
from jobd.backends import batch, jobscript, slurm_doctor, slurm_text, slurm_words
from jobd.backends.batch import LOOK_BACK, SKEW, Answer, Programs, RecordReader, Scheduler, Unheard
from jobd.backends.jobscript import UNCLAIMED, Records
from jobd.backends.slurm_text import Row
from jobd.errors import Conflict, Down, Fault, Invalid, Refused, Unavailable
from jobd.keeper.persons import Ran
from jobd.status import Condition

PROGRAMS = ("sbatch", "squeue", "sacct", "scontrol", "scancel")
OPTIONS = {*PROGRAMS, "conf", "cluster", "accounting", "timeouts"}
QUEUE_OPTIONS = {
    "account": "--account",
    "constraint": "--constraint",
    "gres": "--gres",
    "qos": "--qos",
    "reservation": "--reservation",
}
_WORD = r"[^\s'\"\\#]+"
_MOST_NAMES = 500
"""Above this many, the whole table is cheaper than looking for each name in it."""
_ACCOUNTS_LAG = 120.0
"""Seconds for which a job's end, once its script has written it down, waits for the accounts to tell how."""
_OF_THE_SCHEDULER = re.compile(r"(SLURM|SLURMD|SBATCH|SQUEUE|SACCT|SCANCEL|SCONTROL)_.*")
_OF_DEVICES = {"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "JOBD_GPUS"}


class SlurmBackend(Backend):
    def __init__(self, options: Mapping[str, Any], persons: Any) -> None:
        super().__init__(options, persons)
        batch.check_names(options, OPTIONS, "options")
        conf = batch.text_option(options, "conf", "options", "/.*", "an absolute path")
        cluster = batch.text_option(options, "cluster", "options", r"[\w.-]+", "the name of one cluster")
        self._cluster = [f"--clusters={cluster}"] if cluster else []
        self._accounting = _accounting(options)
        self._unheard = Unheard()
        self._records = RecordReader(persons)
        environment = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "SLURM_TIME_FORMAT": "%s"}
        environment |= {"SLURM_CONF": conf} if conf else {}
        programs = Programs.read(options, PROGRAMS)
        self._slurm = Scheduler(persons, programs, environment, slurm_words.TRANSIENT)
        # What sbatch has in its environment, the job gets.
        self._sbatch = replace(self._slurm, environment={"SLURM_CONF": conf} if conf else {})

    def check_queue(self, options: Mapping[str, Any]) -> None:
        batch.check_names(options, QUEUE_OPTIONS, "options")
        for name in options:
            batch.text_option(options, name, "options", _WORD, "one word without quotes")

    # handing over

    def submit(self, ticket: Ticket) -> Placed:
        began = time.time()
        try:
            said = self._sbatch.submit(ticket, "sbatch", self._arguments(ticket), _script(ticket))
        except Refused as words:
            if slurm_words.LATER.search(str(words)):
                raise Unavailable(str(words)) from words
            raise
        if isinstance(said, Ran):
            return batch.placed(ticket, said.local_id, began - LOOK_BACK, said.tag)
        local_id = slurm_text.submitted(said) or ""
        if not local_id:
            raise Unavailable(f"sbatch took it and named no job: {said[:200]!r}")
        return batch.placed(ticket, local_id, began)

    def _arguments(self, ticket: Ticket) -> list[str]:
        """What no directive in the script can change."""
        return [
            "--parsable",
            f"--job-name={ticket.tag}",
            f"--comment={ticket.name}",
            f"--partition={ticket.queue}",
            f"--chdir={ticket.workspace}",
            f"--output={_log(ticket.stdout)}",
            f"--error={_log(ticket.stderr)}",
            "--open-mode=append",
            "--export=ALL",
            "--propagate=NONE",
            *self._cluster,
        ]

    def find(self, ticket: Ticket) -> Placed | None:
        """In squeue, in the script's records, and in accounting where there is one."""
        since = time.time() - LOOK_BACK
        sought = batch.placed(ticket, "", since)
        rows = Answer(self._squeue([ticket.tag])).of(sought)
        if rows:
            return batch.placed(ticket, rows[0].local_id, rows[0].submitted or since)
        known = self._records.read([sought])[ticket.tag]
        if known is None:
            raise Unavailable(f"{ticket.workspace} cannot be read as {ticket.user}")
        if known.local_id:
            return batch.placed(ticket, known.local_id, known.started or since)
        rows = Answer(self._sacct([ticket.tag], since)).of(sought)
        return batch.placed(ticket, rows[0].local_id, rows[0].submitted or since) if rows else None

    # hearing

    def poll(self, placed: Collection[Placed]) -> Mapping[str, Report | None]:
        if not placed:
            return {}
        told = Answer(self._squeue([batch.name_of(each) for each in placed]))
        seen = [_Seen(each, told.of(each)) for each in placed]
        found = self._records.read(one.placed for one in seen if one.needs_records)
        for one in seen:
            one.records = found.get(one.placed.tag, Records())
        gone = [one for one in seen if one.is_gone]
        if gone:
            self._ask_accounting(gone)
        return {one.placed.tag: one.report() for one in seen if not one.is_absent}

    def _ask_accounting(self, gone: Sequence[_Seen]) -> None:
        """Once for all that squeue no longer has; of those unknown to it not at every poll."""
        due = [one for one in gone if self._unheard.is_due(one.placed.tag)]
        names, since = [batch.name_of(one.placed) for one in due], min(one.placed.submitted for one in gone)
        try:
            rows = self._sacct(names, since - SKEW) if due else []
        except Unavailable:
            rows = None
        told = Answer(rows or ())
        for one in gone:
            one.unanswered = rows is None
            one.accounts = [row for row in told.of(one.placed) if _is_settled(row)]
            one.may_be_accounted = self._accounting is not False
            self._unheard.note(one.placed.tag, one in due and rows is not None and not one.accounts)

    def _squeue(self, names: Sequence[str]) -> list[Row]:
        few = [f"--name={','.join(names)}"] if len(names) <= _MOST_NAMES else []
        arguments = ["--noheader", "--states=all", f"--Format={slurm_text.SQUEUE}"]
        return slurm_text.squeue(self._slurm.ask("squeue", *arguments, *few, *self._cluster))

    def _sacct(self, names: Sequence[str], since: float) -> list[Row]:
        """Nothing where no accounts are kept. Raises Down."""
        if self._accounting is False:
            return []
        start = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since))
        arguments = ["--allusers", "--noheader", "--parsable2", f"--starttime={start}"]
        arguments += [f"--format={slurm_text.SACCT}", *self._cluster]
        rows: list[Row] = []
        for first in range(0, len(names), _MOST_NAMES):
            some = ",".join(names[first : first + _MOST_NAMES])
            try:
                rows += slurm_text.sacct(self._slurm.ask("sacct", *arguments, f"--name={some}"))
            except Down as trouble:
                if not slurm_words.ACCOUNTING_OFF.search(str(trouble)):
                    raise
                self._accounting = False
        return rows

    # ending, holding

    def kill(self, placed: Placed) -> None:
        """By name, as the person: an id that is somebody else's by now is safe."""
        arguments = [f"--name={batch.name_of(placed)}", f"--user={placed.owner}", *self._cluster]
        try:
            self._slurm.order(placed.owner, "scancel", *arguments)
        except Refused as words:
            if not slurm_words.ALREADY_OVER.search(str(words)):
                raise Unavailable(str(words)) from words

    def hold(self, placed: Placed) -> None:
        self._update(placed, "hold")

    def release(self, placed: Placed) -> None:
        self._update(placed, "release")

    def _update(self, placed: Placed, verb: str) -> None:
        try:
            self._slurm.order(
                placed.owner, "scontrol", *self._cluster, verb, f"jobname={batch.name_of(placed)}"
            )
        except Refused as words:
            raise Conflict(f"Slurm does not {verb} it: {words}") from words

    def doctor(self, user: str, directory: str, interval: float) -> Sequence[Finding]:
        return list(slurm_doctor.findings(self._slurm, self._accounting, user, directory, interval))


def _accounting(options: Mapping[str, Any]) -> bool | None:
    """None: as Slurm says itself."""
    value = options.get("accounting", "auto")
    if value == "auto":
        return None
    if not isinstance(value, bool):
        raise Invalid(Fault("options.accounting", f"{value!r} will not do", "true, false or auto"))
    return value


# ---- what goes to sbatch


def _script(ticket: Ticket) -> bytes:
    return jobscript.script(
        ticket, _directives(ticket), _environment(ticket), "SLURM_JOB_ID", "SLURM_RESTART_COUNT"
    )


def _environment(ticket: Ticket) -> dict[str, str]:
    """The job's own, without what Slurm itself sets in it or would be misled by: the person may have
    submitted from inside another job."""
    return {
        name: value
        for name, value in ticket.environment.items()
        if not _OF_THE_SCHEDULER.fullmatch(name) and not (ticket.gpu_count and name in _OF_DEVICES)
    }


def _directives(ticket: Ticket) -> list[str]:
    """Lines that those of the queue's configuration can still change: the last one counts."""
    wanted = {
        "--nodes": ticket.nodes,
        "--ntasks-per-node": ticket.processors,
        "--mem": f"{-(-ticket.memory // 1024**2)}M" if ticket.memory else None,
        "--time": _minutes(ticket.time_limit) if ticket.time_limit else None,
        "--gpus-per-node": ticket.gpu_count or None,
    }
    wanted |= {option: ticket.options.get(name) for name, option in QUEUE_OPTIONS.items()}
    return [f"#SBATCH {option}={value}" for option, value in wanted.items() if value]


def _minutes(seconds: float) -> str:
    whole = -int(-seconds // 1)
    return f"{whole // 60}:{whole % 60:02}"


def _log(path: str) -> str:
    """As a pattern of Slurm's file names that stands for itself. Raises Refused."""
    if "\\" in path:
        raise Refused(f"Slurm cannot be given the log file {path!r}: it holds a backslash")
    return path.replace("%", "%%")


# ---- what comes back


def _is_settled(row: Row) -> bool:
    """Is it over for accounting, and known how? After an outage of the database a failed job is first shown
    with neither code nor end."""
    unknown = row.state == "FAILED" and not row.code and not row.signal
    return row.state in slurm_words.ENDINGS and row.ended is not None and not unknown


@dataclass
class _Seen:
    """A job, and what each of those that know of it has said."""

    placed: Placed
    rows: Sequence[Row]
    records: Records | None = None
    accounts: Sequence[Row] = ()
    unanswered: bool = False
    may_be_accounted: bool = False

    @property
    def needs_records(self) -> bool:
        return len(self.rows) != 1 or self.rows[0].state in slurm_words.ENDINGS

    @property
    def is_gone(self) -> bool:
        return self._row(self.rows) is None

    @property
    def is_absent(self) -> bool:
        """Everybody was asked, and nobody knows it."""
        known = self.records is None or self.records.over or self.accounts or self.unanswered
        return self.is_gone and not known

    def report(self) -> Report | None:
        """None: one of those who would know cannot be asked now."""
        row = self._row(self.rows)
        if row is None:
            return self._of_gone()
        if row.state not in slurm_words.ENDINGS:
            return _alive(row)
        return self._ended(row, "squeue") if self.records is not None else None

    def _of_gone(self) -> Report | None:
        account = self._row(self.accounts)
        if account and self.records is not None:
            return self._ended(account, "accounting")
        if self.records and self.records.over and not self._may_still_be_accounted(self.records):
            return self._by_its_script(self.records)
        return None

    def _may_still_be_accounted(self, known: Records) -> bool:
        """The accounts say more of how it ended than a code, if somewhat later."""
        return self.may_be_accounted and time.time() < (known.ended or 0.0) + _ACCOUNTS_LAG

    def _row(self, rows: Sequence[Row]) -> Row | None:
        return batch.chosen(rows, self.placed, self.records)

    def _ended(self, row: Row, source: str) -> Report:
        known = self.records or Records()
        exact = known.over and known.local_id == row.local_id
        condition, reason = _how(row, known, exact, source)
        return Report(
            Phase.ENDED,
            f"{source} and the script's record" if exact else source,
            local_id=row.local_id,
            exit_code=known.code if exact else row.code if condition is None else None,
            signal=known.signal if exact else row.signal if condition is None else None,
            condition=condition,
            reason=reason,
            started=known.started if exact else row.started,
            ended=known.ended if exact else row.ended,
            usage=Usage(known.wall if exact else row.wall, known.cpu if exact else row.cpu, row.peak_memory),
            details=_details(row),
        )

    def _by_its_script(self, known: Records) -> Report:
        return Report(
            Phase.ENDED,
            "script's record, and squeue has it no longer",
            local_id=known.local_id,
            exit_code=known.code,
            signal=known.signal,
            condition=Condition.LAUNCH_FAILED if known.failed else None,
            reason=known.failed or "",
            started=known.started,
            ended=known.ended,
            usage=Usage(known.wall, known.cpu),
            details={"node": known.node} if known.node else {},
        )


def _how(row: Row, known: Records, exact: bool, source: str) -> tuple[Condition | None, str]:
    """The condition, where the code alone does not say it, and the reason."""
    condition = slurm_words.ENDINGS[row.state]
    if condition is not None:
        return condition, row.state if row.reason in ("", "None") else f"{row.state} ({row.reason})"
    if exact:
        return (Condition.LAUNCH_FAILED, known.failed) if known.failed else (None, "")
    if known.started is None and row.started is not None and row.state == "FAILED":
        return _never_began(row)
    if source == "accounting" and row.code and row.code < 128:
        return None, f"Accounting says {row.code}, and cannot tell that from {row.code + 128}."
    return None, "" if row.reason in ("", "None", "NonZeroExitCode") else row.reason


def _never_began(row: Row) -> tuple[Condition | None, str]:
    """Its script left no record of its start."""
    if row.code == UNCLAIMED:
        return (
            Condition.LAUNCH_FAILED,
            "Its script could not make its records, or another submission had run.",
        )
    return Condition.LAUNCH_FAILED, f"Its script never began ({row.reason or row.state})."


def _alive(row: Row) -> Report:
    phase = slurm_words.PHASES.get(row.state) or _phase_of_unknown(row)
    if phase is Phase.QUEUED and row.reason in slurm_words.HELD:
        phase = Phase.HELD
    if row.state not in slurm_words.PHASES:
        reason = f"Slurm calls it {row.state}."
    else:
        reason = slurm_words.why(row.reason) if phase in (Phase.QUEUED, Phase.HELD) else ""
    return Report(
        phase,
        "squeue",
        local_id=row.local_id,
        reason=reason,
        started=row.started if phase is Phase.RUNNING else None,
        details=_details(row),
    )


def _phase_of_unknown(row: Row) -> Phase:
    """Of a word that a later Slurm has: it is not over, and it runs if it has a node."""
    return Phase.RUNNING if row.nodes else Phase.QUEUED


def _details(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {"nodes": row.nodes} if row.nodes else {}
    return found | ({"restarts": row.restarts} if row.restarts else {})
