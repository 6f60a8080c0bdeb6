"""What systemd hands to a service, and what it likes to hear from one: the protocols of sd_notify(3),
sd_listen_fds(3) and sd_watchdog_enabled(3), which are some variables, descriptors and datagrams.

All of it is for this process alone: it is taken out of the environment, and the descriptors are closed in
whatever is started from here. Without systemd nothing happens.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping

_FIRST_FD = 3
_OURS = ("WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""Those with a pid may have been left by a parent, whose own they were."""


class Service:
    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Takes its variables out of `environ`. To be made before anything is started or opened."""
        self._address = environ.pop("NOTIFY_SOCKET", "")
        given = {name: environ.pop(name, "") for name in _OURS}
        for_us = given["WATCHDOG_PID"] in ("", str(os.getpid()))
        self.watchdog = _number(given["WATCHDOG_USEC"]) / 1e6 if for_us else 0.0
        """Seconds within which systemd wants to hear `WATCHDOG=1` again; 0: it does not."""
        descriptors = _number(given["LISTEN_FDS"]) if given["LISTEN_PID"] == str(os.getpid()) else 0
        self.sockets = [_adopted(_FIRST_FD + number) for number in range(descriptors)]
        """That systemd listens on for us."""

    def notify(self, *lines: str) -> None:
        """For example "READY=1". Never fails: nobody may be listening."""
        if not self._address:
            return
        address = self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            sender.sendall("\n".join(lines).encode())


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _adopted(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)
