"""jobctl resubmit: the same request again, as a new job; how strictly "the same", the flags say.

Without a flag what differs today is ignored, and told. --dry-run tells without doing it; its exit code is
that of the real thing.
"""

from __future__ import annotations

from jobd.cli import exit, request
from jobd.cli.parser import Parser, jobs
from jobd.cli.session import conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from jobd.cli.session import Session


def arguments(parser: Parser, verb: str) -> None:
    jobs(parser)
    add = parser.add_argument
    add("--strict", action="store_true", help="refuse if anything differs from what the original ran with")
    add("--ignore-inputs", action="store_true", help="with --strict: but for the inputs")
    add("--ignore-parameters", action="store_true", help="with --strict: but for the app and its parameters")
    add("--no-notifications", action="store_true", help="without the notifications of the original")
    add(
        "--set",
        metavar="ID=VALUE",
        action="append",
        default=[],
        help="a parameter in place of the original's; again for several",
    )
    add(
        "--input",
        metavar="ID=FILE",
        action="append",
        default=[],
        help="an input in place of the original's; again for several",
    )
    add("-n", "--dry-run", action="store_true", help="say what would happen, and do nothing")


def main(session: Session, verb: str) -> int:
    options = session.options
    fields = _fields(options)

    def one(job_id: str) -> int:
        answer = session.client().resubmit(job_id, None, **fields)
        if options.dry_run:
            return _tell_plan(session, job_id, answer)
        session.job(answer, f"again of {job_id}")
        for did in answer.get("migrated", ()) if not options.json else ():
            session.say(f"{did['field']}: {did['why']}; {did['done']}")
        return exit.OK

    return session.each(options.jobs, one, changes=True)


def _fields(options: Namespace) -> dict[str, Any]:
    found = {
        "ignoreInputConflicts": not options.strict or options.ignore_inputs,
        "ignoreParameterConflicts": not options.strict or options.ignore_parameters,
        "preserveNotifications": not options.no_notifications,
        "inputs": request.inputs(options),
        "parameters": request.values(options.set, "--set"),
        "dryRun": options.dry_run,
    }
    return {name: value for name, value in found.items() if isinstance(value, bool) or value}


def _tell_plan(session: Session, job_id: str, plan: dict[str, Any]) -> int:
    code = {202: exit.OK, 400: exit.USAGE}.get(plan["wouldAnswer"], exit.FAILED)
    if session.options.json:
        session.json({"id": job_id, **plan})
        return code
    session.out(f"{job_id}  {'would be submitted' if code == exit.OK else 'would be refused'}")
    for fault in plan["errors"]:
        session.out(f"  {fault['field']}: {fault['problem']}")
    for one in plan["conflicts"]:
        session.out(f"  {conflict(one)}")
    for check in plan["deferred"]:
        words = "its content is compared when it is staged" if "sha256" in check else "it cannot be looked at"
        session.out(f"  {check['field']}: {words}")
    return code
