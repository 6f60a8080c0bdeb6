"""Wait: the job, once it is over. Costs nothing while nothing happens."""

from __future__ import annotations

from jobd.store.job import Job
from jobd.verbs.desk import Caller, Desk, check_readable, find
from jobd.verbs.kill import until_over


async def wait(desk: Desk, caller: Caller, job_id: str, seconds: float) -> Job:
    """The job when it is over, or as it is after that time. It may be deleted meanwhile. Raises NotFound,
    also when the caller may not read it any more in the end."""
    job = await find(desk, caller, job_id)
    if not job.over and seconds > 0:
        job = await until_over(desk, job, seconds)
        check_readable(desk, caller, job)
    return job
