"""The job's first process, between fork and exec: it becomes what the order says, step by step, or says which
step failed.

Everything that touches the person's files happens after the process has become the person, so that a link or
a directory of theirs is never followed with more rights than theirs. All that this takes is imported by then:
they may not be able to read our Python.
"""

from __future__ import annotations

import errno
import os
import stat

from jobd.keeper import identity
from jobd.keeper.bare import signal
from jobd.keeper.containment import Descendants
from jobd.keeper.logs import Logs
from jobd.keeper.prctl import die_with_parent

TYPE_CHECKING = False  # as mypy knows it; typing itself would cost every job memory
if TYPE_CHECKING:
    from typing import Any

MARK = ".jobd"
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


class Failure(Exception):
    """A step that did not work; the words are for the job's owner."""


def become(order: dict[str, Any], tree: Descendants, logs: Logs, failed: int) -> None:
    """Run the program. Never returns: on failure the reason goes to the descriptor `failed`, which exec
    closes."""
    try:
        os.setsid()
        die_with(tree.supervisor)
        tree.enter()
        become_person(order)
        die_with(tree.supervisor)  # again: the kernel forgets it when the ids change
        os.umask(order["umask"])
        make_workspace(order["workspace"], order["job_id"])
        out, err = open_logs(order["stdout"], order["stderr"])
        logs.hand_over(out, err)
        enter_directory(order["directory"])
        wire([open_stdin(order["stdin"]), out, err], failed)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the dispositions were reset in the keeper
        execute(order["argv"], order["environment"])
    except BaseException as error:
        os.write(failed, describe(error).encode("utf-8", "backslashreplace")[:2000])
    finally:
        os._exit(127)


def describe(error: BaseException) -> str:
    if isinstance(error, Failure):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be launched: {error.strerror}"
    return f"cannot be launched: {error}"


def die_with(supervisor: int) -> None:
    """Should the supervisor be killed, above all before there is a JOBD_TAG to find us by."""
    die_with_parent(signal.SIGKILL)
    if os.getppid() != supervisor:
        raise Failure("the job's supervisor was killed")


def become_person(order: dict[str, Any]) -> None:
    identity.be_ordinary()
    try:
        identity.become(order["identity"])
    except OSError as error:
        raise Failure(f"it cannot run as {order['user']}: {error.strerror or error}") from None


def make_workspace(path: str, job_id: str) -> None:
    """jobd's own directory for the job and, where it is ours, the mark without which nothing is ever
    removed."""
    try:
        is_ours = _make_directory(path)
    except OSError as error:
        raise Failure(f"the job's own directory {path!r} cannot be made: {error.strerror}") from None
    if not is_ours:
        return  # an earlier attempt's, with its mark; or somebody's, who keeps it
    try:
        mark = os.open(f"{path}/{MARK}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        os.write(mark, f"{job_id}\n".encode())
        os.close(mark)
    except OSError as error:
        raise Failure(f"the job's own directory {path!r} cannot be written: {error.strerror}") from None


def _make_directory(path: str) -> bool:
    """Did we make it, or was it there and empty?"""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return not os.listdir(path)
    except FileNotFoundError:
        os.makedirs(path, 0o700, exist_ok=True)
    return True


def open_logs(out: str, err: str) -> tuple[int, int]:
    first = open_log(out)
    return first, first if err == out else open_log(err)


def open_log(path: str) -> int:
    """For appending. Whatever else stands in its place (a link, a FIFO that would block us for ever, another
    name of a file elsewhere) is refused and not touched."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    try:
        fd = os.open(path, flags, 0o640)
    except OSError as error:
        why = {errno.ELOOP: "it is a symbolic link", errno.ENXIO: "it is not a regular file"}
        raise Failure(f"log {path!r} cannot be opened: {why.get(error.errno or 0, error.strerror)}") from None
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise Failure(f"log {path!r} cannot be opened: it is not a regular file")
    if found.st_nlink != 1:
        raise Failure(f"log {path!r} cannot be opened: it is a hard link to another file")
    os.set_blocking(fd, True)
    return fd


def open_stdin(path: str | None) -> int:
    """Relative to the directory, which we are in by now. Links are fine here: it is the person's own file."""
    if path is None:
        return os.open(os.devnull, os.O_RDONLY)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise Failure(f"standard input {path!r} {_trouble(error, 'opened')}") from None
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
        raise Failure(f"standard input {path!r} is not a regular file")
    os.set_blocking(fd, True)
    return fd


def enter_directory(path: str) -> None:
    try:
        os.chdir(path)
    except OSError as error:
        raise Failure(f"directory {path!r} {_trouble(error, 'entered')}") from None


def _trouble(error: OSError, verb: str) -> str:
    known = {errno.ENOENT: "does not exist", errno.ENOTDIR: "is not a directory"}
    return known.get(error.errno or 0) or f"cannot be {verb}: {error.strerror}"


def wire(streams: list[int], failed: int) -> None:
    """Standard input, output and error, and nothing else but `failed`, which exec closes."""
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    os.set_inheritable(failed, False)
    os.closerange(3, failed)
    os.closerange(failed + 1, 1 << 30)


def execute(argv: list[str], environment: dict[str, str]) -> None:
    """exec, looking for the command in the job's own PATH from the job's own directory. Returns by an
    exception only."""
    name = argv[0]
    path = environment.get("PATH") or _DEFAULT_PATH
    places = [name] if "/" in name else [f"{place or '.'}/{name}" for place in path.split(":")]
    denied = [place for place in places if not _try_execute(place, argv, environment)]
    if denied:
        raise Failure(f"{denied[0]!r} is not executable (permission denied)")
    if "/" in name:
        raise Failure(f"command {name!r} does not exist")
    raise Failure(f"command {name!r} was not found in PATH ({path})")


def _try_execute(place: str, argv: list[str], environment: dict[str, str]) -> bool:
    """True: there is no such file, look further. False: it may not be run; one further on perhaps may."""
    try:
        os.execve(place, argv, environment)
    except NotADirectoryError:
        return True
    except FileNotFoundError:
        if os.path.exists(place):
            raise Failure(f"the interpreter in the first line of {place!r} does not exist") from None
        return True
    except PermissionError:
        return False
    except OSError as error:
        raise Failure(f"{place!r} cannot be run: {_why_not(error)}") from None


def _why_not(error: OSError) -> str:
    if error.errno == errno.ENOEXEC:
        return "exec format error (a script needs a first line such as #!/bin/sh)"
    if error.errno == errno.E2BIG:
        return "its arguments and environment are too long"
    return str(error.strerror)
