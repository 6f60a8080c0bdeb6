"""jobctl deliveries: what is still to be told of your jobs, what was, and what could not be; and having that
tried anew, or forgotten."""

from __future__ import annotations

from functools import cache

from jobd.cli import exit, ids
from jobd.cli.columns import word
from jobd.cli.table import Column

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jobd.cli.parser import Parser
    from jobd.cli.session import Session

LIMIT = 50
COLUMNS = (
    Column("ID"), Column("JOB"), Column("USER"), Column("EVENT"), Column("STATUS"), Column("TRIES"),
    Column("TO", flexible=True), Column("CAME OF IT", flexible=True),
)  # fmt: skip


def arguments(parser: Parser, verb: str) -> None:
    add = parser.add_argument
    add(
        "job",
        metavar="JOB",
        nargs="?",
        help="those about this job alone (default: all of yours)",
    )
    add("--everybody", action="store_true", help="everybody's, if you are an administrator")
    state = parser.add_mutually_exclusive_group()
    state.add_argument("--failed", action="store_true", help="those that could not be delivered")
    state.add_argument("--open", action="store_true", help="those that are still to be delivered")
    add("-n", "--limit", type=int, default=LIMIT, metavar="N", help=f"at most N (default: {LIMIT})")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--retry", metavar="ID", action="append", help="try this one anew; `all`: all that failed"
    )
    instead.add_argument("--drop", metavar="ID", action="append", help="forget this one, whatever it is")


def main(session: Session, verb: str) -> int:
    client, options = session.client(), session.options
    if options.drop:
        return _do(session, client.drop_delivery, options.drop)
    if options.retry:
        wanted = _those(session) if options.retry == ["all"] else options.retry
        return _do(session, client.retry_delivery, wanted)
    _print(session, _found(session, options.limit))
    return exit.OK


def _those(session: Session) -> list[str]:
    """All that failed, in the order in which it happened."""
    return [row["id"] for row in reversed(_found(session, None))]


def _do(session: Session, what: Callable[[str], dict[str, Any]], words: list[str]) -> int:
    """To each, whatever happens to the others."""

    @cache
    def known() -> list[str]:
        return [row["id"] for row in session.client().deliveries()]

    rows: list[dict[str, Any]] = []
    try:
        return exit.together(
            session.codes_of(words, lambda word: rows.append(what(ids.one_of(word, known, "delivery"))))
        )
    finally:
        if rows:
            _print(session, rows)


def _found(session: Session, limit: int | None) -> list[dict[str, Any]]:
    options = session.options
    job_id = ids.find(session.client(), options.job) if options.job else None
    failed = options.failed or options.retry
    state = "FAILED" if failed else "OPEN" if options.open else None
    owner = "*" if options.everybody and job_id is None else None
    return session.client().deliveries(job_id, state, limit, owner=owner)


def _print(session: Session, rows: list[dict[str, Any]]) -> None:
    session.rows(COLUMNS, rows, _row, ("id", "associatedUuid"))


def _row(row: dict[str, Any]) -> list[str]:
    names = ("id", "associatedUuid", "owner", "event", "status", "attempts")
    return [*(word(row[name]) for name in names), word(row["url"] or "a command"), word(row["message"])]
