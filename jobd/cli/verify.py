"""jobctl verify: run a job again, strictly as it was, and compare what the two have made, file by file.

Exit code 0 only if all agrees. The verdict is kept in the history of both jobs. What is interrupted or times
out can be gone on with: `jobctl verify JOB --against OTHER` compares without running anything.
"""

from __future__ import annotations

import time

from jobd.cli import exit, ids
from jobd.cli.diff import cell, tell_what_was_compared
from jobd.cli.follow import until_over
from jobd.cli.parser import Parser, seconds
from jobd.cli.table import Column
from jobd.errors import Conflict
from jobd.status import TERMINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jobd.cli.session import Session

STRICT = {
    "ignoreInputConflicts": False,
    "ignoreParameterConflicts": False,
    "preserveNotifications": False,
}


def arguments(parser: Parser, verb: str) -> None:
    parser.add_argument("job", metavar="JOB", help=ids.HELP)
    parser.add_argument("--against", metavar="OTHER", help="compare with this job, and run nothing")
    parser.add_argument(
        "--ignore",
        metavar="PATTERN",
        action="append",
        default=[],
        help="leave out files like this: '*.log', stderr; again for several",
    )
    parser.add_argument("--timeout", type=seconds, metavar="TIME", help="give up waiting after so long")


def main(session: Session, verb: str) -> int:
    options, client = session.options, session.client()
    first = ids.find(client, options.job, changes=True)
    second = ids.find(client, options.against, changes=True) if options.against else _again(session, first)
    found = client.verify(first, second, options.ignore)
    if options.json:
        session.json(found)
    elif options.quiet:
        session.out(second)
    else:
        _print(session, found)
    return exit.OK if found["verified"] else exit.DIFFERENT


def _again(session: Session, job_id: str) -> str:
    """The id of its strict rerun, once that is over."""
    client, limit = session.client(), session.options.timeout
    job = client.show(job_id)
    if job["status"] not in TERMINAL:
        raise Conflict(f"job {job_id} is {job['status']}: only what is over can be verified")
    rerun = str(client.resubmit(job_id, None, **STRICT)["id"])
    session.say(f"it runs again as {rerun}")
    until_over(session, rerun, None if limit is None else time.monotonic() + limit)
    return rerun


def _print(session: Session, found: dict[str, Any]) -> None:
    first, second = found["jobs"]
    columns = [Column("FILE", flexible=True), Column("VERDICT"), Column(first[:8]), Column(second[:8])]
    rows = [[one["name"], one["verdict"], cell(one["first"]), cell(one["second"])] for one in found["files"]]
    if rows:
        session.table(columns, rows)
    session.out(f"{'verified' if found['verified'] else 'NOT verified'}: {first} and {second}")
    for words in found["problems"]:
        session.out(words)
    tell_what_was_compared(session, found)
