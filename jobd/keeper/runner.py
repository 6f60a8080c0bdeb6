"""The runner process: does errands as other people, for a daemon that has the right to. Ends when its daemon
does.

    argv: the socket that errands come through

Warm, like the keeper, and for the same reason: it forks for each errand, the fork becomes the person and does
one of `DEEDS`, and everything that this takes is imported before (a person may not be able to read our
Python). It is a process of its own since the keeper's forks, one per running job, must stay smaller than
this.

An errand is one packet: a memfd with JSON {"identity", "deed", "arguments", "limit"}, and the socket for the
reply. The reply is one packet too: a memfd with JSON {"value"} or {"error", "message"}, and the descriptors
that belong to it. A fork that dies closes the socket without a reply; one that hangs (in a file system of the
person's own making) is ended by an alarm after `limit` seconds.

A long errand (`LONG_DEEDS`) says how far it is before that, in packets of the same kind with {"progress"},
and has `limit` seconds from one to the next. It ends at once, wherever it is, when the daemon does, or closes
its way of the socket.
"""

from __future__ import annotations

import base64
import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from jobd.errors import JobdError
from jobd.keeper import archiving, attempt, commands, digesting, facts, files, procfs, staging, workspace
from jobd.keeper.attempt import Ran
from jobd.keeper.commands import Finished
from jobd.keeper.identity import be_ordinary, become
from jobd.keeper.main import reset_signals

_TELL_EVERY = 0.5

Done = tuple[object, Sequence[int]]
"""A deed's value, as JSON has it, and its descriptors."""


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    procfs.rename_self("jobd-runner")
    reset_signals()
    gc.collect()
    gc.freeze()  # forks share what nobody writes to
    serve(channel)


def serve(channel: socket.socket) -> None:
    deaths, death = os.pipe()
    for end in deaths, death:
        os.set_blocking(end, False)
    signal.set_wakeup_fd(death, warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(deaths, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if deaths in ready:
            os.read(deaths, 4096)
            _bury()
        if channel.fileno() in ready and not _take(channel):
            return


def _bury() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _take(channel: socket.socket) -> bool:
    """Forks for the next errand. False: the daemon is gone."""
    try:
        data, fds, _, _ = socket.recv_fds(channel, 16, 2)
    except ConnectionResetError:
        return False
    if not data:
        return False
    try:
        if len(fds) == 2 and os.fork() == 0:
            _do(channel, *fds)
    except OSError:
        pass  # no fork to be had: the reply's socket is closed, which says it
    finally:
        for fd in fds:
            os.close(fd)
    return True


def _do(channel: socket.socket, order: int, reply: int) -> None:
    """Never returns."""
    try:
        channel.close()
        signal.set_wakeup_fd(-1)
        with open(order, "rb") as file:
            errand = json.load(file)
        signal.alarm(errand["limit"])
        be_ordinary()
        become(errand["identity"])
        answer = _answer_in_time if errand["deed"] in LONG_DEEDS else _answer
        answer(socket.socket(fileno=reply), errand)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(0)


def _answer(channel: socket.socket, errand: dict[str, Any]) -> None:
    try:
        value, fds = DEEDS[errand["deed"]](**errand["arguments"])
    except JobdError as error:
        _say(channel, _error(error))
    else:
        _say(channel, {"value": value}, fds)


def _answer_in_time(channel: socket.socket, errand: dict[str, Any]) -> None:
    _end_with(channel)
    try:
        value = LONG_DEEDS[errand["deed"]](_Teller(channel, errand["limit"]), **errand["arguments"])
    except JobdError as error:
        _say(channel, _error(error))
    else:
        _say(channel, {"value": value})


def _error(error: JobdError) -> dict[str, object]:
    """File names that are no UTF-8 are shown somehow: the words go into the store."""
    return {"error": type(error).__name__, "message": str(error).encode(errors="backslashreplace").decode()}


def _say(channel: socket.socket, said: dict[str, object], fds: Sequence[int] = ()) -> None:
    memory = os.memfd_create("jobd-reply")
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(json.dumps(said).encode())
        os.lseek(memory, 0, os.SEEK_SET)
        socket.send_fds(channel, [b"!"], [memory, *fds])
    finally:
        os.close(memory)


def _end_with(channel: socket.socket) -> None:
    """The kernel ends this process when the other end is closed: SIGIO, which nobody handles."""
    fcntl.fcntl(channel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(channel, fcntl.F_SETFL, fcntl.fcntl(channel, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(channel, select.POLLIN | select.POLLRDHUP)
    if poll.poll(0):
        os._exit(0)


class _Teller:
    """Called as often as one likes: what is told is the newest of everything, every now and then."""

    def __init__(self, channel: socket.socket, limit: int) -> None:
        self._channel, self._limit = channel, limit
        self._news: dict[str, object] = {}
        self._next = 0.0

    def __call__(self, **news: object) -> None:
        self._news |= news
        if (now := time.monotonic()) >= self._next:
            self._next = now + _TELL_EVERY
            signal.alarm(self._limit)
            _say(self._channel, {"progress": self._news})


# ---- what can be done


def _open(root: str, path: str) -> Done:
    return None, [files.open_beneath(root, path)]


def _list(root: str, path: str) -> Done:
    return [vars(entry) for entry in files.list_beneath(root, path)], ()


def _read(places: Sequence[tuple[str, str]], limit: int) -> Done:
    found = (files.read_beneath(root, path, limit) for root, path in places)
    return [None if content is None else content.decode("latin-1") for content in found], ()


def _facts(sources: Sequence[str]) -> Done:
    return facts.of_all(sources), ()


def _run(
    argv: Sequence[str], environment: dict[str, str], directory: str, stdin: str, timeout: float
) -> Done:
    return _finished(commands.run(argv, environment, directory, base64.b64decode(stdin), timeout)), ()


def _submit(stdin: str, **order: Any) -> Done:
    done = attempt.submit(stdin=base64.b64decode(stdin), **order)
    return (vars(done) if isinstance(done, Ran) else _finished(done)), ()


def _finished(done: Finished) -> dict[str, object]:
    return {**vars(done), "out": done.out.decode("latin-1"), "err": done.err.decode("latin-1")}


DEEDS: dict[str, Callable[..., Done]] = {
    "open": _open,
    "list": _list,
    "read": _read,
    "facts": _facts,
    "run": _run,
    "submit": _submit,
}


LONG_DEEDS: dict[str, Callable[..., object]] = {
    "stage": staging.stage,
    "archive": archiving.archive,
    "remove": workspace.remove,
    "digests": digesting.digests,
}
"""Each is called with a way to tell how far it is, and its arguments."""
