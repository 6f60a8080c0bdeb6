"""Giving up what a courier needs no right to, for good, and bounds to what it can use up."""

from __future__ import annotations

import os
import resource

from jobd.errors import Invalid
from jobd.keeper.identity import be_ordinary, become
from jobd.keeper.prctl import gain_nothing
from jobd.people import Person, person

_NOBODY = 65534
_MOST_MEMORY = 512 * 1024 * 1024
_MOST_FILES = 512
_NICE = 10
"""A tenth of the processor time of anybody else who wants some, the daemon first of all. (With SCHED_IDLE it
would get nothing to speak of on a machine full of jobs.)"""


def give_up(user: str) -> None:
    """Root becomes that user; anybody else stays who they are. Raises Invalid, OSError."""
    be_ordinary()
    if os.geteuid() == 0:
        who = _user(user)
        become((who.uid, who.gid, ()))
    gain_nothing()
    os.nice(_NICE)
    _limit(resource.RLIMIT_DATA, _MOST_MEMORY)
    _limit(resource.RLIMIT_NOFILE, _MOST_FILES)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _user(name: str) -> Person:
    who = person(name) or (Person(name, _NOBODY, _NOBODY, "/") if name == "nobody" else None)
    if who is None:
        raise Invalid(f"there is no user {name} (notifications.user)")
    if who.uid == 0:
        raise Invalid("notifications.user is root, and must be somebody without rights")
    return who
