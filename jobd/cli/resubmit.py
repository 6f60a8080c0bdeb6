"""jobctl resubmit: the same request again, as a new job; how strictly "the same", the flags say."""

from __future__ import annotations

from jobd.cli.parser import Parser, jobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobd.cli.session import Session


def arguments(parser: Parser, verb: str) -> None:
    jobs(parser)
    parser.add_argument(
        "--strict-inputs", action="store_true", help="refuse if the inputs have changed since"
    )
    parser.add_argument(
        "--strict-parameters", action="store_true", help="refuse if the app's parameters have changed since"
    )
    parser.add_argument(
        "--no-notifications", action="store_true", help="without the notifications of the original"
    )


def main(session: Session, verb: str) -> int:
    options = session.options
    flags = {
        "ignoreInputConflicts": not options.strict_inputs,
        "ignoreParameterConflicts": not options.strict_parameters,
        "preserveNotifications": not options.no_notifications,
    }

    def one(job_id: str) -> None:
        session.job(session.client().resubmit(job_id, None, **flags), f"again of {job_id}")

    return session.each(options.jobs, one, changes=True)
