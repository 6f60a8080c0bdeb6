"""What `jobctl doctor` says of any scheduler spoken to by commands: the place that its nodes share."""

from __future__ import annotations

from collections.abc import Iterator

from jobd.backend import Finding
from jobd.backends.batch import said
from jobd.errors import JobdError, Refused
from jobd.keeper.persons import Persons

_CHECK = r"""
umask 077
mkdir -p "$1" && probe=$(mktemp "$1/.jobd-doctor.XXXXXX") || exit 1
ln -s x "$probe.link" && rm -f "$probe.link" || { rm -f "$probe"; exit 2; }
rm -f "$probe"
stat -f -c %T "$1"
"""
_LOCAL = {"ext2/ext3", "xfs", "btrfs", "tmpfs", "overlayfs", "zfs", "ramfs"}


def place(persons: Persons, user: str, directory: str, alone: bool) -> Iterator[Finding]:
    """Of the directory where the person's jobs have theirs. `alone`: the scheduler is on this very machine,
    and so may its nodes be."""
    if not directory:
        return
    argv = ["/bin/sh", "-c", _CHECK, "jobd", directory]
    try:
        done = persons.run(user, argv, environment={"PATH": "/usr/bin:/bin"}, timeout=10.0)
    except Refused as refusal:
        yield Finding("-", f"where jobs have their directories only those who have jobs can see: {refusal}")
        return
    except JobdError as trouble:
        yield Finding("!", f"{directory} cannot be looked at as {user}: {trouble}")
        return
    kind = done.out.decode("utf-8", "replace").strip()
    if done.code == 2:
        yield Finding(
            "!", f"{directory}, where jobs have their directories, knows no symbolic links: {said(done)}"
        )
    elif done.code != 0:
        yield Finding("!", f"{directory}, where jobs have their directories, cannot be written: {said(done)}")
    elif kind in _LOCAL and not alone:
        yield Finding(
            "!", f"{directory} is on a local file system ({kind}): the nodes must see it (workDir says where)"
        )
    else:
        yield Finding("ok", f"{directory} can be written as {user} ({kind})")
