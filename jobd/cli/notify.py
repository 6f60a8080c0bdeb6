"""jobctl notify and notifications: ask to be told of what happens to a job, try the way out, and look at what
was asked for and what came of it.

jobctl notify fit --on FINISHED,FAILED --to https://lab/hook
jobctl notify fit --on '*' --persistent -- notify-send "it moved on"
jobctl notify test --to ann@lab
"""

from __future__ import annotations

from jobd.cli import exit, ids
from jobd.cli.columns import word
from jobd.cli.parser import Parser, jobs
from jobd.cli.table import Column
from jobd.cli.text import local_time
from jobd.errors import Fault, Invalid
from jobd.status import TERMINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from jobd.cli.session import Session

TEST = "test"
OPTIONS = {
    "event": "--on",
    "url": "--to",
    "body": "--body",
    "digest": "--digest",
    "policy.retryLimit": "--retry",
}
"""By the fields of a notification."""
COLUMNS = (
    Column("ID"), Column("EVENT"), Column("TO", flexible=True), Column("HOW OFTEN"), Column("STATUS"),
    Column("TRIES"),
)  # fmt: skip
ATTEMPTS = (
    Column("TIME"),
    Column("EVENT"),
    Column("TRY"),
    Column("CAME OUT"),
    Column("WORDS", flexible=True),
)


def arguments(parser: Parser, verb: str) -> None:
    if verb == "notify":
        _arguments_of_notify(parser)
        return
    parser.add_argument("job", metavar="JOB", nargs="?", default="last", help=f"{ids.HELP} (default: last)")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--remove", metavar="ID", action="append", help="take this notification back instead"
    )
    instead.add_argument("--attempts", metavar="ID", help="every try to deliver this one")
    instead.add_argument("--key", action="store_true", help="the key that webhooks for you are signed with")


def _arguments_of_notify(parser: Parser) -> None:
    parser.usage = "jobctl notify (JOB .. | test) [--on EVENT,..] (--to TO | -- COMMAND ..)"
    parser.epilog = """\
`jobctl notify test` tells of no job, at once, and says what came of it.
Within --to and --body ${JOB_NAME}, ${JOB_STATUS} and the like stand for what
they say. A command has them as variables of its environment, and the whole
message on standard input; it runs as you, in your home, for 30 seconds at most."""
    jobs(parser)
    add = parser.add_argument
    add(
        "--on",
        metavar="EVENT,..",
        default=",".join(sorted(TERMINAL)),
        help="statuses, conditions, or * (default: %(default)s)",
    )
    add(
        "--to",
        metavar="TO",
        help="https://.., http://.., a mail address, or what apprise speaks, if that is there",
    )
    add("--persistent", action="store_true", help="every time it happens, not once")
    add(
        "--body", metavar="TEXT", help="what to say, instead of the usual; an object of JSON's is sent as one"
    )
    add(
        "--digest",
        metavar="TIME",
        help="one mail for what happens to jobs of one name within this time (10m, 1h)",
    )
    add(
        "--retry",
        metavar="N",
        type=int,
        help="how often to try again, in longer and longer pauses (default: 8)",
    )


def main(session: Session, verb: str) -> int:
    if verb == "notifications":
        return _notifications(session)
    return _test(session) if session.options.jobs == [TEST] else _notify(session)


def _notify(session: Session) -> int:
    options = session.options
    events = [event for event in options.on.split(",") if event.strip()]
    if not events:
        raise Invalid(Fault("--on", "it names no event", "statuses, conditions, or *"))
    wish = {**_target(options), "persistent": options.persistent, "digest": options.digest}
    if options.retry is not None:
        wish["policy"] = {"retryStrategy": "EXPONENTIAL", "retryLimit": options.retry}

    def one(job_id: str) -> None:
        try:
            _print(session, session.client().notify(job_id, events, doubt=session.say, **wish))
        except Invalid as error:
            raise _by_option(error) from None

    return session.each(options.jobs, one)


def _by_option(error: Invalid) -> Invalid:
    """One notification is made for each event: what is wrong with all of them is told once."""
    faults = [
        Fault(OPTIONS.get(name, name), fault.problem, fault.expected)
        for fault in error.faults
        for name in [fault.field.lstrip("0123456789").removeprefix(".")]
    ]
    return Invalid(*dict.fromkeys(faults))


def _target(options: Namespace) -> dict[str, Any]:
    if bool(options.to) == bool(options.program):
        problem = "it says both where to and a command" if options.to else "say where to"
        raise Invalid(f"{problem} (expected --to ADDRESS, or -- and a command)")
    return {"url": options.to, "command": options.program, "body": _body(options.body)}


def _body(text: str | None) -> object:
    """An object or a list of JSON's, if it is one."""
    import json

    try:
        value = json.loads(text or "")
    except ValueError:
        return text
    return value if isinstance(value, dict | list) else text


def _test(session: Session) -> int:
    try:
        came = session.client().test_notification(**_target(session.options))
    except Invalid as error:
        raise _by_option(error) from None
    if session.options.json:
        session.json(came)
    else:
        how = "delivered" if came["success"] else "not delivered"
        session.out(f"{how} in {came['seconds']:.2f} s: {came['message'] or came['responseCode']}")
    return exit.OK if came["success"] else exit.FAILED


def _notifications(session: Session) -> int:
    client, options = session.client(), session.options
    if options.key:
        session.out(client.notification_key())
    elif options.attempts is not None:
        one = _meant(session, options.attempts)
        session.rows(ATTEMPTS, client.attempts(one), _row_of_attempt)
    elif options.remove:
        return _remove(session, options.remove)
    else:
        return session.each([options.job], lambda job_id: _print(session, client.notifications(job_id)))
    return exit.OK


def _remove(session: Session, words: list[str]) -> int:
    """Each, whatever happens to the others."""
    rows: list[dict[str, Any]] = []
    try:
        unsubscribe = session.client().unsubscribe
        return exit.together(
            session.codes_of(words, lambda word: rows.append(unsubscribe(_meant(session, word))))
        )
    finally:
        if rows:
            _print(session, rows)


def _meant(session: Session, word: str) -> str:
    return ids.one_of(word, lambda: [row["id"] for row in session.client().notifications()], "notification")


def _print(session: Session, rows: list[dict[str, Any]]) -> None:
    session.rows(COLUMNS, rows, _row)


def _row(row: dict[str, Any]) -> list[str]:
    import shlex

    target = shlex.join(row["command"]) if row.get("command") else word(row.get("url"))
    often = "always" if row.get("persistent") else "once"
    return [
        word(row["id"]), word(row["event"]), target, often, word(row["status"]), word(row["attempts"]),
    ]  # fmt: skip


def _row_of_attempt(row: dict[str, Any]) -> list[str]:
    came = "delivered" if row["success"] else "failed"
    return [local_time(row["startTime"]), word(row["event"]), str(row["attempt"]), came, word(row["message"])]
