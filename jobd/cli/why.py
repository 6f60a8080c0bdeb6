"""jobctl why: why a job waits, or how it ended and how that is known, in words."""

from __future__ import annotations

from jobd.cli.columns import word
from jobd.cli.parser import Parser, jobs
from jobd.cli.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobd.cli.session import Session


def arguments(parser: Parser, verb: str) -> None:
    jobs(parser, default="last")


def main(session: Session, verb: str) -> int:
    def one(job_id: str) -> None:
        answer = session.client().why(job_id)
        if session.options.json:
            session.json(answer)
        else:
            session.out(printable(word(answer.get("why"))))

    return session.each(session.options.jobs, one)
