"""How large a job's logs have become, for a supervisor that is to end the job when that is too large.

RLIMIT_FSIZE would hold for all files that the job writes, so the logs are looked at instead, once a second.
The child hands their descriptors over, so that nothing of the person's is opened here and no renaming
deceives us. Without a limit there are no descriptors, and nobody is ever woken up for this.
"""

from __future__ import annotations

import _socket
import os
import sys

from jobd.keeper.bare import suppress

EVERY = 1.0
"""Seconds between two looks: for so long a job can write beyond its limit."""


class Logs:
    """Made before the fork; `hand_over` is the child's, the rest the supervisor's."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        """Bytes of both together."""
        self._files: list[int] = []
        if limit is not None:
            self._ours, self._theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
            self._ours.setblocking(False)

    def hand_over(self, *files: int) -> None:
        if self.limit is not None:
            data = b"".join(number.to_bytes(4, sys.byteorder) for number in files)
            self._theirs.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, data)])

    def receive(self) -> None:
        """Once the program runs, for they were sent before."""
        if self.limit is None:
            return
        with suppress(OSError):
            _, messages, _, _ = self._ours.recvmsg(1, _socket.CMSG_SPACE(8))
            self._files = [
                int.from_bytes(data[at : at + 4], sys.byteorder)
                for _, _, data in messages
                for at in range(0, len(data), 4)
            ]
        self._ours.close()
        self._theirs.close()

    def are_too_large(self) -> bool:
        if self.limit is None:
            return False
        found = [os.fstat(number) for number in self._files]
        return sum({(each.st_dev, each.st_ino): each.st_size for each in found}.values()) > self.limit
