"""Making a real store and jobs in it, for tests below the daemon."""

from __future__ import annotations

import time
from typing import Any

from jobd.store import moves, queries
from jobd.store.job import Job, new_id
from jobd.store.store import Store


def draft(**facts: Any) -> Job:
    now = time.time()
    job_id = new_id()
    default: dict[str, Any] = {
        "id": job_id,
        "name": "test",
        "owner": "alice",
        "app_id": "command-1.0",
        "system": "local",
        "queue": "default",
        "request": {"name": "test", "command": ["true"]},
        "command": ("true",),
        "directory": f"/jobs/{job_id}",
        "workspace": f"/jobs/{job_id}",
        "created": now,
        "updated": now,
    }
    return Job(**{**default, **facts})


async def add(store: Store, **facts: Any) -> Job:
    job = draft(**facts)
    await store.write(lambda tx: moves.insert(tx, job, job.owner, "Submitted."))
    return await get(store, job.id)


async def get(store: Store, job_id: str) -> Job:
    job = await store.read(lambda sql: queries.job(sql, job_id))
    assert job is not None
    return job
