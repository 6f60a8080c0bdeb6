"""Diff: in what two jobs differ: what was asked for, what it became, where it ran, how it ended, what it
made.

Each job is laid out as facts by group and name, and what is not the same is a difference. What a job used is
measured, and never the same twice: it is listed, and does not count. Values of an environment are shown to
their owner only, its names to whoever may read the job. Values of two people's are not even compared: who
could make a job with guessed ones would learn which of them are right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobd.apps.app import COMMAND
from jobd.store import files, queries
from jobd.store.files import Output, Staged
from jobd.store.job import Job
from jobd.units import format_run_time, gigabytes
from jobd.verbs.desk import Caller, Desk, find
from jobd.verbs.digests import made

Facts = Mapping[str, Mapping[str, Any]]
"""By group and name; what is absent is None."""

UNCOUNTED = frozenset({"usage"})
MOST = 1000
"""Differences that are listed of one group."""


@dataclass(frozen=True)
class Difference:
    group: str
    name: str
    first: Any
    second: Any
    withheld: bool = False
    """The values are not for this caller."""

    @property
    def counts(self) -> bool:
        return self.group not in UNCOUNTED


@dataclass(frozen=True)
class Diff:
    jobs: tuple[Job, Job]
    differences: list[Difference]
    omitted: int
    """Beyond the most that are listed."""
    compared: tuple[str, str]
    """What outputs of each were looked at."""
    missing: list[str]
    """What could not be compared."""

    @property
    def same(self) -> bool:
        return not any(one.counts for one in self.differences)


async def diff(desk: Desk, caller: Caller, first_id: str, second_id: str) -> Diff:
    """Raises NotFound, Conflict, Unavailable."""
    first, second = await find(desk, caller, first_id), await find(desk, caller, second_id)
    outputs = [await made(desk, caller, first), await made(desk, caller, second)]
    comparable = all(one.files is not None for one in outputs)
    facts = [
        await _facts(desk, job, one.files if comparable else None)
        for job, one in zip((first, second), outputs, strict=True)
    ]
    of_environment, unsaid = await _of_environment(desk, caller, first, second)
    found = [*differences(facts[0], facts[1]), *of_environment]
    listed = [one for group in dict.fromkeys(one.group for one in found) for one in _of(group, found)[:MOST]]
    return Diff(
        (first, second),
        listed,
        len(found) - len(listed),
        (outputs[0].where, outputs[1].where),
        [f"job {first.id}: {why}" for why in outputs[0].missing]
        + [f"job {second.id}: {why}" for why in outputs[1].missing]
        + unsaid,
    )


def _of(group: str, found: list[Difference]) -> list[Difference]:
    return [one for one in found if one.group == group]


def differences(first: Facts, second: Facts) -> Iterator[Difference]:
    """Pure. In the order of the groups, and of the names in each."""
    for group in dict.fromkeys([*first, *second]):
        ours, theirs = first.get(group, {}), second.get(group, {})
        for name in dict.fromkeys([*ours, *theirs]):
            if ours.get(name) != theirs.get(name):
                yield Difference(group, name, ours.get(name), theirs.get(name))


async def _facts(desk: Desk, job: Job, outputs: Mapping[str, Output] | None) -> Facts:
    staged = await desk.store.read(lambda sql: files.staged(sql, job))
    return {
        "request": _request(job),
        "app": {"appId": job.app_id, "revision": job.app_revision},
        "parameters": job.parameters,
        "inputs": {**job.inputs, **{f"{one.input}: {one.name}": _digest(one) for one in staged}},
        "system": {
            "executionSystem": job.system,
            "batchQueue": job.queue,
            "nodes": job.details.get("nodes") or job.details.get("node"),
        },
        "exit": {
            "status": job.status,
            "exitCode": job.exit_code,
            "signal": job.signal,
            "condition": job.condition,
        },
        "usage": {"wall": job.wall, "cpu": job.cpu, "peakMemory": job.peak_memory},
        "outputs": {name: _digest(one) for name, one in (outputs or {}).items()},
    }


def _request(job: Job) -> dict[str, Any]:
    """What an app's command is follows from its parameters and inputs, and has the paths of this job in
    it."""
    own = job.directory == job.workspace
    return {
        "name": job.name,
        "command": list(job.command) if job.app_id == COMMAND else None,
        "directory": None if own else job.directory,
        "stdin": job.stdin,
        "umask": f"{job.umask:04o}",
        "nodeCount": job.nodes,
        "processorsPerNode": job.processors,
        "memoryPerNode": None if job.memory is None else gigabytes(job.memory),
        "maxRunTime": None if job.time_limit is None else format_run_time(job.time_limit),
        "gpus": job.gpus,
        "priority": job.priority,
        "archive": job.archive,
        "archiveSystem": job.archive_system,
    }


def _digest(one: Staged | Output) -> dict[str, Any]:
    return {"size": one.size, "sha256": one.sha256}


async def _of_environment(
    desk: Desk, caller: Caller, first: Job, second: Job
) -> tuple[list[Difference], list[str]]:
    """And what could not be compared."""
    ours, theirs = [await _environment(desk, job) for job in (first, second)]
    if caller.name == first.owner == second.owner:
        return list(differences({"environment": ours}, {"environment": theirs})), []
    both = ours.keys() & theirs.keys() if first.owner != second.owner else frozenset()
    names = [name for name in {**ours, **theirs} if name not in both and ours.get(name) != theirs.get(name)]
    unsaid = [f"the values of {len(both)} variables that both have: they are two people's"] if both else []
    return [Difference("environment", name, None, None, withheld=True) for name in names], unsaid


async def _environment(desk: Desk, job: Job) -> dict[str, str]:
    digest = job.environment
    return await desk.store.read(lambda sql: queries.environment(sql, digest)) if digest else {}
