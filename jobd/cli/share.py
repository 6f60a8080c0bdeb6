"""jobctl share, unshare and pems: who besides its owner may see a job (read), or do with it what the owner
may (write, which includes reading).

jobctl share fit bob @lab               jobctl share fit carol --write
jobctl list -q | jobctl share - bob     jobctl unshare fit bob; jobctl unshare fit --all

The first word is the job, the others are people: a name can be both a job's and a person's. Several jobs are
those of standard input.
"""

from __future__ import annotations

from jobd.cli import ids
from jobd.cli.columns import word
from jobd.cli.parser import Parser, jobs
from jobd.cli.table import Column
from jobd.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jobd.cli.session import Session

COLUMNS = (Column("USER"), Column("READ"), Column("WRITE"))


def arguments(parser: Parser, verb: str) -> None:
    if verb == "pems":
        return jobs(parser, default="last")
    parser.epilog = f"""\
  jobctl {verb} fit bob @lab                  the first word is the job
  jobctl list -q | jobctl {verb} - bob        several jobs"""
    parser.add_argument("job", metavar="JOB", help=ids.HELP)
    some = "+" if verb == "share" else "*"
    parser.add_argument("people", metavar="PERSON|@GROUP", nargs=some, help="users, and groups with an @")
    if verb == "share":
        parser.add_argument(
            "-w", "--write", action="store_true", help="they may also do with it what you may"
        )
    else:
        parser.add_argument("-a", "--all", action="store_true", help="everybody")


def main(session: Session, verb: str) -> int:
    options = session.options
    if verb == "pems":
        return session.each(
            options.jobs, lambda job_id: _print(session, job_id, session.client().pems(job_id))
        )
    if verb == "unshare" and options.all == bool(options.people):
        raise Invalid("say who should no longer see it (expected users and @groups, or --all)")

    def one(job_id: str) -> None:
        rows: list[dict[str, Any]] = []
        try:
            for who in options.people or [None]:
                rows.append(_set(session, verb, job_id, who))
        finally:  # what is done is told, whatever is wrong with the next name
            _print(session, job_id, rows)

    return session.each([options.job], one, changes=True)


def _set(session: Session, verb: str, job_id: str, who: Any) -> dict[str, Any]:
    if verb == "share":
        return session.client().share(job_id, who, write=session.options.write)
    return session.client().unshare(job_id, who)


def _print(session: Session, job_id: str, rows: list[dict[str, Any]]) -> None:
    if session.options.json:
        for row in rows:
            session.json({"jobId": job_id, **row})
    elif session.options.quiet:
        for row in rows:
            session.out(str(row["username"]))
    elif rows:
        session.table(COLUMNS, map(_row, rows))


def _row(row: dict[str, Any]) -> list[str]:
    return [str(row["username"]), *(word(row["permission"][name]) for name in ("read", "write"))]
