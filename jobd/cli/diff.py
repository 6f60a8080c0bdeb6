"""jobctl diff: in what two jobs differ, from what was asked for to what each has made.

The exit code is that of diff(1): 0, no difference; 1, there are some. What a job used is measured: it is
shown, and does not count.
"""

from __future__ import annotations

import json

from jobd.cli import exit, ids
from jobd.cli.parser import Parser
from jobd.cli.table import Column

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jobd.cli.session import Session

WITHHELD = "(its owner's)"


def arguments(parser: Parser, verb: str) -> None:
    parser.add_argument("job", metavar="JOB", help=ids.HELP)
    parser.add_argument("other", metavar="OTHER", help="the one that it is compared with")


def main(session: Session, verb: str) -> int:
    client = session.client()
    first, second = (ids.find(client, word) for word in (session.options.job, session.options.other))
    found = client.diff(first, second)
    if session.options.json:
        session.json(found)
    elif not session.options.quiet:
        _print(session, found)
    return exit.OK if found["same"] else exit.DIFFERENT


def _print(session: Session, found: dict[str, Any]) -> None:
    first, second = found["jobs"]
    columns = [Column("WHAT"), Column(first[:8], flexible=True), Column(second[:8], flexible=True)]
    if rows := [_row(one) for one in found["differences"]]:
        session.table(columns, rows)
    if found["omitted"]:
        session.say(f"and {found['omitted']} more")
    if found["same"]:
        session.say("nothing that counts differs")
    tell_what_was_compared(session, found)


def _row(one: dict[str, Any]) -> list[str]:
    what = f"{one['group']}.{one['name']}"
    if one["withheld"]:
        return [what, WITHHELD, WITHHELD]
    return [what, cell(one["first"]), cell(one["second"])]


def cell(value: object) -> str:
    """Any value in a word or a few; a file by its size and the beginning of its digest."""
    if isinstance(value, dict) and value.keys() == {"size", "sha256"}:
        return f"{value['size']} bytes, {(value['sha256'] or 'no digest')[:12]}"
    if isinstance(value, float):
        return f"{value:g}"
    if value is None or isinstance(value, str | int):
        return "-" if value is None else str(value)
    return json.dumps(value, ensure_ascii=False)


def tell_what_was_compared(session: Session, found: dict[str, Any]) -> None:
    for job_id, words in zip(found["jobs"], found["compared"], strict=True):
        session.say(f"{job_id[:8]}: {words}")
    for words in found.get("missing", ()):
        session.say(f"not compared: {words}")
