"""Which file system a path is on. SQLite's write-ahead log needs shared memory between processes, which no
network file system gives (sqlite.org, "Write-Ahead Logging"), and its locks need a file system that keeps
them."""

from __future__ import annotations

import os
from pathlib import Path

_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "lustre", "gpfs", "beegfs"}
)
_NETWORK |= {"glusterfs", "orangefs", "pvfs2", "ocfs2", "gfs2", "panfs", "davfs", "ncpfs", "coda"}
_NETWORK |= {f"fuse.{name}" for name in ("sshfs", "ceph", "glusterfs", "s3fs", "rclone", "davfs2", "juicefs")}


def network_file_system(path: Path, mounts: str | None = None) -> str | None:
    """The type of the network file system that holds `path`; None when it is a local one.

    `mounts` is the text of /proc/self/mountinfo, see proc(5); the last mount over a point is the one in
    force.
    """
    text = mounts if mounts is not None else Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        point = _unescape(left.split(" ")[4])
        if len(point) >= len(best) and _is_below(real, point):
            best, kind = point, right.split(" ")[0]
    return kind if kind in _NETWORK else None


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def _unescape(field: str) -> str:
    for code in ("040", "011", "012", "134"):
        field = field.replace("\\" + code, chr(int(code, 8)))
    return field
