"""Where the control groups of our jobs belong on this machine, and what each rung of containment cannot
hold.

Under systemd that is never the daemon's own unit: with jobs in it, it cannot be restarted (their controllers
are on, so no process may enter it), and whatever stops it kills them. So there is a second unit, `UNIT`,
whose one process does nothing (holder.py):

    jobd-jobs.service/          Delegate=yes: systemd leaves it to us
        keeper/                 `LEAF`: that process, keepers, supervisors
        jobd-UID-DIGEST/TAG/    `base`, one per state directory, and a job in it
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

UNIT = "jobd-jobs.service"
LEAF = "keeper"

_SERVICES = "what another service starts for the job (cron, at, systemd-run, docker)"
ESCAPES = {
    "cgroup": f"{_SERVICES}; as root, a process that moves itself",
    "subreaper": f"{_SERVICES}; other users' processes (setuid programs); if supervisor and keeper are both "
    "killed: what has left its session and emptied its environment",
    "group": "everything that leaves its process group: setsid, any daemon, job control of a shell",
}


class Place(NamedTuple):
    """Two directories of the control group file system."""

    base: str
    """Below it each job gets its own group. "": there is no cgroup v2 here."""
    leaf: str
    """Where keeper and supervisors go, to outlive what the daemon is started by. "": they stay with it."""


def place(configured: str | None, state_dir: Path, proc: Path = Path("/proc/self")) -> Place:
    """Below the configured control group, else that of `UNIT`, else the daemon's own. One base per state
    directory, so that two daemons never meet."""
    mount = mount_point(proc)
    if not mount:
        return Place("", "")
    above = configured or jobs_unit(mount, proc) or own_group(proc)
    if not above.startswith(mount):
        above = f"{mount}/{above.strip('/')}"
    above = above.rstrip("/")
    digest = hashlib.sha256(os.fsencode(state_dir.resolve())).hexdigest()[:12]
    return Place(f"{above}/jobd-{os.getuid()}-{digest}", f"{above}/{LEAF}" if _is_open(above) else "")


def jobs_unit(mount: str, proc: Path = Path("/proc/self")) -> str:
    """The control group of `UNIT`, where it is active and open to us: beside the daemon's own unit, as in a
    person's own systemd, or in the system's slice for it. Else ""."""
    beside = os.path.dirname(own_group(proc)).rstrip("/")
    places = (f"{mount}{beside}/{UNIT}", f"{mount}/jobd.slice/{UNIT}")
    return next(filter(_is_open, places), "")


def _is_open(group: str) -> bool:
    return os.access(f"{group}/{LEAF}/cgroup.procs", os.W_OK)


def ends_with(keeper: Path, proc: Path = Path("/proc/self")) -> str:
    """The service that takes supervisors and jobs along when it stops, being the daemon's own too; "": none
    does."""
    own = own_group(proc)
    return os.path.basename(own) if own == own_group(keeper) and own.endswith(".service") else ""


def mount_point(proc: Path = Path("/proc/self")) -> str:
    """Of cgroup2, or "". A line of mountinfo: id parent major:minor root MOUNT_POINT options .. - TYPE source
    options"""
    for line in (proc / "mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.split(" ")[0] == "cgroup2":
            return left.split(" ")[4]
    return ""


def own_group(proc: Path = Path("/proc/self")) -> str:
    """This process's place in cgroup v2, as "/a/b"."""
    lines = (proc / "cgroup").read_text().splitlines()
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
