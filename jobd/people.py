"""People as this machine knows them. Containers run as users who have no entry in the password database: such
a one is known by their number, and has the home that their environment names."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    name: str
    home: str
    shell: str = "/bin/sh"


def person(name: str) -> Person | None:
    """None when there is no such user."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return Person(name, os.environ.get("HOME", "/")) if name == str(os.geteuid()) else None
    return Person(name, entry.pw_dir, entry.pw_shell or "/bin/sh")
