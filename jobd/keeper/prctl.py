"""The one system call that Python has no name for: adopting orphans. ctypes is loaded once, in the keeper,
and shared by its forks."""

import ctypes

_PR_SET_CHILD_SUBREAPER = 36
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def become_subreaper() -> None:
    """From now on an orphan below this process becomes its child, not init's. Not inherited by forks. Raises
    OSError."""
    if _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
