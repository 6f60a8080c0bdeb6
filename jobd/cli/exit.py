"""What jobctl's exit codes mean. They are kept: scripts rely on them.

`run` and `wait` give the job's own code, so every failure that is jobctl's own has one of two codes there.
"""

from __future__ import annotations

from jobd.client.client import Unreachable
from jobd.errors import Forbidden, Invalid, JobdError, NotFound, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

OK = 0
FAILED = 1
DIFFERENT = 1
USAGE = 2
PARTLY = 3
NO_JOB = 66
AWAY = 75
DENIED = 77
TIMED_OUT = 124
NO_CODE = 125
SIGNALLED = 128
INTERRUPTED = SIGNALLED + 2

TEXT = """\
exit codes:
  0    done
  1    refused at this moment (the message says why), or doctor has found something, or diff a
       difference; of verify: not verified
  2    wrong usage, or a request that can never be right
  3    done in part: for some of several jobs, or asked for and not over yet
  66   no such job
  75   the daemon cannot be reached, or says to try later
  77   not permitted
  run, wait (and submit --wait) give the job's own code, 128 + N if signal N ended it, of several
  jobs the first that is not 0; and
  124  the wait timed out; the job goes on
  125  jobd failed, or the job has no exit code (why: on standard error)
  130  interrupted by Ctrl-C
"""


def of_error(error: BaseException) -> int:
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    if isinstance(error, Unavailable | Unreachable):
        return AWAY
    codes = {Invalid: USAGE, NotFound: NO_JOB, Forbidden: DENIED}
    return next((code for kind, code in codes.items() if isinstance(error, kind)), FAILED)


def of_error_beside_jobs(error: BaseException) -> int:
    """The same where a job's own code is given."""
    return TIMED_OUT if isinstance(error, TimeoutError) else NO_CODE


def of_job(job: dict[str, Any]) -> int:
    """The code of a job that is over."""
    if job.get("signal"):
        return SIGNALLED + int(job["signal"])
    code = job.get("exitCode")
    return NO_CODE if code is None else int(code)


def first_bad(codes: Iterable[int]) -> int:
    return next((code for code in codes if code), OK)


def together(codes: Iterable[int]) -> int:
    """The code for a verb that was done to several jobs."""
    different = set(codes)
    if len(different) > 1:
        return first_bad(different) if different.isdisjoint({OK, PARTLY}) else PARTLY
    return different.pop() if different else OK


def kind(error: BaseException) -> str:
    """A word for programs."""
    return (
        "Timeout"
        if isinstance(error, TimeoutError)
        else type(error).__name__
        if isinstance(error, JobdError)
        else "Error"
    )
