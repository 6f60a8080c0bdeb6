"""What the daemon's log says of jobs: a line when one is submitted, when it starts, and when it is over, as
soon as that is on disk. For journalctl each fact is a field of its own too (journal.py):

    submitted 76641c9d-a138-4991-ae1b-4812883eda0b-007 owner=alice name='fit 3' system=cluster
    started 76641c9d-a138-4991-ae1b-4812883eda0b-007 owner=alice name='fit 3' system=cluster
    ended 76641c9d-a138-4991-ae1b-4812883eda0b-007 owner=alice name='fit 3' system=cluster status=FAILED
        condition=EXIT_CODE exit_code=7

(the last of them is one line, too). At level warning nothing of this is even put together.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from jobd.status import TERMINAL, Status
from jobd.store.job import Job

Change = tuple[Job, Mapping[str, Any]]
"""A job as it was, and its columns that are new; of a new job: none."""

_ENDING = ("condition", "exit_code", "signal")

log = logging.getLogger("jobd.jobs")


def tell(changes: Iterable[Change]) -> None:
    if log.isEnabledFor(logging.INFO):
        for job, columns in changes:
            _tell(job, columns)


def _tell(job: Job, columns: Mapping[str, Any]) -> None:
    status = columns.get("status")
    if not columns:
        _line("submitted", job)
    elif status is Status.RUNNING and not (job.status is Status.PAUSED and job.started):
        _line("started", job)
    elif status in TERMINAL:
        how = {name: columns.get(name, getattr(job, name)) for name in _ENDING}
        how = {name: value for name, value in how.items() if value is not None}
        _line("corrected" if job.over else "ended", job, status=status, **how)


def _line(event: str, job: Job, **more: Any) -> None:
    """The name is a user's text, which is to forge no other line."""
    words = "".join(f" {name}={value}" for name, value in more.items())
    facts = {"event": event, "owner": job.owner, "name": job.name, "system": job.system, **more}
    log.info(
        "%s %s owner=%s name=%r system=%s%s",
        event, job.id, job.owner, job.name, job.system, words, extra={"facts": facts},
    )  # fmt: skip
