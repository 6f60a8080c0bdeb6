"""Reading what is beneath a directory of a person's, whatever that person has put there.

Component by component, each without following a link; a file is looked at before it is opened, so that no
FIFO blocks us and no device is touched. Done with the rights of this process; for another person it is done
in an errand (errands.py), by a process that has become them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from jobd.errors import Forbidden, Invalid, JobdError, NotFound, Unavailable

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}


@dataclass(frozen=True)
class Entry:
    """A file in a listing."""

    name: str
    kind: str
    """"file", "dir", "link" or "other" (a FIFO, a device, a socket)."""
    size: int
    modified: float
    mode: int
    """Permission bits."""


def open_beneath(root: str, path: str) -> int:
    """A descriptor to read that regular file. Raises Invalid, NotFound, Forbidden, Unavailable."""
    parts = split(path)
    if not parts:
        raise Forbidden("this is a directory")
    with _errors(path), _directory(root, parts[:-1]) as directory:
        looked = os.open(parts[-1], os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            kind = _kind(os.fstat(looked).st_mode)
            if kind != "file":
                raise Forbidden(f"{path!r} is not a regular file ({kind}), and not opened")
            # By way of what was looked at: the name may mean something else by now.
            return os.open(f"/proc/self/fd/{looked}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        finally:
            os.close(looked)


def read_beneath(root: str, path: str, limit: int) -> bytes | None:
    """The content of a small file, at most `limit` bytes of it; None: it is not there, or not to be read."""
    try:
        fd = open_beneath(root, path)
    except JobdError:
        return None
    try:
        return os.pread(fd, limit, 0)
    except OSError:
        return None
    finally:
        os.close(fd)


def list_beneath(root: str, path: str) -> list[Entry]:
    """The entries of that directory by name; of anything else, itself. Raises as `open_beneath` does."""
    parts = split(path)
    with _errors(path or "."), _directory(root, parts[:-1]) as directory:
        if parts:
            found = os.stat(parts[-1], dir_fd=directory, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                return [_entry(parts[-1], found)]
        with _directory(root, parts) as wanted:
            return _entries(wanted)


def _entries(directory: int) -> list[Entry]:
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        found = []
        for name in sorted(os.listdir(readable)):
            with suppress(FileNotFoundError):  # removed meanwhile
                found.append(_entry(name, os.stat(name, dir_fd=readable, follow_symlinks=False)))
        return found
    finally:
        os.close(readable)


def _entry(name: str, found: os.stat_result) -> Entry:
    return Entry(name, _kind(found.st_mode), found.st_size, found.st_mtime, stat.S_IMODE(found.st_mode))


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "other")


def split(path: str) -> list[str]:
    """The components of a relative path. Raises Invalid for one that could lead outside."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or "\0" in path:
        raise Invalid(f"{path!r} is not a path beneath the job's own directory")
    return parts


@contextmanager
def _directory(root: str, parts: list[str]) -> Iterator[int]:
    """A descriptor of root/parts.., in which no component below the root, and not the root itself, was a
    link."""
    at = os.open(root, _DIRECTORY)
    try:
        for part in parts:
            below = os.open(part, _DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        yield at
    finally:
        os.close(at)


@contextmanager
def _errors(path: str) -> Iterator[None]:
    """In words, and sorted by what the caller can do."""
    try:
        yield
    except JobdError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"there is no {path!r} in the job's own directory (links are not followed)") from error
    except PermissionError as error:
        raise Forbidden(f"{path!r} may not be read") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise NotFound(f"there is no such file: {error.strerror}") from error
        raise Unavailable(f"{path!r} cannot be read: {error.strerror}") from error
