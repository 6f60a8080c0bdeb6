"""Becoming the person in whose name something is done, in a process of one thread that was just forked.

An identity is `(uid, gid, groups)`, looked up by the daemon: a process that is about to give up its rights
asks no user database. No imports to speak of: the keeper's forks use it.
"""

import os

from jobd.keeper.bare import suppress

TYPE_CHECKING = False  # as mypy knows it; typing itself would cost every job memory
if TYPE_CHECKING:
    from jobd.keeper.order import Identity

_OOM = "/proc/self/oom_score_adj"


def become(identity: "Identity | None") -> None:
    """For good: real, effective and saved ids, groups first. None: stay who we are. Raises OSError.

    While it lasts no other process of that person may look into us: the kernel makes whoever changes its ids
    undumpable, until exec.
    """
    if identity is None:
        return
    uid, gid, groups = identity
    os.setgroups(list(groups))
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise PermissionError("the process did not become that user")


def be_ordinary() -> None:
    """Not spared by the OOM killer, as the daemon and the keeper may be. Must come before `become`."""
    with suppress(OSError, ValueError):
        fd = os.open(_OOM, os.O_RDWR | os.O_CLOEXEC)
        try:
            if int(os.read(fd, 16)) < 0:
                os.write(fd, b"0")
        finally:
            os.close(fd)
