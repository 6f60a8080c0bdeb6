"""The system call that Python has no name for. ctypes is loaded once, in the keeper, and shared by forks."""

import ctypes

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def become_subreaper() -> None:
    """From now on an orphan below this process becomes its child, not init's. Not inherited by forks. Raises
    OSError."""
    _set(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int) -> None:
    """Get that signal when the parent dies; exec keeps this, forks do not have it. Raises OSError."""
    _set(_PR_SET_PDEATHSIG, number)


def _set(option: int, value: int) -> None:
    if _prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
