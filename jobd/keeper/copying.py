"""Copying and digesting in one pass, and walking through a directory: what staging and archiving share.

A copy shares no block that the job could change in the original: it is a reflink where the file system has
those, else bytes. It keeps the time of the last change, is on the disk when this is said, and what was
written to meanwhile is noticed.

The disk is told to begin while we still read (sync_file_range), so that the last wait is short. Many small
files are waited for together (syncfs): each alone costs a flush of the disk's cache.
"""

from __future__ import annotations

import ctypes
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
_BEGIN_EVERY = 8 << 20
"""Bytes after which the disk may begin with them."""
_WAIT_EVERY = 256 << 20
"""Bytes after which it is waited for: a slow disk must not make the last wait a long silence."""
_libc = ctypes.CDLL(None, use_errno=True)
_sync_file_range = _libc.sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_SYNC_FILE_RANGE_WRITE = 2
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


def copy(source: int, target: str, advance: Advance, *, settled: bool = True) -> tuple[os.stat_result, str]:
    """To a new file. What the source was then, and the SHA-256 of what was copied. Unless `settled`, that it
    gets to the disk is for the caller. Raises OSError, and Unavailable when the source was written to
    meanwhile."""
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
        if settled:
            os.fsync(fd)
    finally:
        os.close(fd)
    return before, digest


def settle(directory: str) -> None:
    """Returns when the names in it are on the disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def settle_all(directory: str) -> None:
    """Returns when all that is beneath it is on the disk, with whatever else its file system has to write."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), directory)
    finally:
        os.close(fd)


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
    writer = _Writer(target) if target is not None else None
    done = 0
    while number := os.readv(source, [buffer]):
        piece = buffer[:number]
        sha.update(piece)
        if writer:
            writer.write(piece)
        advance(number)
        done += number
        if done > size > 0:  # one that grows faster than we read would never end
            break
    if writer:
        writer.begin()
    return sha.hexdigest()


class _Writer:
    def __init__(self, target: int) -> None:
        self._target = target
        self._at = self._begun = self._waited = 0

    def write(self, piece: memoryview) -> None:
        write(self._target, piece)
        self._at += len(piece)
        if self._at - self._begun >= _BEGIN_EVERY:
            self.begin()
        if self._at - self._waited >= _WAIT_EVERY:
            os.fdatasync(self._target)
            self._waited = self._at

    def begin(self) -> None:
        """Lets the disk begin. That it can is no promise: whoever needs one waits for it."""
        _sync_file_range(self._target, self._begun, self._at - self._begun, _SYNC_FILE_RANGE_WRITE)
        self._begun = self._at


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
