"""jobctl systems and queues: where jobs can run, and what each queue takes."""

from __future__ import annotations

from jobd.cli.columns import word
from jobd.cli.parser import Parser
from jobd.cli.table import Column

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from jobd.cli.session import Session

SYSTEM = {"id": "ID", "default": "DEFAULT", "status": "STATUS", "description": "DESCRIPTION"}
QUEUE = {
    "name": "NAME",
    "default": "DEFAULT",
    "maxJobs": "JOBS",
    "maxUserJobs": "PER USER",
    "maxNodes": "NODES",
    "maxProcessorsPerNode": "PROCESSORS",
    "maxMemoryPerNode": "MEMORY",
    "maxRequestedTime": "TIME",
    "description": "DESCRIPTION",
}


def arguments(parser: Parser, verb: str) -> None:
    if verb == "queues":
        parser.add_argument("system", metavar="SYSTEM", nargs="?", help="default: the default system")


def main(session: Session, verb: str) -> int:
    client = session.client()
    if verb == "systems":
        _print(session, SYSTEM, client.systems())
    else:
        _print(session, QUEUE, client.queues(session.options.system or _default(client.systems())))
    return 0


def _default(systems: list[dict[str, Any]]) -> str:
    return str(next((system for system in systems if system.get("default")), systems[0])["id"])


def _print(session: Session, headings: dict[str, str], rows: Iterable[dict[str, Any]]) -> None:
    if session.options.json:
        for row in rows:
            session.json(row)
    elif session.options.quiet:
        for row in rows:
            session.out(str(row[next(iter(headings))]))
    else:
        columns = [Column(heading, flexible=heading == "DESCRIPTION") for heading in headings.values()]
        session.table(columns, ([_limit(row.get(field)) for field in headings] for row in rows))


def _limit(value: object) -> str:
    """-1 is Agave's word for no limit."""
    return "-" if value == -1 else word(value)
