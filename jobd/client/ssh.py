"""A daemon on another machine: HTTP through `ssh HOST jobctl dial-stdio`, one ssh for each kept connection.

There is no port and no token in this: ssh says who you are to that machine, and the process that it starts
there connects to the daemon's socket, so that the kernel says it to the daemon. jobctl there finds the daemon
as it does for anybody who logs in, and waits for it, or starts it, on the spot.

It greets when the connection is there. Before that nothing has been sent: what goes wrong until then is told
in the words of ssh, or of the jobctl there. What a login shell prints by itself comes before it, and is
skipped.

Everything about keys, ports, jump hosts and the sharing of connections is ssh's own configuration. On a
terminal it may ask for a password or a touch; elsewhere it fails instead (BatchMode), and is out of reach of
the terminal's Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import socket

from jobd.client.wire import Away
from jobd.errors import Invalid

SCHEME = "ssh://"
GREETING = b"jobd: connected\n"
LONGEST_NOISE = 65536
DENIED = 77
"""The exit code of a jobctl that may not connect."""
NO_PROGRAM = 127
LAST_WORDS = 1.0
"""Seconds for an ssh that has closed the connection to end."""

OPTIONS = (
    *("-T", "-x", "-a"),  # no terminal, display or agent goes along
    *("-o", "ClearAllForwardings=yes"),  # a forwarded port of the configuration could be had once only
    *("-o", "RemoteCommand=none"),
    *("-o", "ServerAliveInterval=20"),  # a log is followed without a time limit: a dead line must end
)

# The first character matters most: what begins with a dash would be an option, such as -oProxyCommand=..
_ADDRESS = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*\$?)@)?"
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*))"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<socket>/.*)?",
    re.ASCII,
)

_dialled: set[int] = set()
"""Pids of ssh not known to have ended. One may carry the others' connections: each ends by itself."""


class Ssh:
    """Where a daemon is reached by ssh. Raises Invalid for an address that is none."""

    def __init__(self, named: str) -> None:
        found = _ADDRESS.fullmatch(named.removeprefix(SCHEME))
        port = int(found["port"] or 22) if found else 0
        if found is None or not 0 < port < 65536 or not named.isprintable():
            raise Invalid(f"{named}: this is not a host (expected ssh://user@host:port/path/of/jobd.sock)")
        self.user: str | None = found["user"]
        self.host: str = found["ipv6"] or found["name"]
        self.port = port if found["port"] else None
        self.socket: str = found["socket"] or ""
        """The daemon's socket there; empty: the daemon that jobctl finds there."""
        self._named = named

    def __str__(self) -> str:
        return self._named

    def command(self, start: bool, ask: bool) -> list[str]:
        """start: one's own daemon there, if that is meant and not running; ask: a person may be asked."""
        words = ["ssh", *OPTIONS] + ([] if ask else ["-o", "BatchMode=yes"])
        words += ["-p", str(self.port)] if self.port else []
        words += ["-l", self.user] if self.user else []
        return [*words, "--", self.host, " ".join(self._there(start))]

    def _there(self, start: bool) -> list[str]:
        """For the shell that sshd hands it to."""
        words = ["jobctl", "dial-stdio", "--greet"] + (["--start"] if start else [])
        quoted = self.socket.replace("'", "'\\''")
        return [*words, "-H", f"'{quoted}'"] if self.socket else words

    def dial(self, start: bool, limit: float) -> socket.socket:
        """A connection to the daemon. Raises Away, or PermissionError, with what ssh or the jobctl there
        says. limit: seconds until the greeting; none on a terminal, where somebody may be typing."""
        ask = os.isatty(2)
        ours, theirs = socket.socketpair()
        said = os.memfd_create("ssh")
        try:
            with theirs:
                pid = _spawn(self.command(start, ask), theirs, said)
            ours.settimeout(None if ask else limit)
            if not _greeted(ours):
                raise _failure(pid, said)
            _dialled.add(pid)
            return ours
        except BaseException:
            ours.close()
            raise
        finally:
            os.close(said)


def _spawn(command: list[str], stdio: socket.socket, said: int) -> int:
    _dialled.difference_update([pid for pid in tuple(_dialled) if _code(pid) is not None])
    ends = [(os.POSIX_SPAWN_DUP2, stdio.fileno(), 0), (os.POSIX_SPAWN_DUP2, stdio.fileno(), 1)]
    try:
        return os.posix_spawnp(
            "ssh",
            command,
            os.environ,
            file_actions=[*ends, (os.POSIX_SPAWN_DUP2, said, 2)],
            setsid="BatchMode=yes" in command,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores
        )
    except FileNotFoundError:
        raise Away("ssh is not installed here") from None


def _code(pid: int) -> int | None:
    """The exit code of a child; None while it runs."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # somebody else has asked
        return 0
    return os.waitstatus_to_exitcode(status) if ended else None


def _greeted(sock: socket.socket) -> bool:
    heard = b""
    try:
        while not heard.endswith(GREETING):
            piece = sock.recv(4096)
            if not piece or len(heard) > LONGEST_NOISE:
                return False
            heard += piece
    except (TimeoutError, ConnectionError):
        return False
    return True


def _failure(pid: int, said: int) -> OSError:
    """Why there was no greeting."""
    handle = os.pidfd_open(pid)
    try:
        select.select([handle], [], [], LAST_WORDS)
    finally:
        os.close(handle)
    code = _code(pid)
    if code is None:
        os.kill(pid, signal.SIGTERM)
        _dialled.add(pid)
        return Away("ssh did not get through in time")
    lines = os.pread(said, 4096, 0).decode("utf-8", "backslashreplace").splitlines()
    words = "\n".join(line.removeprefix("jobctl: ").strip() for line in lines if line.strip())
    if code == DENIED:
        return PermissionError(errno.EACCES, words)
    if code == NO_PROGRAM:
        words += "\njobctl has to be in the PATH that `ssh HOST env` shows"
    return Away(words.strip() or f"ssh ended with exit code {code}")
