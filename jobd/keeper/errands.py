"""The daemon's end of the runner: does a deed as somebody else, and waits for the reply.

The runner (runner.py) is started at the first errand, and again when it has died. Nothing here blocks for
longer than an errand's limit, and nobody has more than `_MOST_AT_ONCE` of them: a person whose file system
hangs makes that person wait. Long errands (staging, archiving) are not counted among these; whoever asks for
one has limits of their own, hears how far it is, and can end it by its Leash.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jobd import errors
from jobd.errors import JobdError, Unavailable
from jobd.keeper.link import interpreter
from jobd.keeper.order import Identity

_MOST_AT_ONCE = 16
_MOST_SAID = 64 * 1024 * 1024
_GRACE = 5
"""Seconds that an errand lives on after we have stopped waiting, since its command may just be ending."""


class Leash:
    """By which a long errand is ended, from any thread."""

    def __init__(self) -> None:
        self.is_cut = False
        self._way = socket.SHUT_WR
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def cut(self, wait: bool = True) -> None:
        """The call that does the errand raises Unavailable: once the errand is gone, which a file system can
        hold up, or at once."""
        with self._lock:
            self.is_cut = True
            self._way = socket.SHUT_WR if wait else socket.SHUT_RDWR
            if self._socket:
                self._socket.shutdown(self._way)

    @contextmanager
    def tied(self, to: socket.socket) -> Iterator[None]:
        with self._lock:
            self._socket = to
            if self.is_cut:
                to.shutdown(self._way)
        try:
            yield
        finally:
            with self._lock:
                self._socket = None


class Errands:
    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._counting = threading.Lock()
        self._under_way: Counter[int] = Counter()
        """By uid."""
        self._closed = False

    def do(
        self, identity: Identity, deed: str, arguments: Mapping[str, Any], limit: float
    ) -> tuple[Any, list[int]]:
        """The deed's value, and its descriptors, which are the caller's to close. Raises what the deed
        raises; Unavailable when it did not reply within `limit` seconds."""
        with self._turn(identity[0]), self._ordered(identity, deed, arguments, limit) as reply:
            said, fds = _answer(reply, limit)
        return _value(said), fds

    def do_long(
        self,
        identity: Identity | None,
        deed: str,
        arguments: Mapping[str, Any],
        silence: float,
        told: Callable[[dict[str, Any]], None],
        leash: Leash,
    ) -> Any:
        """The value of a long deed, done as that person; None: as ourselves, in a process of its own all the
        same. `told` hears how far it is. Raises Unavailable when it says nothing for `silence` seconds."""
        with self._ordered(identity, deed, arguments, silence) as reply, leash.tied(reply):
            while True:
                said, _ = _answer(reply, silence)
                if "progress" not in said:
                    return _value(said)
                told(said["progress"])

    def close(self) -> None:
        with self._starting:
            self._closed = True
            self._end()

    @contextmanager
    def _turn(self, uid: int) -> Iterator[None]:
        with self._counting:
            if self._under_way[uid] >= _MOST_AT_ONCE:
                raise Unavailable(f"{_MOST_AT_ONCE} things are being done for uid {uid} at once already")
            self._under_way[uid] += 1
        try:
            yield
        finally:
            with self._counting:
                self._under_way[uid] -= 1
                if not self._under_way[uid]:
                    del self._under_way[uid]

    @contextmanager
    def _ordered(
        self, identity: Identity | None, deed: str, arguments: Mapping[str, Any], limit: float
    ) -> Iterator[socket.socket]:
        """With the socket for the replies."""
        order = {
            "identity": identity,
            "deed": deed,
            "arguments": arguments,
            "limit": math.ceil(limit) + _GRACE,
        }
        with self._sent(json.dumps(order).encode()) as reply:
            yield reply

    @contextmanager
    def _sent(self, order: bytes) -> Iterator[socket.socket]:
        """With the socket for the reply, once a runner has the order."""
        memory = os.memfd_create("jobd-errand")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            try:
                with open(memory, "wb", closefd=False) as file:
                    file.write(order)
                os.lseek(memory, 0, os.SEEK_SET)
                self._send([memory, theirs.fileno()])
            finally:
                os.close(memory)
                theirs.close()
            yield ours

    def _send(self, fds: Sequence[int]) -> None:
        channel = self._runner()
        try:
            socket.send_fds(channel, [b"!"], fds)
        except OSError:  # it has died: what was not taken was not done
            socket.send_fds(self._runner(failed=channel), [b"!"], fds)

    def _runner(self, failed: socket.socket | None = None) -> socket.socket:
        with self._starting:
            if self._closed:
                raise Unavailable("the daemon is ending")
            if self._channel is None or self._channel is failed:
                self._end()
                self._channel, self._process = _start()
            return self._channel

    def _end(self) -> None:
        """Closing its socket ends it; errands that are under way go on."""
        if self._channel and self._process:
            self._channel.close()
            self._process.kill()
            self._process.wait()


def _start() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = [*interpreter("jobd.keeper.runner"), str(theirs.fileno())]
    with theirs:
        try:
            process = subprocess.Popen(
                argv,
                cwd="/",
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise Unavailable(f"the runner cannot be started: {error}") from error
    return ours, process


def _answer(reply: socket.socket, limit: float) -> tuple[dict[str, Any], list[int]]:
    """The next thing that is said, and its descriptors."""
    reply.settimeout(limit)
    try:
        data, fds, _, _ = socket.recv_fds(reply, 16, 4)
    except TimeoutError as error:
        raise Unavailable(f"no answer within {limit:g} s (a file system that hangs?)") from error
    if not data:
        raise Unavailable("what was done in the person's name was ended before it could answer")
    return _read(fds[0]), fds[1:]


def _read(memory: int) -> dict[str, Any]:
    with open(memory, "rb") as file:
        text = file.read(_MOST_SAID + 1)
    if len(text) > _MOST_SAID:
        raise Unavailable(f"that is more than {_MOST_SAID >> 20} MB")
    said: dict[str, Any] = json.loads(text)
    return said


def _value(said: dict[str, Any]) -> Any:
    if "error" in said:
        raise _ERRORS[said["error"]](said["message"])
    return said["value"]


_ERRORS: Mapping[str, Callable[[str], JobdError]] = {
    kind.__name__: kind
    for kind in (
        errors.Invalid,
        errors.Forbidden,
        errors.NotFound,
        errors.Conflict,
        errors.Unavailable,
        errors.Refused,
    )
}
