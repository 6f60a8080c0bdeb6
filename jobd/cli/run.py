"""jobctl run: like running the command here, but as a job that outlives this terminal.

Its standard output and error come out as ours, its exit code is ours. Ctrl-C, and TERM, kill the job as they
would have killed the command, and wait for its end; a second Ctrl-C leaves at once. When the terminal is
closed the job goes on. When whoever reads our output goes away the job is killed too, as SIGPIPE would have
done. With --json the job is printed in place of its output.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

from jobd.cli import exit, request
from jobd.cli.follow import no_code, until_over
from jobd.errors import Invalid, JobdError
from jobd.status import TERMINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    from jobd.cli.columns import Job
    from jobd.cli.parser import Parser
    from jobd.cli.session import Session

LAST_LOOK = 2.0
"""Seconds that someone who interrupts twice is kept."""


def arguments(parser: Parser, verb: str) -> None:
    parser.usage = "jobctl run [options] [--] COMMAND ..\n       jobctl run [options] --app ID"
    request.arguments(parser)


def main(session: Session, verb: str) -> int:
    wanted = request.wanted(session)
    interrupts = Interrupts()
    try:
        job = _submit(session, wanted)
    except Interrupted as interrupt:
        session.say("interrupted; whether the job was taken, `jobctl list` knows")
        return exit.SIGNALLED + interrupt.number
    try:
        interrupts.arm()
        return _follow(session, job)
    except Interrupted as interrupt:
        with contextlib.suppress(Interrupted):
            _kill(session, job)
        return exit.SIGNALLED + interrupt.number


def _submit(session: Session, wanted: request.Request) -> Job:
    try:
        return session.client(start=True).submit(**wanted)
    except Invalid as error:
        raise request.with_options(error, session.options) from error


class Interrupted(BaseException):
    """A signal asks us to end."""

    def __init__(self, number: int) -> None:
        self.number = number


class Interrupts:
    """INT and TERM, once the job is known; before that they are kept, or a job might be left behind without a
    word. A second one always counts at once."""

    def __init__(self) -> None:
        self._armed = False
        self._kept = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            # Ignored is how a shell hands them to what it runs in its background; that stays so.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._came)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self._armed or self._kept:
            raise Interrupted(number)
        self._kept = number

    def arm(self) -> None:
        self._armed = True
        if self._kept:
            raise Interrupted(self._kept)


def _follow(session: Session, job: Job) -> int:
    wanted = () if session.options.json else (("stdout", 1), ("stderr", 2))
    streams = [_Stream(session, job["id"], name, number) for name, number in wanted]
    try:
        over = until_over(session, job["id"], until_started=True)
    except JobdError:
        session.say(f"{job['name']} goes on without being watched: jobctl wait {job['id']}")
        raise
    for stream in streams:
        stream.join()
    _tell(session, over)
    code = exit.of_job(over)
    return exit.NO_CODE if code == exit.OK and any(stream.cut for stream in streams) else code


def _tell(session: Session, job: Job) -> None:
    """How it ended, where the exit code does not say it all."""
    if session.options.json:
        session.json(job)
    elif job.get("exitCode") is None and not job.get("signal"):
        session.say(no_code(job))
    elif job.get("condition") not in ("NORMAL", "EXIT_CODE"):
        how = job.get("reason") or f"by signal {job.get('signal')}"
        session.say(f"{job['name']} ({job['id']}) was ended: {job.get('condition')}, {how}")


class _Stream(threading.Thread):
    """Copies one of the job's streams to one of ours."""

    def __init__(self, session: Session, job_id: str, name: str, number: int) -> None:
        super().__init__(daemon=True)
        self._session, self._job_id, self._name, self._number = session, job_id, name, number
        self.cut = False
        """Not all of it has come out."""
        self.start()

    def run(self) -> None:
        try:
            for piece in self._session.client().logs(self._job_id, self._name, follow=True):
                self._session.settle()
                _write(self._number, piece)
        except BrokenPipeError:
            os.kill(os.getpid(), signal.SIGTERM)
        except JobdError as error:
            self._give_up(f"followed: {error}")
        except OSError as error:  # a full disk, say
            self._give_up(f"written: {error.strerror}")

    def _give_up(self, why: str) -> None:
        self.cut = True
        self._session.say(f"the job's {self._name} cannot be {why}; jobctl logs {self._job_id} has all of it")


def _write(number: int, piece: bytes) -> None:
    """Straight to the descriptor: two threads share no buffer."""
    left = memoryview(piece)
    while left:
        left = left[os.write(number, left) :]


def _kill(session: Session, job: Job) -> None:
    """Until the job is over. A second interrupt ends the waiting, once it is certain that the kill was asked
    for."""
    try:
        threading.Thread(target=_ask_for_kill, args=(session, job), daemon=True).start()
        session.say(f"killing {job['name']} ({job['id']}); again to leave that to jobd")
        until_over(session, job["id"])
    except Interrupted:
        sure = _kill_is_asked(session, job["id"])
        words = "may not be over yet: jobctl wait" if sure else "may be running still: jobctl kill"
        session.say(f"{job['name']} {words} {job['id']}")


def _ask_for_kill(session: Session, job: Job) -> None:
    try:
        session.client().kill(job["id"])
    except JobdError as error:
        session.say(f"{error}; it may be running still: jobctl kill {job['id']}")


def _kill_is_asked(session: Session, job_id: str) -> bool:
    deadline = time.monotonic() + LAST_LOOK
    while time.monotonic() < deadline:
        job = session.client().poll(job_id, 0.05)
        if job["status"] in TERMINAL or job.get("killAsked"):
            return True
    return False
