"""The socket that the daemon listens on: one daemon per path, never a live one's taken away, made again when
a logout removed it. Or the one that systemd listens on already, which outlives the daemon: who calls while
that is restarted waits in it.

asyncio would unlink whatever lies at the path, a live daemon's socket too. So a lock beside it decides first,
and then only a socket on which nobody listens is removed.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from jobd.errors import Conflict, Invalid
from jobd.places import SOCKET_LIMIT

BACKLOG = 1024
_LISTENING = 1 << 16
"""The flag __SO_ACCEPTCON in /proc/net/unix."""


class Listener:
    def __init__(self, path: Path, mode: int, given: Sequence[socket.socket] = ()) -> None:
        """`mode`: the permission bits of the socket; `given`: what systemd has handed over. Raises Invalid
        for a path that the kernel cannot take, or that is not the given socket's."""
        length = len(os.fsencode(path))
        if length > SOCKET_LIMIT:
            raise Invalid(
                f"the socket's path has {length} bytes: {path} (expected at most {SOCKET_LIMIT}, the kernel's"
                " limit: set socket, or JOBD_SOCKET, to a shorter one)"
            )
        self.path = path
        self._mode = mode
        self._given = _checked(given, path)
        self._removes = True
        """The socket at the path is ours to remove."""
        self._lock: int | None = None
        self._bound: tuple[int, int] | None = None
        self._ours: set[int] = set()
        """Inodes of the sockets that we listen on."""

    def bind(self) -> socket.socket:
        """A listening socket. Raises Conflict when another daemon has the path, OSError when the place cannot
        be used."""
        self.path.parent.mkdir(mode=0o755 if self._mode & 0o077 else 0o700, parents=True, exist_ok=True)
        self._take_lock()
        try:
            listener = self._taken_over() or self._made()
        except BaseException:
            self._let_go()
            raise
        listener.setblocking(False)
        self._ours.add(os.fstat(listener.fileno()).st_ino)
        self._bound = self._identity()
        return listener

    def _taken_over(self) -> socket.socket | None:
        listener, self._given = self._given, None
        self._removes = listener is None
        return listener

    def _made(self) -> socket.socket:
        self._refuse_a_live_one()
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o777 & ~self._mode)
        try:
            listener.bind(str(self.path))
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
        return listener

    def vanished(self) -> bool:
        """The socket that was bound is not at its path any more."""
        return self._identity() != self._bound

    def close(self) -> None:
        """Removes the socket, if it is still ours."""
        if self._bound is not None and self._removes and not self.vanished():
            self.path.unlink(missing_ok=True)
        self._let_go()

    def _take_lock(self) -> None:
        self._let_go()
        path = f"{self.path}.lock"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._let_go()
            raise Conflict(f"another jobd listens on {self.path}") from None

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _refuse_a_live_one(self) -> None:
        """Whose daemon may not run just now: systemd holds the lock of nothing."""
        if self._identity() is not None and listening_on(self.path) - self._ours:
            raise Conflict(
                f"somebody listens on {self.path} already, and it is no jobd: systemd, for jobd.socket?"
            )

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.lstat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino


def listening_on(path: Path) -> set[int]:
    """The inodes of the sockets that listen under that name, whoever has them; without connecting, which
    would start what systemd has waiting there. A line of /proc/net/unix: address: references protocol FLAGS
    type state INODE PATH"""
    found = set()
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            words = line.rstrip("\n").split(maxsplit=7)
            if len(words) == 8 and words[7] == str(path) and int(words[3], 16) & _LISTENING:
                found.add(int(words[6]))
    return found


def _checked(given: Sequence[socket.socket], path: Path) -> socket.socket | None:
    if not given:
        return None
    names = [one.getsockname() if one.family == socket.AF_UNIX else "" for one in given]
    if len(given) > 1 or os.path.realpath(names[0]) != os.path.realpath(path):
        raise Invalid(
            f"systemd listens on {', '.join(map(str, names))} for us, and socket is {path}: let ListenStream="
            " in jobd.socket (once) and the option socket name the same path"
        )
    return given[0]
