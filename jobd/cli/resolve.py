"""jobctl resolve: for a job whose system never said whether it took it; a person has looked."""

from __future__ import annotations

from jobd.cli import ids
from jobd.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobd.cli.session import Session


def arguments(parser: Parser, verb: str) -> None:
    parser.add_argument("job", metavar="JOB", help=ids.HELP)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--local-id", metavar="ID", help="its system has it, under this id")
    which.add_argument(
        "--never-submitted", action="store_true", help="its system never got it: hand it over again"
    )


def main(session: Session, verb: str) -> int:
    options = session.options

    def one(job_id: str) -> None:
        client = session.client()
        session.job(
            client.resolve(job_id, local_id=options.local_id, never_submitted=options.never_submitted)
        )

    return session.each([options.job], one, changes=True)
