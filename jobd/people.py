"""People as this machine knows them, and whom of them a daemon works for.

Containers run as users who have no entry in the password database: such a one is known by their number, and
has the home that their environment names.
"""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

_NOBODY = 65534
_BELIEVED = 60.0
"""Seconds."""


@dataclass(frozen=True)
class Person:
    name: str
    uid: int
    gid: int
    home: str
    shell: str = "/bin/sh"

    def groups(self) -> tuple[int, ...]:
        """All groups that a login of theirs would have; asks the group database, which can be a network's."""
        return tuple(sorted({self.gid, *os.getgrouplist(self.name, self.gid)}))


@dataclass(frozen=True)
class Served:
    """Whom a daemon with root's rights works for: people, not the accounts of services, and root neither."""

    min_uid: int = 1000
    also: Collection[str] = ()
    """Names of those that count although their uid is smaller; `root` only when it is named here."""

    def includes(self, who: Person) -> bool:
        return who.name in self.also or (who.uid >= self.min_uid and who.uid != _NOBODY)

    def words(self) -> str:
        others = "".join(f", and {name}" for name in self.also)
        return f"this daemon serves users with a uid from {self.min_uid} on{others}"


def user_name(uid: int) -> str:
    """The number in digits where nobody has it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def person(name: str) -> Person | None:
    """None when there is no such user."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        if name != str(os.geteuid()):
            return None
        return Person(name, os.geteuid(), os.getegid(), os.environ.get("HOME", "/"))
    return Person(name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell or "/bin/sh")


def known(name: str) -> Person | None:
    """The same, believed for a minute: for the event loop, which must not wait at every request for what can
    be a network's word. Nobody becomes a person by this."""
    try:
        return _known(name, _minute())
    except KeyError:
        return None


def group_id(name: str) -> int | None:
    """None when there is no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def group_name(gid: int) -> str | None:
    """None where nobody has named it. Believed for a minute."""
    return _group_name(gid, _minute())


def groups_of(name: str) -> frozenset[str]:
    """The names of that user's groups, as a login of theirs would have them at present: for when they are not
    connected, and the kernel cannot be asked. Believed for a minute."""
    who = known(name)
    return _groups_of(who, _minute()) if who else frozenset()


def is_admin(name: str, admin_group: str | None) -> bool:
    """The same for what `Caller.admin` says of somebody who is there."""
    who = known(name)
    gid = group_id(admin_group) if admin_group else None
    return who is not None and (who.uid == 0 or (gid is not None and group_name(gid) in groups_of(name)))


def _minute() -> int:
    return int(time.monotonic() / _BELIEVED)


@lru_cache(10_000)
def _group_name(gid: int, minute: int) -> str | None:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None


@lru_cache(1000)
def _groups_of(who: Person, minute: int) -> frozenset[str]:
    return frozenset(filter(None, map(group_name, who.groups())))


@lru_cache(1000)
def _known(name: str, minute: int) -> Person:
    """Raises KeyError, which is not kept: who is not there may come at any moment."""
    who = person(name)
    if who is None:
        raise KeyError(name)
    return who
