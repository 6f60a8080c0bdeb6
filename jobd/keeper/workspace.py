"""jobd's own directories among a person's files. Each has a mark with the job's id in its first line, and
nothing is removed without it. Whoever works in one holds the lock of its mark: what a daemon that died has
left running is waited for, not raced.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from jobd.errors import Refused, Unavailable
from jobd.keeper import child
from jobd.keeper.child import MARK

Tell = Callable[..., None]
"""Says how far it is, by keyword, now and then."""

_PATIENCE = 5.0


def is_own(name: str) -> bool:
    """At the top of such a directory: the mark, and what else begins like it."""
    return name.startswith(MARK)


def make(path: str, job_id: str) -> None:
    """With its mark, unless it is there. Raises Refused when something else is."""
    try:
        child.make_workspace(path, job_id)
    except child.Failure as error:
        raise Refused(str(error)) from None
    if not is_marked(path, job_id):
        raise Refused(f"the job's own directory {path!r} is there already, and not jobd's")


def is_marked(path: str, job_id: str) -> bool:
    return first_line(path) == job_id


def first_line(path: str) -> str | None:
    """Of the mark in that directory; None: there is none. Raises OSError."""
    try:
        fd = os.open(f"{path}/{MARK}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return os.read(fd, 256).decode(errors="replace").partition("\n")[0]
    finally:
        os.close(fd)


@contextmanager
def held(path: str) -> Iterator[None]:
    """Nobody else works in that marked directory meanwhile. Raises Unavailable when somebody does."""
    fd = os.open(f"{path}/{MARK}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _lock(fd, path)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, path: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unavailable(f"something else is still at work in {path!r}") from None
            time.sleep(0.05)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            return None  # a file system without locks


def remove(tell: Tell, path: str, job_id: str) -> bool:
    """The directory with all that is in it, the mark last, so that what is cut short can be gone on with.
    False: it has not that job's mark, and is not touched. Raises Refused, Unavailable."""
    try:
        if not is_marked(path, job_id):
            return _remove_if_empty(path)
        with held(path):
            empty(tell, path, {MARK})
            os.unlink(f"{path}/{MARK}")
            os.rmdir(path)
    except OSError as error:
        raise Refused(f"{error.filename or path!r} cannot be removed: {error.strerror}") from None
    return True


def _remove_if_empty(path: str) -> bool:
    """The mark was the last thing in it, so this is what a removal that was cut short leaves."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def empty(tell: Tell, path: str, keep: set[str]) -> None:
    """Removes all that is beneath but those names at its top. Raises OSError."""
    for _, folders, _, fd in os.fwalk(path):
        for name in folders:
            _open_up(name, fd)
    for above, folders, files, fd in os.fwalk(path, topdown=False):
        kept = keep if above == path else set()
        for name in {*files} - kept:
            os.unlink(name, dir_fd=fd)
            tell()
        for name in {*folders} - kept:
            _remove_directory(name, fd)


def _open_up(name: str, above: int) -> None:
    """Programs leave directories that even their owner may not write to."""
    mode = os.stat(name, dir_fd=above, follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
        with suppress(PermissionError):
            os.chmod(name, stat.S_IMODE(mode) | stat.S_IRWXU, dir_fd=above)


def _remove_directory(name: str, above: int) -> None:
    try:
        os.unlink(name, dir_fd=above)  # a link to a directory
    except IsADirectoryError:
        os.rmdir(name, dir_fd=above)
