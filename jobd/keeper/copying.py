"""Copying and digesting in one pass, and walking through a directory: what staging and archiving share.

A copy shares no block that the job could change in the original: it is a reflink where the file system has
those, else bytes. It keeps the time of the last change, is on the disk when this is said, and what was
written to meanwhile is noticed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobd.errors import Refused, Unavailable

Advance = Callable[[int], None]
"""Called with so many bytes more."""

_PIECE = 1 << 18
_SYNC_EVERY = 256 << 20
"""Bytes after which they are sent to the disk, so that the last wait is never long."""
_FICLONE = 0x40049409
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
}


def kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "no regular file")


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A regular file, to read. It is looked at first: opening a device can do something to it. Raises
    OSError, Refused."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise Refused(f"it is {kind(mode)}")
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(mode := os.fstat(fd).st_mode):
            raise Refused(f"it is {kind(mode)}")
        yield fd
    finally:
        os.close(fd)


def copy(source: int, target: str, advance: Advance) -> tuple[os.stat_result, str]:
    """To a new file. What the source was then, and the SHA-256 of what was copied. Raises OSError, and
    Unavailable when the source was written to meanwhile."""
    before = os.fstat(source)
    mode = stat.S_IMODE(before.st_mode) & 0o777 | stat.S_IRUSR | stat.S_IWUSR
    fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        if _clone(source, fd):
            digest = _pass(fd, None, before.st_size, advance)
        else:
            digest = _pass(source, fd, before.st_size, advance)
        _check_still(source, before)
        os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.fsync(fd)
    finally:
        os.close(fd)
    return before, digest


def digest(fd: int, advance: Advance) -> str:
    """The SHA-256 of a file. Raises OSError, and Unavailable when it was written to meanwhile."""
    before = os.fstat(fd)
    found = _pass(fd, None, before.st_size, advance)
    _check_still(fd, before)
    return found


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return False
    return True


def _pass(source: int, target: int | None, size: int, advance: Advance) -> str:
    sha = hashlib.sha256()
    buffer = memoryview(bytearray(_PIECE))
    done = unsynced = 0
    while number := os.readv(source, [buffer]):
        piece = buffer[:number]
        sha.update(piece)
        if target is not None:
            write(target, piece)
            unsynced += number
            if unsynced >= _SYNC_EVERY:
                os.fdatasync(target)
                unsynced = 0
        advance(number)
        done += number
        if done > size > 0:  # one that grows faster than we read would never end
            break
    return sha.hexdigest()


def write(target: int, piece: memoryview) -> None:
    """All of it."""
    while piece:
        piece = piece[os.write(target, piece) :]


def _check_still(fd: int, before: os.stat_result) -> None:
    after = os.fstat(fd)
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise Unavailable("it was written to while it was read")


def walk(top: str) -> Iterator[tuple[str, os.stat_result]]:
    """All that is beneath, each with its path from there: a directory before what is in it, by name, links
    not followed. Raises OSError."""
    waiting = [""]
    while waiting:
        path = waiting.pop()
        if path:
            found = os.lstat(f"{top}/{path}")
            yield path, found
            if not stat.S_ISDIR(found.st_mode):
                continue
        names = sorted(os.listdir(f"{top}/{path}"), reverse=True)
        waiting += [f"{path}/{name}" if path else name for name in names]


def sync_directory(path: str) -> None:
    """That the names in it are on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
