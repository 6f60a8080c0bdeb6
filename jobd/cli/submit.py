"""jobctl submit: hand jobs over and come back at once (or, with --wait, when they are over).

--each takes a file with a command per line: a thousand runs are one request, all of them taken or none. (A
request that would be too large for the daemon goes in parts, each of them all or none.)
"""

from __future__ import annotations

from jobd.cli import exit, request
from jobd.errors import Invalid, JobdError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from jobd.cli.columns import Job
    from jobd.cli.parser import Parser
    from jobd.cli.session import Session

MOST_JOBS = 5000
MOST_BYTES = 8 * 1024 * 1024
"""In one request."""


def arguments(parser: Parser, verb: str) -> None:
    parser.usage = (
        "jobctl submit [options] [--] COMMAND ..\n"
        "       jobctl submit [options] --app ID | -f FILE | --each FILE"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "-f", "--file", metavar="FILE", help="a job, or a list of jobs, in YAML or JSON (-: standard input)"
    )
    source.add_argument(
        "--each", metavar="FILE", help="a job for each line, which holds a command (-: standard input)"
    )
    parser.add_argument(
        "-w", "--wait", action="store_true", help="wait for the end, and give the job's exit code"
    )
    request.arguments(parser)


def main(session: Session, verb: str) -> int:
    options = session.options
    if (options.file or options.each) and (options.app or request.command_of(options)):
        what = "an app" if options.app else "a command"
        raise Invalid(f"there is {what} and a file (expected one of them)")
    if options.file:
        jobs = _submit_file(session)
    elif options.each:
        jobs = _submit_each(session)
    else:
        jobs = [_submit_one(session)]
    for job in jobs:
        session.job(job)
    if not options.wait:
        return exit.OK
    from jobd.cli.follow import until_over

    return exit.first_bad([exit.of_job(until_over(session, job["id"])) for job in jobs])


def _submit_one(session: Session) -> Job:
    wanted = request.wanted(session)
    try:
        return session.client(start=True).submit(**wanted)
    except Invalid as error:
        raise request.with_options(error, session.options) from error


def _submit_file(session: Session) -> Sequence[Job]:
    file = request.JobFile(session.options.file)
    wanted = file.requests(session)
    try:
        return session.client(start=True).submit_many(wanted)  # type: ignore[arg-type]
    except Invalid as error:
        raise file.located(error) from error


def _submit_each(session: Session) -> Sequence[Job]:
    wanted = list(request.of_lines(session, session.options.each))
    if not wanted:
        raise Invalid(f"{session.options.each}: there is no command in this")
    client = session.client(start=True)
    jobs: list[Job] = []
    for part in parts(wanted):
        try:
            jobs += client.submit_many(part)
        except JobdError:
            if jobs:
                session.say(
                    f"the first {len(jobs)} of {len(wanted)} jobs were submitted, then this happened:"
                )
            raise
    return jobs


def parts(requests: Iterable[request.Request]) -> Iterator[list[request.Request]]:
    """The requests in as few groups as may go together."""
    import json

    part: list[request.Request] = []
    size = 0
    for wanted in requests:
        length = len(json.dumps(wanted))
        if part and (len(part) == MOST_JOBS or size + length > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(wanted)
        size += length
    if part:
        yield part
