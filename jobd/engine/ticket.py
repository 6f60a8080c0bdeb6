"""A job as its backend gets it: a Ticket out, a Placed back in."""

from __future__ import annotations

from collections.abc import Mapping

from jobd.apps import template
from jobd.backend import Placed, Ticket
from jobd.config import System
from jobd.errors import Unavailable
from jobd.people import person
from jobd.store.job import Job

_PATH = "/usr/local/bin:/usr/bin:/bin"


def ticket(job: Job, system: System, sent: Mapping[str, str] | None) -> Ticket:
    """`sent` is the environment that came with the request; None: a clean one is made."""
    queue = system.queue(job.queue)
    return Ticket(
        tag=job.tag or "",
        job_id=job.id,
        name=job.name,
        user=job.owner,
        argv=job.command,
        directory=job.directory,
        workspace=job.workspace,
        stdout=job.stdout,
        stderr=job.stderr,
        stdin=job.stdin,
        umask=job.umask,
        environment={**_given(job, system, sent), **own(job, system)},
        queue=(queue.mapped_name or queue.name) if queue else job.queue,
        nodes=job.nodes,
        processors=job.processors,
        memory=job.memory,
        gpus=job.gpu_indices,
        gpu_count=job.gpus,
        time_limit=job.time_limit,
        kill_grace=system.kill_grace,
        directives=queue.custom_directives if queue else "",
        options=queue.options if queue else {},
    )


def _given(job: Job, system: System, sent: Mapping[str, str] | None) -> Mapping[str, str]:
    """An app's program gets its values as variables too, and always has what a login has: what is sent with
    such a job is said, not inherited."""
    if job.app_revision is None:
        return environment(job.owner, system, sent)
    return {**environment(job.owner, system, None), **(sent or {}), **template.variables(job)}


def environment(owner: str, system: System, sent: Mapping[str, str] | None) -> Mapping[str, str]:
    """A job's own variables go before those that its system gives to every job."""
    return {**clean(owner), **system.environment} if sent is None else {**system.environment, **sent}


def placed(job: Job) -> Placed:
    return Placed(
        job.local_id or "", job.tag or "", job.owner, job.submitted or 0.0, job.handle, job.workspace
    )


def clean(user: str) -> dict[str, str]:
    """The environment of a person who has just logged in and has no start-up files. Raises Unavailable where
    the user database does not know them: a network's may be away."""
    who = person(user)
    if who is None:
        raise Unavailable(f"there is no user {user} on this machine at present")
    return {
        "HOME": who.home,
        "LOGNAME": user,
        "USER": user,
        "SHELL": who.shell,
        "PATH": _PATH,
        "LANG": "C.UTF-8",
    }


def own(job: Job, system: System) -> dict[str, str]:
    """What jobd tells the job of itself. Where GPUs are handed out, a job that asked for none sees none."""
    facts = {
        "JOBD_JOB_ID": job.id,
        "JOBD_JOB_NAME": job.name,
        "JOBD_JOB_OWNER": job.owner,
        "JOBD_APP": job.app_id,
        "JOBD_QUEUE": job.queue,
        "JOBD_WORKDIR": job.directory,
        "JOBD_OUTPUTS": job.workspace,
        "JOBD_ATTEMPT": str(job.attempt),
        "JOBD_PROCESSORS": str(job.processors),
    }
    if system.slots and (job.gpus or system.slots.gpus):
        facts["CUDA_VISIBLE_DEVICES"] = facts["JOBD_GPUS"] = ",".join(map(str, job.gpu_indices))
        facts["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the indices are to mean what nvidia-smi means by them
    return facts
