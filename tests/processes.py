"""Processes as /proc has them, for tests that kill some: who is whose child, who belongs to which job, who is
gone. Found by descent or by what a process was started with, never by a pattern in its name."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.daemon import RunningDaemon, until


def pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def state(pid: int) -> str:
    """A letter: R, S, D, T, Z ..; X when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def gone(pid: int) -> bool:
    return state(pid) in "ZX"


def parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def of_jobs(job_ids: Iterable[str]) -> dict[int, str]:
    """Everybody alive that was started with the id of one of these jobs in the environment, and of which."""
    entries = {f"JOBD_JOB_ID={job_id}".encode(): job_id for job_id in job_ids}
    found = {pid: job_id for pid in pids() for entry in _environment(pid) if (job_id := entries.get(entry))}
    return {pid: job_id for pid, job_id in found.items() if not gone(pid)}


def of_job(job_id: str) -> list[int]:
    return list(of_jobs([job_id]))


def has_in_environment(pid: int, entry: str) -> bool:
    """Was it started with that variable, as in `NAME=value`?"""
    return entry.encode() in _environment(pid)


def keeper(daemon: RunningDaemon) -> int:
    """Of a running daemon: its child of that name."""
    return until(lambda: next(_keepers(daemon), 0), what="the daemon has a keeper")


def record(daemon: RunningDaemon, job: dict[str, Any]) -> dict[str, Any]:
    """What the job's supervisor has written down."""
    facts: dict[str, Any] = {}
    for line in (daemon.state / "attempts" / job["tag"]).read_bytes().split(b"\n")[:-1]:
        facts |= json.loads(line)
    return facts


def kill9(pid: int) -> None:
    """Also of processes that are nobody's child here: returns when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until(lambda: gone(pid), what=f"{pid} is gone")


def _keepers(daemon: RunningDaemon) -> Iterator[int]:
    assert daemon.process is not None
    ours = daemon.process.pid
    return (pid for pid in pids() if parent(pid) == ours and name(pid) == "jobd-keeper")


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
