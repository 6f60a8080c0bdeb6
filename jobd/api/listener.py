"""The socket that the daemon listens on: one daemon per path, never a live one's taken away, made again when
a logout removed it.

asyncio would unlink whatever lies at the path, a live daemon's socket too. So a lock beside it decides first,
and then only a socket that nobody answers is removed.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from jobd.errors import Conflict, Invalid
from jobd.places import SOCKET_LIMIT

BACKLOG = 1024


class Listener:
    def __init__(self, path: Path, mode: int) -> None:
        """`mode`: the permission bits of the socket. Raises Invalid for a path that the kernel cannot
        take."""
        length = len(os.fsencode(path))
        if length > SOCKET_LIMIT:
            raise Invalid(
                f"the socket's path has {length} bytes: {path} (expected at most {SOCKET_LIMIT}, the kernel's"
                " limit: set socket, or JOBD_SOCKET, to a shorter one)"
            )
        self.path = path
        self._mode = mode
        self._lock: int | None = None
        self._bound: tuple[int, int] | None = None

    def bind(self) -> socket.socket:
        """A listening socket. Raises Conflict when another daemon has the path, OSError when the place cannot
        be used."""
        self.path.parent.mkdir(mode=0o755 if self._mode & 0o077 else 0o700, parents=True, exist_ok=True)
        self._take_lock()
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o777 & ~self._mode)
        try:
            listener.bind(str(self.path))
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        self._bound = self._identity()
        return listener

    def vanished(self) -> bool:
        """The socket that was bound is not at its path any more."""
        return self._identity() != self._bound

    def close(self) -> None:
        """Removes the socket, if it is still ours."""
        if self._bound is not None and not self.vanished():
            self.path.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        path = f"{self.path}.lock"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = None
            raise Conflict(f"another jobd listens on {self.path}") from None

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.lstat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino
