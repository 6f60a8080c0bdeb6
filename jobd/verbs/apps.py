"""Apps: those that a person can see, which are the machine's and their own; and bringing them into force.

The machine's come from files, at the start and whenever the configuration is read again. A person's own come
by POST. Scripts that an app names are digested again before each use, so that one that was edited meanwhile
is a new revision, and resubmission says so.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from jobd.apps import app as apps
from jobd.apps import files
from jobd.apps.app import App
from jobd.errors import Fault, Forbidden, Invalid, JobdError, NotFound
from jobd.store import apps as kept
from jobd.store.apps import MACHINE, Revision
from jobd.store.job import Job
from jobd.store.store import Store
from jobd.store.writer import Transaction
from jobd.verbs.desk import Caller, Desk
from jobd.verbs.draft import Chosen


async def publish(store: Store, found: files.Found) -> list[str]:
    """Brings the machine's apps into force as their files have them, and the built-in one. A faulty file
    leaves the last good revision in force. Returns what has changed, in words."""
    built_in = apps.BUILT_IN, apps.body(apps.BUILT_IN, {})

    def write(tx: Transaction) -> list[str]:
        changes = []
        for source, (app, body) in {"": built_in, **found.apps}.items():
            before = kept.in_force(tx.sql, MACHINE, app.id)
            now = kept.put(tx, MACHINE, app.id, apps.digest(body), body, source)
            if before is None or before.revision != now.revision:
                changes.append(f"app {app.id}: revision {now.revision}")
        ids = {app.id for app, _ in found.apps.values()} | {apps.COMMAND}
        gone = kept.withdraw_machines(tx, ids, found.refused)
        return changes + [f"app {app_id} is gone" for app_id in gone]

    return await store.write(write)


async def find(desk: Desk, caller: Caller, app_id: str, number: int | None = None) -> Chosen:
    """Today's app, or that revision of it, in force or not. Raises NotFound, which hides the existence of
    others' apps."""
    found = await (current(desk, caller, app_id) if number is None else _then(desk, caller, app_id, number))
    if found is None:
        raise NotFound(f"no app {app_id}")
    return found


async def _then(desk: Desk, caller: Caller, app_id: str, number: int) -> Chosen | None:
    one = await desk.store.read(lambda sql: kept.revision(sql, caller.name, app_id, number))
    return Chosen(apps.of_text(one.text), one) if one else None


def is_private(desk: Desk, caller: Caller, job: Job) -> bool:
    """Did that job run with an app of somebody else's own, which the caller cannot look at?"""
    number = job.app_revision
    if job.owner == caller.name or number is None:
        return False
    return desk.store.query(lambda sql: kept.revision(sql, caller.name, job.app_id, number)) is None


async def current(desk: Desk, caller: Caller, app_id: str) -> Chosen | None:
    """Today's app of that id for that person, with its scripts as they are now."""
    revision = await desk.store.read(lambda sql: kept.in_force(sql, caller.name, app_id))
    if revision is None:
        return None
    app = apps.of_text(revision.text)
    if app.files():
        revision = await _with_files_as_they_are(desk, revision, app)
    return Chosen(app, revision)


async def listing(desk: Desk, caller: Caller, like: str, limit: int, offset: int) -> list[Chosen]:
    """By id; `like` may hold `*`."""
    found = await desk.store.read(lambda sql: kept.listed(sql, caller.name, like, limit, offset))
    return [Chosen(apps.of_text(one.text), one) for one in found]


async def submit(desk: Desk, caller: Caller, value: object, dry_run: bool = False) -> Chosen:
    """A person's own app, new or in place of the one that they had. Raises Invalid, Forbidden."""
    app = apps.read(value, apps.dotted)
    body = apps.body(app, await asyncio.to_thread(_digests, desk, caller.name, app))
    digest = apps.digest(body)
    if dry_run:
        return Chosen(app, Revision(caller.name, app.id, 0, digest, "", "", 0.0))
    if await desk.store.read(lambda sql: kept.in_force(sql, MACHINE, app.id)):
        raise Forbidden(f"{app.id} is the machine's (expected a name or version of its own)")
    return Chosen(app, await desk.store.write(lambda tx: kept.put(tx, caller.name, app.id, digest, body)))


async def withdraw(desk: Desk, caller: Caller, app_id: str) -> Chosen:
    """A person's own. Its revisions stay, for the jobs that ran with them."""
    found = await find(desk, caller, app_id)
    if not await desk.store.write(lambda tx: kept.withdraw(tx, caller.name, app_id)):
        raise Forbidden(f"{app_id} is the machine's, not yours to withdraw")
    return found


async def _with_files_as_they_are(desk: Desk, revision: Revision, app: App) -> Revision:
    """A file that cannot be read now is no change: the job itself will say what is wrong with it."""
    try:
        digests = await asyncio.to_thread(_digests, desk, revision.owner, app)
    except JobdError:
        return revision
    if digests == revision.body.get("files"):
        return revision
    body = apps.body(app, digests)
    digest = apps.digest(body)
    return await desk.store.write(
        lambda tx: kept.put(tx, revision.owner, app.id, digest, body, revision.source)
    )


def _digests(desk: Desk, owner: str, app: App) -> dict[str, str]:
    """Read as the app's owner; the machine's as ourselves. Raises Invalid."""

    def read(directory: str, path: str) -> bytes:
        if owner == MACHINE:
            return files.content(directory, path)
        with open(desk.persons.open(owner, directory, path), "rb") as file:
            return file.read(files.MOST_BYTES)

    try:
        return files.digests(app, read)
    except (JobdError, OSError) as error:
        words = getattr(error, "strerror", None) or str(error)
        where = os.path.join(app.deployment_path or "", *app.files()[:1])
        raise Invalid(Fault("deploymentPath", f"{where}: {words}", "files that can be read")) from error


async def chosen_by(desk: Desk, caller: Caller, ids: Sequence[str]) -> dict[str, Chosen]:
    """Each of those that there are."""
    found = {app_id: await current(desk, caller, app_id) for app_id in dict.fromkeys(ids)}
    return {app_id: chosen for app_id, chosen in found.items() if chosen}
