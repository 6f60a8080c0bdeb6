"""jobctl notify and notifications: ask to be told of what happens to a job, and look at what was asked for.

jobctl notify fit --on FINISHED,FAILED --to https://lab/hook
jobctl notify fit --on '*' --persistent -- notify-send "it moved on"
"""

from __future__ import annotations

from jobd.cli import exit, ids
from jobd.cli.columns import word
from jobd.cli.parser import Parser, jobs
from jobd.cli.table import Column
from jobd.errors import Invalid
from jobd.status import TERMINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jobd.cli.session import Session

NOT_YET = "kept with the job; this version of jobd delivers no notifications yet"
COLUMNS = (Column("ID"), Column("EVENT"), Column("TO", flexible=True), Column("HOW OFTEN"))


def arguments(parser: Parser, verb: str) -> None:
    if verb == "notify":
        parser.usage = "jobctl notify JOB .. [--on EVENT,..] (--to URL | -- COMMAND ..)"
        jobs(parser)
        parser.add_argument(
            "--on",
            metavar="EVENT,..",
            default=",".join(sorted(TERMINAL)),
            help="statuses, conditions, or * (default: %(default)s)",
        )
        parser.add_argument("--to", metavar="URL", help="https://.., http://.. or mailto:name@host")
        parser.add_argument("--persistent", action="store_true", help="every time it happens, not once")
    else:
        parser.add_argument(
            "job", metavar="JOB", nargs="?", default="last", help=f"{ids.HELP} (default: last)"
        )
        parser.add_argument(
            "--remove", metavar="ID", action="append", help="take this notification back instead"
        )


def main(session: Session, verb: str) -> int:
    return _notify(session) if verb == "notify" else _notifications(session)


def _notify(session: Session) -> int:
    options = session.options
    if bool(options.to) == bool(options.program):
        raise Invalid("say where to (expected --to URL, or -- and a command)")
    events = [event for event in options.on.split(",") if event.strip()]

    def one(job_id: str) -> None:
        made = session.client().notify(
            job_id, events, url=options.to, command=options.program, persistent=options.persistent
        )
        _print(session, made)

    code = session.each(options.jobs, one)
    if code in (exit.OK, exit.PARTLY):
        session.say(NOT_YET)
    return code


def _notifications(session: Session) -> int:
    client = session.client()
    if session.options.remove:
        _print(session, [client.unsubscribe(one) for one in session.options.remove])
        return exit.OK
    return session.each([session.options.job], lambda job_id: _print(session, client.notifications(job_id)))


def _print(session: Session, rows: list[dict[str, Any]]) -> None:
    if session.options.json:
        for row in rows:
            session.json(row)
    elif session.options.quiet:
        for row in rows:
            session.out(str(row["id"]))
    else:
        session.table(COLUMNS, map(_row, rows))


def _row(row: dict[str, Any]) -> list[str]:
    import shlex

    target = shlex.join(row["command"]) if row.get("command") else word(row.get("url"))
    return [str(row["id"]), word(row.get("event")), target, "always" if row.get("persistent") else "once"]
