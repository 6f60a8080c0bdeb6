"""jobctl history: what happened to a job, from the beginning."""

from __future__ import annotations

from jobd.cli.columns import word
from jobd.cli.parser import Parser, jobs
from jobd.cli.table import Column
from jobd.cli.text import local_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jobd.cli.session import Session

COLUMNS = (Column("TIME"), Column("STATUS"), Column("BY"), Column("WHAT"))
FIELDS = ("status", "createdBy", "description")


def arguments(parser: Parser, verb: str) -> None:
    jobs(parser, default="last")


def main(session: Session, verb: str) -> int:
    def one(job_id: str) -> None:
        events = session.client().history(job_id)
        if session.options.json:
            for event in events:
                session.json({"jobId": job_id, **event})
        else:
            session.table(COLUMNS, map(_row, events))

    return session.each(session.options.jobs, one)


def _row(event: dict[str, Any]) -> list[str]:
    return [
        local_time(event.get("created"), milliseconds=True),
        *(word(event.get(field)) for field in FIELDS),
    ]
