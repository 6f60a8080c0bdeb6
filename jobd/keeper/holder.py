"""The one process of jobd-jobs.service, which holds the unit while keepers, supervisors and jobs come and go
below it (ladder.py has the picture).

    python -m jobd.keeper.holder        makes the leaf that they live in and goes there, so that the group
                                        above holds no process and may have controllers on for the jobs'
                                        groups; says that it is ready; and becomes `sleep infinity`: nothing
                                        of jobd's is left in it that an upgrade could want to replace. It must
                                        not die: systemd would end all jobs with it.
    python -m jobd.keeper.holder stop   when the unit is stopped, at shutdown above all: has the supervisors
                                        end their jobs, and waits. systemd alone would send TERM to jobs and
                                        supervisors together, and a job that is quick to exit of it would
                                        count as over by itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress

from jobd.keeper import containment, ladder, procfs
from jobd.service import Service


def hold() -> None:
    service = Service()
    mount = ladder.mount_point()
    if not mount:
        sys.exit(
            "jobs cannot be held here: no control group (v2) is mounted (boot with"
            " systemd.unified_cgroup_hierarchy=1)"
        )
    group = mount + ladder.own_group()
    leaf = f"{group}/{ladder.LEAF}"
    with suppress(FileExistsError):
        os.mkdir(leaf, 0o755)
    if trouble := containment.move_to(leaf):
        sys.exit(f"jobs cannot be held here: {trouble} (expected Delegate=yes in the unit)")
    containment.enable_controllers(group)
    sleep = shutil.which("sleep") or "/bin/sleep"
    service.notify("READY=1", "STATUS=holds the control group that jobs run in")
    os.execv(sleep, ["sleep", "infinity"])


def stop() -> None:
    """systemd runs this in a group of its own in the unit, and waits for it no longer than for the unit."""
    above, unit, _ = ladder.own_group().partition(ladder.UNIT)
    leaf = f"{ladder.mount_point()}{above}{unit}/{ladder.LEAF}"
    told: set[int] = set()
    while alive := supervisors(leaf):
        for pid in alive - told:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGPWR)
        told |= alive
        time.sleep(0.02)


def supervisors(leaf: str) -> set[int]:
    return {pid for pid in containment.tree_pids(leaf) if procfs.name(pid) == procfs.SUPERVISOR}


if __name__ == "__main__":
    stop() if sys.argv[1:] == ["stop"] else hold()
