"""jobctl kill, delete, restore, hold and release: one thing done to each of some jobs.

A kill is over when nothing is left of the job. The daemon's reply waits for that for a while; where it takes
longer, jobctl goes on waiting up to --timeout and says how things stand. A job that was over already is left
as it is, which is no failure.
"""

from __future__ import annotations

import time

from jobd.cli import exit
from jobd.cli.parser import Parser, jobs, seconds
from jobd.status import TERMINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobd.cli.columns import Job
    from jobd.cli.session import Session

PATIENCE = 60.0


def arguments(parser: Parser, verb: str) -> None:
    jobs(parser)
    if verb in ("kill", "delete"):
        parser.add_argument(
            "--timeout",
            type=seconds,
            default=PATIENCE,
            metavar="TIME",
            help="how long to wait for the end (default: 60s)",
        )


def _is_done(verb: str, job: Job) -> bool:
    """A job whose outputs are being archived is hidden at once."""
    return job["status"] in TERMINAL or (verb == "delete" and not job.get("visible", True))


def main(session: Session, verb: str) -> int:
    def one(job_id: str) -> int:
        job = getattr(session.client(), verb)(job_id)
        asked = verb in ("kill", "delete")
        if asked and not _is_done(verb, job):
            job = _until_over(session, job)
        session.job(job, _note(verb, job))
        return exit.PARTLY if asked and not _is_done(verb, job) else exit.OK

    return session.each(session.options.jobs, one, hidden=verb == "restore", changes=True)


def _until_over(session: Session, job: Job) -> Job:
    from jobd.errors import NotFound

    deadline = time.monotonic() + session.options.timeout
    while job["status"] not in TERMINAL and time.monotonic() < deadline:
        session.progress(f"{job['id']} is still {job['status']}")
        try:
            job = session.client().poll(job["id"], 1.0)
        except NotFound:  # it is over and, as was asked, hidden
            return next(session.client().list({"id": job["id"], "visible": "false"}, limit=1), job)
    return job


def _note(verb: str, job: Job) -> str:
    if verb == "kill" and job["status"] in TERMINAL:
        return "" if job.get("condition") == "KILLED" else "was over already"
    if verb in ("kill", "delete") and not _is_done(verb, job):
        return "asked, and not over yet"
    if verb == "restore" and job.get("purged"):
        return f"its files are gone: they were removed on {job['purged']}"
    return {"delete": "deleted; restore brings it back"}.get(verb, "")
