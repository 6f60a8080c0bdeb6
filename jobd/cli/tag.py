"""jobctl tag: words that a job can be found by (`jobctl list --tag WORD`), and a free text about it.

jobctl tag fit baseline good        jobctl tag fit --remove good
jobctl tag fit --note "before the sensor was replaced"
"""

from __future__ import annotations

from jobd.cli import ids
from jobd.cli.columns import word
from jobd.cli.parser import Parser
from jobd.cli.text import printable
from jobd.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jobd.cli.session import Session
    from jobd.client import Client

TAG = "tag"


def arguments(parser: Parser, verb: str) -> None:
    parser.add_argument("job", metavar="JOB", help=ids.HELP)
    parser.add_argument("tags", metavar="TAG", nargs="*", help="words to add; none: show what there is")
    parser.add_argument("-r", "--remove", metavar="TAG", action="append", default=[], help="take one away")
    parser.add_argument("--note", metavar="TEXT", help="note this down about it")


def main(session: Session, verb: str) -> int:
    options = session.options
    changes = bool(options.tags or options.remove or options.note)

    def one(job_id: str) -> None:
        client = session.client()
        if not changes:
            client.show(job_id)  # without a job, or with somebody else's, there would merely be no notes
        for tag in options.tags:
            client.note(job_id, TAG, tag)
        if options.note:
            client.note(job_id, "note", options.note)
        for tag in options.remove:
            _remove(client, job_id, tag)
        _print(session, job_id, client.notes(job_id))

    return session.each([options.job], one, changes=changes)


def _remove(client: Client, job_id: str, tag: str) -> None:
    found = [note["uuid"] for note in client.notes(job_id) if (note["name"], note["value"]) == (TAG, tag)]
    if not found:
        raise NotFound(f"job {job_id} has no tag {tag!r}")
    for uuid in found:
        client.remove_note(uuid)


def _print(session: Session, job_id: str, notes: list[dict[str, Any]]) -> None:
    if session.options.json:
        for note in notes:
            session.json(note)
    elif session.options.quiet:
        session.out(job_id)
    else:
        session.out(f"{job_id}  {printable(tags(notes)) or 'no tags'}")
        for note in notes:
            if note["name"] != TAG:
                session.out(printable(f"{note['name']}: {word(note['value'])}"))


def tags(notes: list[dict[str, Any]]) -> str:
    return " ".join(str(note["value"]) for note in notes if note["name"] == TAG)
