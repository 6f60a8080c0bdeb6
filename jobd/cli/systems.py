"""jobctl systems and queues: where jobs can run, what each queue takes; to drain and resume them."""

from __future__ import annotations

from jobd.cli.columns import word
from jobd.cli.parser import Parser
from jobd.cli.table import Column
from jobd.cli.text import local_time
from jobd.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from jobd.cli.session import Session
    from jobd.client import Client

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
DRAIN = {
    "queue": "QUEUE",
    "began": "BEGAN",
    "beganBy": "BY",
    "ended": "ENDED",
    "endedBy": "BY",
    "reason": "REASON",
}
DOING = ("drain", "resume", "history")


def arguments(parser: Parser, verb: str) -> None:
    if verb == "queues":
        parser.usage = """jobctl queues [SYSTEM]
       jobctl queues drain SYSTEM[/QUEUE] --reason WORDS   start no more waiting jobs there
       jobctl queues resume SYSTEM[/QUEUE]
       jobctl queues history SYSTEM                        what was drained, by whom and why"""
        parser.add_argument("words", metavar="WORD", nargs="*", help="as above; default: the default system")
        parser.add_argument("--reason", metavar="WORDS", help="of a drain, for those whose jobs wait")


def main(session: Session, verb: str) -> int:
    client = session.client()
    if verb == "systems":
        _print(session, SYSTEM, client.systems())
        return 0
    words = session.options.words
    if words and words[0] in DOING and len(words) == 2:
        _do(session, client, *words)
    elif len(words) > 1 or words[:1] in (["drain"], ["resume"]):
        raise Invalid("this is not understood (expected: drain, resume or history, then SYSTEM[/QUEUE])")
    else:
        _print(session, QUEUE, client.queues(words[0] if words else _default(client.systems())))
    return 0


def _do(session: Session, client: Client, doing: str, place: str) -> None:
    system, _, queue = place.partition("/")
    if doing == "history":
        _print(session, DRAIN, client.drains(system))
        return
    if doing == "drain":
        if not session.options.reason:
            raise Invalid("--reason is missing (expected why, for those whose jobs wait)")
        found = client.drain(system, session.options.reason, queue)
    else:
        found = client.resume(system, queue)
    if session.options.json:
        session.json(found)
    elif not session.options.quiet:
        session.out(f"{place} {'starts no more jobs' if doing == 'drain' else 'starts jobs again'}")


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
        columns = [Column(heading, flexible=heading in _FLEXIBLE) for heading in headings.values()]
        session.table(columns, ([_cell(row, field) for field in headings] for row in rows))


_FLEXIBLE = ("DESCRIPTION", "REASON")


def _cell(row: dict[str, Any], field: str) -> str:
    value = row.get(field)
    if field == "description" and (drained := row.get("drained")):
        return word(f"drained by {drained['by']} since {local_time(drained['at'])}: {drained['reason']}")
    if field in ("began", "ended") and value:
        return local_time(str(value))
    return "-" if value == -1 else word(value)  # Agave's word for no limit
