"""What `jobctl doctor` says of a Slurm cluster: what there is, and what is worse without it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping

from jobd.backend import Finding
from jobd.backends import batch_doctor, slurm_text
from jobd.backends.batch import Scheduler
from jobd.errors import JobdError

_OLDEST = (22, 5)


def findings(
    slurm: Scheduler, accounting: bool | None, user: str, directory: str, interval: float
) -> Iterator[Finding]:
    """`directory`: where the person's jobs have theirs. `interval`: seconds between two polls at most."""
    try:
        version = slurm.ask("sbatch", "--version").strip()
    except JobdError as trouble:
        yield Finding("!", f"sbatch cannot be run: {trouble} (options.sbatch has its path)")
        return
    yield from _version(version)
    try:
        config = slurm_text.config(slurm.ask("scontrol", "show", "config"))
    except JobdError as trouble:
        yield Finding("!", f"the controller does not answer: {trouble}{_hint(str(trouble))}")
        return
    yield from _controller(config, interval)
    yield from _accounts(slurm, config, accounting)
    yield from batch_doctor.place(slurm.persons, user, directory, _alone(config))


def _version(version: str) -> Iterator[Finding]:
    found = re.search(r"(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < _OLDEST:
        yield Finding("-", f"{version}: jobd is tested with 22.05 and later")
    else:
        yield Finding("ok", version)


def _hint(trouble: str) -> str:
    if re.search("munge|authentication", trouble, re.IGNORECASE):
        return " (is munged running here, with the cluster's key?)"
    if re.search("configuration source|cannot stat", trouble):
        return " (options.conf has the path of slurm.conf)"
    return ""


def _controller(config: Mapping[str, str], interval: float) -> Iterator[Finding]:
    yield Finding("ok", f"the controller of {config.get('ClusterName', 'the cluster')} answers")
    age = _seconds(config.get("MinJobAge", ""))
    if age is not None and age < 2 * interval:
        yield Finding(
            "-",
            f"MinJobAge={age}: an ended job is forgotten before jobd has looked twice (every {interval:g} s);"
            " jobd then goes by the script's record and by accounting. 300 would be right",
        )
    proctrack = config.get("ProctrackType", "")
    if proctrack.endswith(("linuxproc", "pgid")):
        yield Finding(
            "-", f"{proctrack}: what leaves its session survives a kill and the job's end; cgroup holds all"
        )
    if config.get("PrivateData", "none") not in ("none", "(null)") and "jobs" in config["PrivateData"]:
        yield Finding(
            "-", "PrivateData=jobs: the daemon's user must be an operator, or sees only its own jobs"
        )


def _seconds(text: str) -> int | None:
    found = re.match(r"(\d+)", text)
    return int(found[1]) if found else None


def _accounts(slurm: Scheduler, config: Mapping[str, str], accounting: bool | None) -> Iterator[Finding]:
    worse = (
        "a job that ended while jobd was away, and that the controller has forgotten, is known by its script"
        " alone; no peak memory is told"
    )
    if accounting is False or config.get("AccountingStorageType", "").endswith("none"):
        yield Finding("-", f"no accounting: {worse}")
        return
    try:
        slurm.ask("sacct", "--noheader", "--starttime=now", "--format=JobID")
    except JobdError as trouble:
        yield Finding("!", f"sacct does not answer: {trouble}. Without it {worse}")
    else:
        yield Finding("ok", "accounting answers")


def _alone(config: Mapping[str, str]) -> bool:
    """Is the controller on this very machine? Then its nodes may be, too."""
    host = re.match(r"[^(\s]+", config.get("SlurmctldHost[0]", ""))
    return host is not None and host[0] == socket.gethostname().split(".")[0]
