"""Where the control groups of our jobs belong on this machine, and what each rung of containment cannot
hold."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_SERVICES = "what another service starts for the job (cron, at, systemd-run, docker)"
ESCAPES = {
    "cgroup": f"{_SERVICES}; as root, a process that moves itself",
    "subreaper": f"{_SERVICES}; other users' processes (setuid programs); if supervisor and keeper are both "
    "killed: what has left its session and emptied its environment",
    "group": "everything that leaves its process group: setsid, any daemon, job control of a shell",
}


def base(configured: str | None, state_dir: Path, proc: Path = Path("/proc/self")) -> str:
    """The control group below which each job gets its own: below the configured one, else below the daemon's
    own. "": there is no cgroup v2 here. One per state directory, so that two daemons never meet."""
    mount = mount_point(proc)
    if not mount:
        return ""
    above = configured or own_group(proc)
    if not above.startswith(mount):
        above = mount + "/" + above.strip("/")
    digest = hashlib.sha256(os.fsencode(state_dir.resolve())).hexdigest()[:12]
    return f"{above.rstrip('/')}/jobd-{os.getuid()}-{digest}"


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
