"""Wait: the job, once it is over. Costs nothing while nothing happens."""

from __future__ import annotations

from jobd.store.job import Job
from jobd.verbs.desk import Caller, Desk, find
from jobd.verbs.kill import until_over


async def wait(desk: Desk, caller: Caller, job_id: str, seconds: float) -> Job:
    """The job when it is over, or as it is after that time. It may be deleted meanwhile."""
    job = await find(desk, caller, job_id)
    return job if job.over or seconds <= 0 else await until_over(desk, job, seconds)
