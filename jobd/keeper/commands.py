"""Running a short command to its end: sbatch, qstat .. With the rights of this process, whoever it is.

What the command says goes into memory, not through pipes: a process of its own that it leaves behind cannot
hold us, and how much it can say is the kernel's to limit.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from jobd.errors import Unavailable

MOST = 16 * 1024 * 1024
"""Bytes that a command may say, on standard output and on standard error."""


@dataclass(frozen=True)
class Finished:
    """A command that was run."""

    code: int | None
    """None: ended by `signal`."""
    signal: int | None
    out: bytes
    err: bytes
    timed_out: bool
    """It was killed at its time limit: whatever it does elsewhere, it may have done."""


def run(
    argv: Sequence[str],
    environment: Mapping[str, str],
    directory: str,
    stdin: bytes,
    timeout: float,
    umask: int = -1,
) -> Finished:
    """Raises Unavailable when it certainly did not run, and when it said more than `MOST` bytes. `umask`: -1,
    as it is."""
    with _memory(stdin) as given, _memory() as out, _memory() as err:
        process = _start(argv, environment, directory, (given, out, err), umask)
        timed_out = _wait(process, timeout)
        finished = _finished(process.returncode, _content(out), _content(err), timed_out)
    if finished.signal == signal.SIGXFSZ:
        raise Unavailable(f"{argv[0]} said more than {MOST >> 20} MB")
    return finished


class _memory:
    """A file in memory, and its descriptor."""

    def __init__(self, content: bytes = b"") -> None:
        self._content = content

    def __enter__(self) -> int:
        self._fd = os.memfd_create("jobd-command")
        with open(self._fd, "wb", closefd=False) as file:
            file.write(self._content)
        os.lseek(self._fd, 0, os.SEEK_SET)
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _start(
    argv: Sequence[str],
    environment: Mapping[str, str],
    directory: str,
    streams: tuple[int, int, int],
    umask: int,
) -> subprocess.Popen[bytes]:
    stdin, out, err = streams
    try:
        process = subprocess.Popen(
            argv,
            env=environment,
            cwd=directory,
            stdin=stdin,
            stdout=out,
            stderr=err,
            umask=umask,
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"{error.filename or argv[0]}: {error.strerror}") from error
    except ValueError as error:  # a NUL character
        raise Unavailable(f"{argv[0]}: {error}") from error
    with suppress(ProcessLookupError):  # over already
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MOST, MOST))
    return process


def _wait(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """Returns whether it had to be killed, with its whole process group."""
    pidfd = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        timed_out = not poll.poll(timeout * 1000)
    finally:
        os.close(pidfd)
    if timed_out:
        os.killpg(process.pid, signal.SIGKILL)  # not reaped yet: the pid is its own
    process.wait()
    return timed_out


def _content(fd: int) -> bytes:
    return os.pread(fd, MOST, 0)


def _finished(status: int, out: bytes, err: bytes, timed_out: bool) -> Finished:
    ended_by = -status if status < 0 else None
    return Finished(None if ended_by else status, ended_by, out, err, timed_out)
