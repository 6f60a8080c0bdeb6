"""The system call that Python has no name for. ctypes is loaded once, in the keeper, and shared by forks."""

import ctypes

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CLONE3 = 435  # on every architecture
_CLONE_INTO_CGROUP = 1 << 33
_SIGCHLD = 17
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def become_subreaper() -> None:
    """From now on an orphan below this process becomes its child, not init's. Not inherited by forks. Raises
    OSError."""
    _set(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int) -> None:
    """Get that signal when the parent dies; exec keeps this, forks do not have it. Raises OSError."""
    _set(_PR_SET_PDEATHSIG, number)


def gain_nothing() -> None:
    """From now on no program that we or our descendants run has more rights than we have. Raises OSError."""
    _set(_PR_SET_NO_NEW_PRIVS, 1)


def _set(option: int, value: int) -> None:
    if _prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def fork_into(group: int) -> int:
    """Fork, the child being in that control group (a descriptor of its directory) from the start. To move it
    there afterwards takes the kernel some 20 ms: it waits until no process anywhere is just being forked.
    Raises OSError before Linux 5.7, and where a sandbox does not have clone3.

    Python does not know of this fork, which is right only in a process of one thread whose child soon calls
    exec.
    """
    arguments = (ctypes.c_uint64 * 11)(_CLONE_INTO_CGROUP, 0, 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, group)
    pid = int(_syscall(_CLONE3, ctypes.byref(arguments), ctypes.sizeof(arguments)))
    if pid < 0:
        raise OSError(ctypes.get_errno(), "clone3")
    return pid


_syscall = ctypes.PyDLL(None, use_errno=True).syscall  # keeps the GIL, which the child could not take again
