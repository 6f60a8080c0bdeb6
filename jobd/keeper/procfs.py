"""What /proc says of a process, without psutil: the keeper and its forks are to stay small."""

import os

from jobd.keeper.bare import suppress

PROC = "/proc"
SUPERVISOR = "jobd-job"
"""The name that supervisors give themselves."""


def read(path: str) -> bytes:
    """A whole small file. Bare system calls: file objects and codecs cost each fork pages of its own."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while more := os.read(fd, 65536):
            data += more
        return data
    finally:
        os.close(fd)


def write(path: str, data: bytes) -> None:
    """To a file that is there. (With O_CREAT a missing control file would answer EACCES, not ENOENT.)"""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the state on; the name before them may hold spaces and brackets."""
    return read(f"{PROC}/{pid}/stat").rpartition(b")")[2].split()


def start_ticks(pid: int) -> int | None:
    """When it was started, in ticks since boot: with the pid and the boot id, an identity. None: there is no
    such process."""
    try:
        return int(_stat(pid)[19])
    except OSError:
        return None


def has_ended(pid: int, ticks: int) -> bool:
    """Is the process that was started then certainly over (a zombie is)? Raises OSError where nobody can say,
    for want of descriptors or memory."""
    try:
        found = _stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return True
    return int(found[19]) != ticks or found[0] in b"ZX"


def parent(pid: int) -> int | None:
    try:
        return int(_stat(pid)[1])
    except OSError:
        return None


def is_live(pid: int) -> bool:
    """It exists and is no zombie."""
    try:
        return _stat(pid)[0] not in b"ZX"
    except OSError:
        return False


def words(pid: int) -> str:
    """For people: "4711 (root, D)". The user by number: the keeper does not load the user database."""
    try:
        return f"pid {pid}, uid {os.stat(f'{PROC}/{pid}').st_uid}, state {_stat(pid)[0].decode()}"
    except OSError:
        return f"pid {pid}, gone just now"


def children(pid: int) -> list[int]:
    """Its children, those of all its threads. A look, no promise: one that is just being made or ends may be
    missed."""
    found: list[int] = []
    try:
        for task in os.listdir(f"{PROC}/{pid}/task"):
            found += map(int, read(f"{PROC}/{pid}/task/{task}/children").split())
    except FileNotFoundError:
        return found if os.path.exists(f"{PROC}/self/task/{os.getpid()}/children") else _children_by_scan(pid)
    except ProcessLookupError:
        pass
    return found


def _children_by_scan(pid: int) -> list[int]:
    """For kernels without CONFIG_PROC_CHILDREN."""
    return [child for child in pids() if parent(child) == pid]


def descendants(pid: int) -> list[int]:
    found = children(pid)
    for each in found:  # grows while we go
        found += children(each)
    return found


def pids() -> list[int]:
    return [int(name) for name in os.listdir(PROC) if name.isdigit()]


def environment_has(pid: int, entry: bytes) -> bool:
    """Was it started with NAME=VALUE? False also where we may not look."""
    try:
        return entry in read(f"{PROC}/{pid}/environ").split(b"\0")
    except OSError:
        return False


def boot_id() -> str:
    return read(f"{PROC}/sys/kernel/random/boot_id").decode().strip()


def name(pid: int) -> str:
    """What ps and top call it; "" when it is gone."""
    try:
        return read(f"{PROC}/{pid}/comm").decode("ascii", "replace").strip()
    except OSError:
        return ""


def rename_self(name: str) -> None:
    """What ps and top call this process."""
    with suppress(OSError):  # a nicety
        write(f"{PROC}/self/comm", name.encode())
