"""jobctl wait: until all of these jobs are over; the exit code is the first, in order, that is not 0."""

from __future__ import annotations

import time

from jobd.cli import exit
from jobd.cli.follow import no_code, until_over
from jobd.cli.parser import Parser, jobs, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobd.cli.session import Session


def arguments(parser: Parser, verb: str) -> None:
    jobs(parser, default="last")
    parser.add_argument(
        "--timeout", type=seconds, metavar="TIME", help="give up after so long (30s, 15m), with code 124"
    )


def main(session: Session, verb: str) -> int:
    limit = session.options.timeout
    deadline = None if limit is None else time.monotonic() + limit

    def one(job_id: str) -> int:
        job = until_over(session, job_id, deadline)
        code = exit.of_job(job)
        unknown = code == exit.NO_CODE and job.get("exitCode") is None
        told = "no exit code" if unknown else f"exit code {code}"
        session.job(job, "" if job["status"] == "FINISHED" else told)
        if unknown:
            session.say(no_code(job))
        return code

    return exit.first_bad(session.codes(session.options.jobs, one))
