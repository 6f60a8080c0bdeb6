"""jobctl list: one page of your own jobs by default, since a lab's history has no end.

On a terminal ids are cut to what tells them apart, eight characters at least; where a program reads, they are
whole.
"""

from __future__ import annotations

import sys

from jobd.cli import columns, ids, text
from jobd.status import ACTIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jobd.cli.columns import Job
    from jobd.cli.parser import Parser
    from jobd.cli.session import Session

LIMIT = 50


def arguments(parser: Parser, verb: str) -> None:
    parser.epilog = f"columns for -o: {', '.join(columns.KNOWN)}, or any field that `show --json` has"
    parser.add_argument(
        "-n", "--limit", type=int, default=LIMIT, metavar="N", help=f"at most N (default: {LIMIT})"
    )
    parser.add_argument(
        "-a", "--all", action="store_true", help="without a limit, and with those shared with you"
    )
    parser.add_argument("--shared", action="store_true", help="others' that are shared with you instead")
    parser.add_argument(
        "-s", "--status", metavar="S", help="of this status, or several with commas: RUNNING,QUEUED"
    )
    parser.add_argument("--active", action="store_true", help="those that are not over")
    parser.add_argument("--name", metavar="NAME", help="of this name; * stands for anything")
    parser.add_argument("--queue", metavar="NAME", help="in this queue")
    parser.add_argument("--system", metavar="NAME", help="on this execution system")
    parser.add_argument("--owner", metavar="NAME", help="of this person (default: your own)")
    parser.add_argument("--everybody", action="store_true", help="everybody's, as far as you may see them")
    parser.add_argument("--tag", metavar="TAG", help="that have this tag; * stands for anything")
    parser.add_argument("--hidden", "--deleted", action="store_true", help="deleted jobs instead")
    parser.add_argument(
        "--where", metavar="F.OP=V", action="append", default=[], help="any search of the API: exitCode.gt=0"
    )
    parser.add_argument(
        "--sort", metavar="FIELD", default="lastUpdated", help="order by this field (default: lastUpdated)"
    )
    parser.add_argument("--reverse", action="store_true", help="the smallest or oldest first")
    parser.add_argument("-o", "--columns", metavar="C,..", help="the columns to show")
    parser.add_argument("--no-header", action="store_true", help="without the line of headings")


def main(session: Session, verb: str) -> int:
    options = session.options
    chosen = columns.Choice(_names(session))
    limit = None if options.all else max(options.limit, 0)
    fields = [] if options.json else ["id"] if options.quiet else chosen.fields
    one_more = None if limit is None else limit + 1
    found = session.client().list(
        _where(session), limit=one_more, fields=fields, order_by=options.sort, descending=not options.reverse
    )
    shown = _Shown(found, limit)
    if options.json:
        for job in shown:
            session.json(job)
    elif options.quiet:
        for job in shown:
            session.out(job["id"])
    else:
        _table(session, chosen, shown)
    _remark(session, shown)
    return 0


def _names(session: Session) -> list[str]:
    if given := session.options.columns:
        return [name.strip() for name in given.split(",") if name.strip()]
    width = text.terminal_width() if text.is_terminal(sys.stdout) else sys.maxsize
    names = [name for name in columns.DEFAULT if width >= columns.NARROW.get(name, 0)]
    options = session.options
    others = options.everybody or options.shared or options.all or options.owner
    several = others or session.client().host.system
    return names if several else [name for name in names if name != "user"]


def _where(session: Session) -> dict[str, str]:
    options = session.options
    where = {}
    if options.status:
        where["status.in"] = options.status.upper()
    elif options.active:
        where["status.in"] = ",".join(sorted(ACTIVE))
    if options.name:
        where["name.like" if "*" in options.name else "name"] = options.name
    if options.tag:
        where["tags.like" if "*" in options.tag else "tags"] = options.tag
    plain = {"batchQueue": options.queue, "executionSystem": options.system, "owner": options.owner}
    where |= {field: value for field, value in plain.items() if value}
    if options.hidden:
        where["visible"] = "false"
    for condition in options.where:
        field, _, value = condition.partition("=")
        where[field] = value
    return where | _whose(session, where)


def _whose(session: Session, where: Iterable[str]) -> dict[str, str]:
    """One's own, unless something else says whose are meant."""
    options = session.options
    if options.shared:
        return {"shared": "true"}
    if options.everybody:
        return {"owner.like": "*"}
    said = {field.partition(".")[0].lower() for field in where} & {"owner", "id", "shared"}
    return {} if options.all or said else {"shared": "false"}


class _Shown:
    """The jobs up to the limit, and whether there are more."""

    def __init__(self, jobs: Iterable[Job], limit: int | None) -> None:
        self._jobs = jobs
        self._limit = limit
        self.count = 0
        self.more = False

    def __iter__(self) -> Iterator[Job]:
        for job in self._jobs:
            if self.count == self._limit:
                self.more = True
                return
            self.count += 1
            yield job


def _table(session: Session, chosen: columns.Choice, jobs: Iterable[Job]) -> None:
    if text.is_terminal(sys.stdout):
        jobs = list(jobs)
        length = ids.shortest(str(job["id"]) for job in jobs)
        for job in jobs:
            job["id"] = job["id"][:length]
    session.table(chosen.columns, map(chosen.row, jobs), heading=not session.options.no_header)


def _remark(session: Session, shown: _Shown) -> None:
    """What a person would want to know further."""
    if session.options.json or session.options.quiet or not text.is_terminal(sys.stderr):
        return
    if shown.more:
        session.say(f"there are more: -n for another number than {shown.count}, -a for all")
    elif not shown.count and _where(session) == {"shared": "false"}:
        session.say("no jobs yet: `jobctl run -- COMMAND` runs one, `jobctl --help` says more")
