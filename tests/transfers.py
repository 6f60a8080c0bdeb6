"""Jobs with inputs to stage and outputs to archive, put into the store of a running daemon, which finds them
at its next sweep."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from jobd.keeper.persons import own_name
from jobd.store.files import Output, Staged, outputs, staged
from jobd.store.store import Store, open_store
from tests.daemon import RunningDaemon, until
from tests.stores import add, draft, get
from tests.test_staging import item

__all__ = ["CONFIG", "add_job", "item", "outputs_of", "staged_of"]

CONFIG = """
sweep: 0.2
killWait: 5
systems:
  - {id: local, killGrace: 0.3, slots: {processors: 64}, transfers: 4, userTransfers: 3}
"""


def add_job(
    daemon: RunningDaemon,
    *command: str,
    staging: tuple[dict[str, Any], ...] = (),
    archive: Path | None = None,
    owner: str = "",
    place: Path | None = None,
    **facts: Any,
) -> dict[str, Any]:
    """It runs in its work directory, which is below `place`."""
    made = draft()
    work = str((place or daemon.state / "jobs") / f"job-{made.id}")
    archived = {"archive": True, "archive_path": str(archive)} if archive else {}
    facts = {"id": made.id, "owner": owner or own_name(), "command": command or ("true",), **facts}

    async def insert(store: Store) -> None:
        await add(store, directory=work, workspace=work, staging=staging, **archived, **facts)

    _with_store(daemon, insert)
    return until(lambda: daemon.client().show(made.id))


def _with_store(daemon: RunningDaemon, work: Any) -> Any:
    async def do() -> Any:
        store = open_store(daemon.state)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(do())


def staged_of(daemon: RunningDaemon, job_id: str) -> list[Staged]:
    async def ask(store: Store) -> list[Staged]:
        job = await get(store, job_id)
        return await store.read(lambda sql: staged(sql, job))

    return list(_with_store(daemon, ask))


def outputs_of(daemon: RunningDaemon, job_id: str) -> list[Output]:
    async def ask(store: Store) -> list[Output]:
        job = await get(store, job_id)
        return await store.read(lambda sql: outputs(sql, job))

    return list(_with_store(daemon, ask))
