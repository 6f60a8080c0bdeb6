"""Verify: do the outputs of two jobs agree, file by file, and did both end in the same way? Meant for a job
and its strict resubmission. The verdict goes into the history of both.

Verified is only what was compared: a file without a digest, or nothing to compare at all, is no agreement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from jobd.errors import Conflict, Fault, Invalid
from jobd.store import moves
from jobd.store.files import Output
from jobd.store.job import Job
from jobd.store.writer import Transaction
from jobd.units import shown
from jobd.verbs.desk import Caller, Desk, find_writable
from jobd.verbs.digests import Made, made

MOST_PATTERNS = 100
LONGEST_PATTERN = 200
_NAMED = 3


class Verdict(StrEnum):
    SAME = "same"
    DIFFERS = "differs"
    ONLY_FIRST = "only in the first"
    ONLY_SECOND = "only in the second"
    UNKNOWN = "no digest"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class File:
    name: str
    verdict: Verdict
    first: Output | None
    second: Output | None

    @property
    def agrees(self) -> bool:
        return self.verdict in (Verdict.SAME, Verdict.LEFT_OUT)


@dataclass(frozen=True)
class Verification:
    jobs: tuple[Job, Job]
    files: list[File]
    problems: list[str]
    """What else speaks against it."""
    compared: tuple[str, str]
    """What outputs of each were looked at."""

    @property
    def verified(self) -> bool:
        return not self.problems and all(file.agrees for file in self.files)


async def verify(
    desk: Desk, caller: Caller, job_id: str, against: str, ignore: Sequence[str]
) -> Verification:
    """`ignore`: patterns of files that are left out, with * ? and [..]. Raises Invalid, NotFound, Forbidden;
    Conflict while one of the two is not over; Unavailable while their files are written to."""
    _check(ignore)
    first, second = [await _over(desk, caller, one) for one in (job_id, against)]
    if first.id == second.id:
        raise Invalid(Fault("against", "it is the same job", "another one"))
    outputs = [await made(desk, caller, first), await made(desk, caller, second)]
    found = Verification(
        (first, second),
        list(_files(outputs[0], outputs[1], ignore)),
        _problems(first, second, outputs[0], outputs[1]),
        (outputs[0].where, outputs[1].where),
    )
    if not any(file.verdict is Verdict.SAME for file in found.files) and found.verified:
        found.problems.append("there is nothing that was compared")
    await desk.store.write(lambda tx: _record(tx, caller, found, ignore))
    return found


async def _over(desk: Desk, caller: Caller, job_id: str) -> Job:
    job = await find_writable(desk, caller, job_id)
    if not job.over:
        raise Conflict(f"job {job_id} is {job.status}: only what is over can be compared")
    return job


def _files(first: Made, second: Made, ignore: Sequence[str]) -> Iterator[File]:
    ours, theirs = first.files or {}, second.files or {}
    for name in sorted({*ours, *theirs}):
        verdict = Verdict.LEFT_OUT if _left_out(name, ignore) else _verdict(ours.get(name), theirs.get(name))
        yield File(name, verdict, ours.get(name), theirs.get(name))


def _left_out(name: str, ignore: Sequence[str]) -> bool:
    last = name.rpartition("/")[2]
    return any(fnmatchcase(name, pattern) or fnmatchcase(last, pattern) for pattern in ignore)


def _verdict(first: Output | None, second: Output | None) -> Verdict:
    if first is None or second is None:
        return Verdict.ONLY_SECOND if first is None else Verdict.ONLY_FIRST
    if first.sha256 is None or second.sha256 is None:
        return Verdict.UNKNOWN
    return Verdict.SAME if (first.size, first.sha256) == (second.size, second.sha256) else Verdict.DIFFERS


def _problems(first: Job, second: Job, ours: Made, theirs: Made) -> list[str]:
    problems = [
        f"job {job.id}: {why}" for job, of_it in ((first, ours), (second, theirs)) for why in of_it.missing
    ]
    if _ending(first) != _ending(second):
        problems.append(f"one ended with {_ending(first)}, the other with {_ending(second)}")
    return problems


def _ending(job: Job) -> str:
    how = f"signal {job.signal}" if job.signal else f"exit code {job.exit_code}"
    return f"{how} ({job.condition})"


def _record(tx: Transaction, caller: Caller, found: Verification, ignore: Sequence[str]) -> None:
    status = "VERIFIED" if found.verified else "NOT_VERIFIED"
    first, second = found.jobs
    for job, other in ((first, second), (second, first)):
        moves.record(tx, job.seq, status, caller.name, _words(found, other, ignore))


def _words(found: Verification, other: Job, ignore: Sequence[str]) -> str:
    left_out = f" Left out: {', '.join(ignore)}." if ignore else ""
    if found.verified:
        number = sum(file.verdict is Verdict.SAME for file in found.files)
        files = f"{number} file{'s' * (number != 1)}"
        return f"Its outputs and those of {other.id} agree: {files} by SHA-256.{left_out}"
    wrong = [f"{file.name} ({file.verdict})" for file in found.files if not file.agrees]
    told = "; ".join([*found.problems, *wrong[:_NAMED]])
    more = f"; {len(wrong) - _NAMED} more files" if len(wrong) > _NAMED else ""
    return f"Compared with {other.id}, it is not verified: {told}{more}.{left_out}"


def _check(ignore: Sequence[str]) -> None:
    if len(ignore) > MOST_PATTERNS:
        raise Invalid(Fault("ignore", f"there are {len(ignore)} patterns", f"at most {MOST_PATTERNS}"))
    for pattern in ignore:
        if len(pattern) > LONGEST_PATTERN:
            problem = f"{shown(pattern)} is too long"
            raise Invalid(Fault("ignore", problem, f"at most {LONGEST_PATTERN} characters"))
