"""jobctl run: like running the command here, but as a job that outlives this terminal.

Its standard output and error come out as ours, its exit code is ours. Ctrl-C, and TERM, kill the job as they
would have killed the command, and wait for its end; a second Ctrl-C leaves at once. When the terminal is
closed the job goes on. When whoever reads our output goes away the job is killed too, as SIGPIPE would have
done.
"""

from __future__ import annotations

import os
import signal
import threading

from jobd.cli import exit, request
from jobd.cli.follow import no_code, until_over
from jobd.errors import Invalid, JobdError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    from jobd.cli.columns import Job
    from jobd.cli.parser import Parser
    from jobd.cli.session import Session


def arguments(parser: Parser, verb: str) -> None:
    parser.usage = "jobctl run [options] [--] COMMAND .."
    request.arguments(parser)


def main(session: Session, verb: str) -> int:
    wanted = request.plain(session, request.command_of(session.options))
    interrupts = Interrupts()
    try:
        job = session.client(start=True).submit(**wanted)
    except Invalid as error:
        raise request.with_options(error, session.options) from error
    try:
        interrupts.arm()
        return _follow(session, job)
    except Interrupted as interrupt:
        return _kill(session, job, interrupt)


class Interrupted(BaseException):
    """A signal asks us to end."""

    def __init__(self, number: int) -> None:
        self.number = number


class Interrupts:
    """INT and TERM, once the job is known; before that they are kept, or a job might be left behind
    without a word. A second
    one always counts at once."""

    def __init__(self) -> None:
        self._armed = False
        self._kept = 0
        signal.signal(signal.SIGINT, self._came)
        signal.signal(signal.SIGTERM, self._came)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self._armed or self._kept:
            raise Interrupted(number)
        self._kept = number

    def arm(self) -> None:
        self._armed = True
        if self._kept:
            raise Interrupted(self._kept)


def _follow(session: Session, job: Job) -> int:
    streams = [_Stream(session, job["id"], name, number) for name, number in (("stdout", 1), ("stderr", 2))]
    over = until_over(session, job["id"], quiet=True)
    for stream in streams:
        stream.join()
    code = exit.of_job(over)
    if session.options.json:
        session.json(over)
    elif over.get("exitCode") is None and not over.get("signal"):
        session.say(no_code(over))
    elif over.get("condition") not in ("NORMAL", "EXIT_CODE"):
        how = over.get("reason") or f"by signal {over.get('signal')}"
        session.say(f"{over['name']} ({over['id']}) was ended: {over.get('condition')}, {how}")
    return code


class _Stream(threading.Thread):
    """Copies one of the job's streams to one of ours."""

    def __init__(self, session: Session, job_id: str, name: str, number: int) -> None:
        super().__init__(daemon=True)
        self._session, self._job_id, self._name, self._number = session, job_id, name, number
        self.start()

    def run(self) -> None:
        try:
            for piece in self._session.client().logs(self._job_id, self._name, follow=True):
                _write(self._number, piece)
        except BrokenPipeError:
            os.kill(os.getpid(), signal.SIGTERM)
        except JobdError as error:
            self._session.say(f"the job's {self._name} cannot be followed: {error}")


def _write(number: int, piece: bytes) -> None:
    """Straight to the descriptor: two threads share no buffer."""
    left = memoryview(piece)
    while left:
        left = left[os.write(number, left) :]


def _kill(session: Session, job: Job, interrupt: Interrupted) -> int:
    """As the command would have ended; twice: at once."""
    code = exit.SIGNALLED + interrupt.number
    try:
        session.say(f"killing {job['name']} ({job['id']}); again to leave it to jobd")
        session.client().kill(job["id"])
        until_over(session, job["id"])
    except Interrupted:
        session.say(f"{job['name']} may not be over yet: jobctl wait {job['id']}")
    except JobdError as error:
        session.say(f"{error}; it may be running still: jobctl kill {job['id']}")
    return code
