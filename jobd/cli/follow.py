"""Waiting for jobs, with a line for a person who is watching."""

from __future__ import annotations

import sys
import time

from jobd.cli import columns, text
from jobd.status import TERMINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobd.cli.columns import Job
    from jobd.cli.session import Session

WATCHED = 1.0
UNWATCHED = 30.0
"""Seconds of one request to wait: as often as a line on the screen should change, or seldom."""


def until_over(
    session: Session, job_id: str, deadline: float | None = None, *, until_started: bool = False
) -> Job:
    """The job when it is over. Raises TimeoutError at the deadline, which is on time.monotonic's clock.
    until_started: say how it goes only as long as it waits, since then its own output comes."""
    client = session.client()
    watched = text.is_terminal(sys.stderr)
    while True:
        slice_ = WATCHED if watched else UNWATCHED
        left = slice_ if deadline is None else deadline - time.monotonic()
        job = client.poll(job_id, max(0.0, min(left, slice_)))
        if job["status"] in TERMINAL:
            session.settle()
            return job
        if left <= 0:
            raise TimeoutError(f"{job['name']} ({job_id}) is still {job['status']}; it goes on")
        if watched and not (until_started and job.get("startTime")):
            session.progress(how_it_goes(job))


def how_it_goes(job: Job) -> str:
    reason = columns.reason(job)
    told = "" if reason == columns.NONE else f": {reason}"
    if (ran := columns.run_time(job)) != columns.NONE:
        told = f" {ran}{told}"
    return f"{job['name']} is {job['status']}{told}"


def no_code(job: Job) -> str:
    """Why a job that is over has no exit code."""
    how = columns.reason(job)
    return f"{job['name']} ({job['id']}) has no exit code: {job.get('condition')}" + (
        f", {how}" if how != "-" else ""
    )
