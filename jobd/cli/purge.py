"""jobctl purge --preview: of which deleted jobs the files will be removed, and when. The daemon does that by
itself, if `purgeAfter` of its configuration says so."""

from __future__ import annotations

from jobd.cli.columns import word
from jobd.cli.parser import Parser
from jobd.cli.table import Column
from jobd.cli.text import local_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jobd.cli.session import Session

HEADINGS = ("ID", "NAME", "OWNER", "DELETED", "FILES GO", "DIRECTORIES")


def arguments(parser: Parser, verb: str) -> None:
    parser.add_argument(
        "--preview",
        action="store_true",
        required=True,
        help="show what will go; the daemon removes it by itself, when its time has come",
    )


def main(session: Session, verb: str) -> int:
    found = session.client().purges()
    if session.options.json:
        for one in found:
            session.json(one)
    elif session.options.quiet:
        for one in found:
            session.out(str(one["id"]))
    else:
        columns = [Column(heading, flexible=heading == "DIRECTORIES") for heading in HEADINGS]
        session.table(columns, map(_row, found))
    return 0


def _row(one: dict[str, Any]) -> list[str]:
    due = local_time(one["due"]) if one["due"] else "never"
    facts = [one["id"], one["name"], one["owner"], local_time(one["deleted"]), due]
    return [*map(word, facts), " ".join(one["directories"])]
