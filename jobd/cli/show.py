"""jobctl show and status: all about a job, or one word."""

from __future__ import annotations

import time

from jobd.cli import text
from jobd.cli.columns import peak_memory, value, word
from jobd.cli.parser import Parser, jobs
from jobd.cli.tag import TAG, tags
from jobd.status import TERMINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from jobd.cli.columns import Job
    from jobd.cli.session import Session


MOST_ATTEMPTS = 20


def arguments(parser: Parser, verb: str) -> None:
    jobs(parser, default="last")


def main(session: Session, verb: str) -> int:
    def one(job_id: str) -> None:
        job = session.client().show(job_id)
        if session.options.json:
            session.json(job)
        elif session.options.quiet:
            session.out(job["id"])
        elif verb == "status":
            session.out(text.coloured(job["status"], job["status"] if _colour(session) else ""))
        else:
            _show(session, job)

    return session.each(session.options.jobs, one)


def _colour(session: Session) -> bool:
    import sys

    return text.wants_colour(session.options.color, sys.stdout)


def _show(session: Session, job: Job) -> None:
    facts = [(label, words) for label, words in _facts(session, job) if words]
    size = max(len(label) for label, _ in facts)
    for label, words in facts:
        session.out(f"{label:{size}}  {text.printable(words)}")
    session.out("")


def _facts(session: Session, job: Job) -> Iterator[tuple[str, str]]:
    yield "job", str(job["id"])
    yield "name", str(job["name"])
    yield "owner", str(job.get("owner") or "")
    yield "status", _status(job)
    yield "reason", str(job.get("reason") or "")
    yield from _ending(job)
    yield "app", _app(job)
    yield from _values(job)
    yield "command", _command(job)
    yield "directory", str(job.get("directory") or "")
    yield "stdin", str(job.get("stdin") or "")
    yield "runs on", _place(job)
    yield "asked for", _sizes(job)
    yield "submitted", text.local_time(job.get("created"))
    yield "started", text.local_time(job.get("startTime"))
    yield "ended", text.local_time(job.get("endTime"))
    yield "used", _usage(job)
    yield "files", str(job.get("outputPath") or "")
    yield "archive", str(job.get("archivePath") or "")
    yield "again of", _attempts_before(session, job)
    for did in job.get("migrated") or ():
        yield "migrated", f"{did['field']}: {did['why']}; {did['done']}"
    yield from _noted(session.client().notes(job["id"]))
    yield "held by", _containment(job)
    yield "daemon", str(session.client().host)


def _noted(notes: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    yield "tags", tags(notes)
    for note in notes:
        if note["name"] != TAG:
            yield note["name"], word(note["value"])


def _status(job: Job) -> str:
    status = str(job["status"])
    since = text.moment(
        job.get("endTime") if status in TERMINAL else job.get("startTime") or job.get("created")
    )
    if since is None:
        return status
    how_long = text.age(time.time() - since)
    return f"{status}, {how_long} ago" if status in TERMINAL else f"{status}, for {how_long}"


def _ending(job: Job) -> Iterator[tuple[str, str]]:
    if job["status"] in TERMINAL:
        known_code = "no exit code" if job.get("exitCode") is None else f"exit code {job['exitCode']}"
        code = f"signal {job['signal']}" if job.get("signal") else known_code
        known = f"; known from: {job['evidence']}" if job.get("evidence") else ""
        yield "outcome", f"{code} ({job.get('condition')}){known}"
    if asked := job.get("killAsked"):
        yield "kill asked", f"by {asked.get('by')}, {text.local_time(asked.get('at'))}"
    if asked := job.get("deleteAsked"):
        yield "delete asked", f"by {asked.get('by')}, {text.local_time(asked.get('at'))}"


def _app(job: Job) -> str:
    revision = job.get("appRevision")
    return f"{job.get('appId')}, revision {revision}" if revision else ""


def _values(job: Job) -> Iterator[tuple[str, str]]:
    for part, label in (("inputs", "input"), ("parameters", "parameter")):
        for name, found in (job.get(part) or {}).items():
            yield label, f"{name} = {word(found)}"


def _attempts_before(session: Session, job: Job) -> str:
    """The job that this one repeats, the one which that one repeats, and so on."""
    from jobd.errors import NotFound

    chain: list[str] = []
    try:
        while (before := job.get("resubmitOf")) and len(chain) < MOST_ATTEMPTS:
            chain.append(str(before))
            job = session.client().show(str(before))
    except NotFound:  # deleted, or somebody else's
        pass
    return ", again of ".join(chain)


def _command(job: Job) -> str:
    import shlex

    return shlex.join(job.get("command") or [])


def _place(job: Job) -> str:
    place = f"{job.get('executionSystem')}, queue {job.get('batchQueue')}"
    return place + (f", local id {job['localId']}" if job.get("localId") else "")


def _sizes(job: Job) -> str:
    sizes = [
        f"{word(job.get('nodeCount'))} node(s)",
        f"{word(job.get('processorsPerNode'))} processor(s) each",
    ]
    if job.get("memoryPerNode"):
        sizes.append(f"{word(job['memoryPerNode'])} GB each")
    if job.get("gpus"):
        sizes.append(
            f"{job['gpus']} GPU(s)" + (f": {word(job['gpuIndices'])}" if job.get("gpuIndices") else "")
        )
    if job.get("maxRunTime"):
        sizes.append(f"for {job['maxRunTime']} at most")
    if job.get("priority"):
        sizes.append(f"priority {job['priority']}")
    return ", ".join(sizes)


def _usage(job: Job) -> str:
    parts = []
    for field, label in (("usage.wall", "wall"), ("usage.cpu", "CPU")):
        if (seconds := value(job, field)) is not None:
            parts.append(f"{seconds:.2f} s {label}")
    if value(job, "usage.peakMemory") is not None:
        parts.append(f"{peak_memory(job)} peak")
    return ", ".join(parts)


def _containment(job: Job) -> str:
    found = job.get("containment")
    return word(found) if found else ""
