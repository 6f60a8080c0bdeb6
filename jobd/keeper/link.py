"""The daemon's end of the keeper: the process, the socket that orders go through, and the pipe that tells an
order's fate."""

from __future__ import annotations

import json
import marshal
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from jobd.errors import Unavailable
from jobd.keeper.ladder import Place
from jobd.keeper.order import Order

ORDER_LIFETIME = 30.0
"""Seconds after which a supervisor that is late does not start any more."""
_START_WAIT = 10.0
_END_WAIT = 0.3
"""Seconds for a keeper to end by itself. Running jobs do not mind its being killed, and the daemon's own end
waits for it."""
_PACKAGE = str(Path(__file__).resolve().parents[2])


def interpreter(module: str, libraries: Sequence[str] = ()) -> list[str]:
    """A command that runs `main` of that module; its own arguments come after. -I and -S keep the person's
    site-packages and PYTHON* out, and start in half the time; `libraries`: directories to look in besides."""
    path = f"sys.path[:] = [{_PACKAGE!r}, *sys.path, *{list(libraries)!r}]"
    return [sys.executable, "-I", "-S", "-c", f"import sys; {path}; from {module} import main; main()"]


class Link:
    """A keeper process. Made: it runs and has said on which rung jobs are contained. Raises Unavailable."""

    def __init__(self, attempts: str, flight: int, containment: str, place: Place) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(_START_WAIT)
        fds = theirs.fileno(), flight
        argv = [*interpreter("jobd.keeper.main"), *map(str, fds), containment, *place]
        with theirs:
            try:
                self.process = subprocess.Popen(
                    argv,
                    cwd=attempts,
                    pass_fds=fds,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                self.socket.close()
                raise Unavailable(f"the keeper cannot be started: {error}") from error
        self.started = time.monotonic()
        self.rung, self.why = self._hello()

    def _hello(self) -> tuple[str, str]:
        try:
            hello = json.loads(self.socket.recv(4096) or b"{}")
            return hello["rung"], hello["why"]
        except (OSError, KeyError) as error:
            self.close(wait=0.0)
            raise Unavailable("the keeper did not start (its standard error says why)") from error

    def send(self, order: Order) -> Fate:
        """Raises OSError when the keeper is gone: the order is then gone as well."""
        valid_until = time.clock_gettime(time.CLOCK_BOOTTIME) + ORDER_LIFETIME
        environment = {**order.environment, "JOBD_TAG": order.tag}
        facts = {**vars(order), "environment": environment, "valid_until": valid_until}
        memory = os.memfd_create("jobd-order")
        reply, theirs = os.pipe()
        try:
            os.write(memory, marshal.dumps(facts))
            os.lseek(memory, 0, os.SEEK_SET)
            socket.send_fds(self.socket, [order.tag.encode("ascii")], [memory, theirs])
        except BaseException:
            os.close(reply)
            raise
        finally:
            os.close(memory)
            os.close(theirs)
        return Fate(reply)

    def receive(self) -> dict[str, str] | None:
        """What the keeper has to say, now that its socket is readable; None: it is gone."""
        try:
            data = self.socket.recv(4096, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return {}
        except OSError:
            return None
        return dict(json.loads(data)) if data else None

    def close(self, wait: float = _END_WAIT) -> None:
        """End it; it ends by itself when its socket is closed."""
        self.socket.close()
        try:
            self.process.wait(wait)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Fate:
    """What becomes of an order: its pipe is closed when the record is there, or when there never will be
    one."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.words = b""
        """Why there is no record, if somebody knew."""

    def is_settled(self, wait: float) -> bool:
        """Waits that many seconds at most."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        deadline = time.monotonic() + wait
        while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            said = os.read(self.fd, 4096)
            if not said:
                return True
            self.words += said
        return False

    def close(self) -> None:
        with suppress(OSError):
            os.close(self.fd)
