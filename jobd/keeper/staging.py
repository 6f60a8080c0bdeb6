"""Brings a job's inputs into its work directory.

Every input is made under a name of jobd's own and then renamed, so that nothing half-done is ever seen under
its name; a daemon that dies leaves only that, and the next one begins again. An input is a copy, digested as
it is made (copying.py), never a hard link: what a job does to its input must not happen to the original. With
`inPlace` it is a symbolic link to the original, for files too large to copy, and only digested where a digest
is expected.

Sources are read with the rights of this process, which is the person: links lead where the person may go.
Within a directory a link is kept if it stays within it; a FIFO, a device or a link out of it is refused.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jobd.errors import Invalid, Refused, Unavailable
from jobd.keeper import copying, files, workspace
from jobd.keeper.child import MARK
from jobd.keeper.fetch import Limits, fetch
from jobd.keeper.workspace import Tell

MOST_FILES = 100_000
"""In one directory that is an input: each has its digest in the record."""


@dataclass(frozen=True)
class Item:
    """A line of the plan."""

    input: str
    source: str
    """An absolute path or a URL."""
    name: str
    """In the work directory."""
    in_place: bool = False
    sha256: str | None = None
    """Only that content will do."""

    @property
    def path(self) -> str | None:
        """None: it is a URL."""
        return self.source if self.source.startswith("/") else None

    def refusal(self, why: object) -> Refused:
        return Refused(f"input {self.input} ({self.source}): {why}")


def _item(line: dict[str, Any]) -> Item:
    """Of the plan as the job has it."""
    return Item(line["input"], line["source"], line["name"], line["inPlace"], line.get("sha256"))


Row = dict[str, Any]
"""What was staged: input, source, name, size, sha256, mtime (of the copy too), inode (of the original),
etag."""


def stage(
    tell: Tell, path: str, job_id: str, plan: Sequence[dict[str, Any]], limits: dict[str, Any]
) -> list[Row]:
    """All of the plan, in that work directory. Raises Refused, naming the input, and Unavailable."""
    items = [_item(line) for line in plan]
    _check_names(items)
    workspace.make(path, job_id)
    with workspace.held(path), _scratch(path) as scratch:
        stager = _Stager(tell, Limits(**limits), scratch)
        rows = [row for item in items for row in stager.stage(item, path)]
        copying.settle(path)
        return rows


@contextmanager
def _scratch(path: str) -> Iterator[str]:
    """Where things are while they are made, within the work directory: what a former try left goes first."""
    scratch = f"{path}/{MARK}.staging"
    shutil.rmtree(scratch, ignore_errors=True)
    os.mkdir(scratch, 0o700)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_names(items: Sequence[Item]) -> None:
    taken: dict[str, Item] = {}
    for item in items:
        name = "/".join(_parts(item))
        for other in taken:
            if f"{other}/".startswith(f"{name}/") or f"{name}/".startswith(f"{other}/"):
                raise item.refusal(f"its name {name!r} is that of input {taken[other].input} already")
        taken[name] = item


def _parts(item: Item) -> list[str]:
    try:
        parts = files.split(item.name)
    except Invalid as error:
        raise item.refusal(error) from None
    if not parts or workspace.is_own(parts[0]):
        raise item.refusal(f"{item.name!r} is no name for a file in the work directory")
    return parts


class _Stager:
    def __init__(self, tell: Tell, limits: Limits, scratch: str) -> None:
        self._tell = tell
        self._limits = limits
        self._scratch = scratch
        self._made = 0
        self._bytes = 0
        self._doing = ""

    def stage(self, item: Item, into: str) -> list[Row]:
        self._doing = f"{item.input}: {item.source}"
        made = self._new_name()
        try:
            rows = self._make(item, made)
            self._check_digest(item, rows[0])
            self._put(made, into, _parts(item))
        except (Refused, Unavailable) as error:
            raise item.refusal(error) from None
        except OSError as error:
            raise item.refusal(_in_words(error, item)) from None
        return rows

    def _advance(self, number: int) -> None:
        self._bytes += number
        self._tell(doing=self._doing, bytes=self._bytes)

    def _new_name(self) -> str:
        self._made += 1
        return f"{self._scratch}/{self._made}"

    def _make(self, item: Item, to: str) -> list[Row]:
        if item.path is None:
            return [self._fetched(item, to)]
        found = os.stat(item.path)
        if item.in_place:
            return [self._linked(item, to, found)]
        if stat.S_ISDIR(found.st_mode):
            return self._directory(item, to, found)
        with copying.opened(item.path) as source:
            facts, digest = copying.copy(source, to, self._advance)
        return [_row(item, item.name, facts.st_size, digest, facts.st_mtime, facts.st_ino)]

    def _fetched(self, item: Item, to: str) -> Row:
        if item.in_place:
            raise Refused("only a file on this machine can be used in its place")
        fd = os.open(to, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            got = fetch(item.source, fd, self._limits, self._advance)
            if got.modified is not None:
                os.utime(fd, (time.time(), got.modified))
            changed = os.fstat(fd).st_mtime
        finally:
            os.close(fd)
        return _row(item, item.name, got.size, got.sha256, changed, None, got.etag)

    def _linked(self, item: Item, to: str, found: os.stat_result) -> Row:
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise Refused(f"it is {copying.kind(found.st_mode)}")
        digest = self._digest(item) if item.sha256 else None
        os.symlink(item.source, to)
        return _row(item, item.name, found.st_size, digest, found.st_mtime, found.st_ino)

    def _digest(self, item: Item) -> str:
        with copying.opened(item.source) as source:
            return copying.digest(source, self._advance)

    def _directory(self, item: Item, to: str, found: os.stat_result) -> list[Row]:
        """Its own row first: the size of all its files, and the digest that `sha256sum` over them, in the
        order of their paths, would have."""
        os.mkdir(to, 0o700)
        rows = [row for path, seen in copying.walk(item.source) for row in self._entry(item, to, path, seen)]
        if len(rows) > MOST_FILES:
            raise Refused(f"there are more than {MOST_FILES} files in it (expected fewer, or inPlace)")
        whole = hashlib.sha256()
        for row in sorted(rows, key=lambda row: os.fsencode(row["name"])):
            line = f"{row['sha256']}  {row['name'].removeprefix(item.name)[1:]}\n"
            whole.update(os.fsencode(line))
        os.chmod(to, stat.S_IMODE(found.st_mode) & 0o777 | stat.S_IRWXU)
        self._advance(0)
        copying.settle_all(to)
        size = sum(row["size"] for row in rows)
        own = _row(item, item.name, size, whole.hexdigest(), found.st_mtime, found.st_ino)
        return [own, *rows]

    def _entry(self, item: Item, to: str, path: str, seen: os.stat_result) -> Iterator[Row]:
        source, name = f"{item.source}/{path}", f"{item.name}/{path}"
        if stat.S_ISDIR(seen.st_mode):
            os.mkdir(f"{to}/{path}", stat.S_IMODE(seen.st_mode) & 0o777 | stat.S_IRWXU)
        elif stat.S_ISLNK(seen.st_mode):
            leads = os.readlink(source)
            _check_link(path, leads)
            os.symlink(leads, f"{to}/{path}")
            digest = hashlib.sha256(os.fsencode(leads)).hexdigest()
            yield _row(item, name, seen.st_size, digest, os.lstat(f"{to}/{path}").st_mtime, seen.st_ino)
        elif stat.S_ISREG(seen.st_mode):
            with copying.opened(source) as file:
                facts, digest = copying.copy(file, f"{to}/{path}", self._advance, settled=False)
            yield _row(item, name, facts.st_size, digest, facts.st_mtime, facts.st_ino)
        else:
            raise Refused(f"{path!r} in it is {copying.kind(seen.st_mode)}")

    def _check_digest(self, item: Item, row: Row) -> None:
        if item.sha256 and item.sha256 != row["sha256"]:
            raise Refused(
                f"its content is another one: its SHA-256 is {row['sha256']}, and {item.sha256} was expected"
            )

    def _put(self, made: str, into: str, parts: list[str]) -> None:
        """Under its name, in place of what a former try has put there."""
        name = "/".join(parts)
        above = "/".join((into, *parts[:-1]))
        os.makedirs(above, exist_ok=True)
        if os.path.lexists(f"{into}/{name}"):
            os.rename(f"{into}/{name}", self._new_name())
        os.rename(made, f"{into}/{name}")
        copying.settle(above)


def _row(
    item: Item,
    name: str,
    size: int,
    sha256: str | None,
    mtime: float,
    inode: int | None,
    etag: str | None = None,
) -> Row:
    row = {"input": item.input, "source": item.source, "name": name, "size": size, "sha256": sha256}
    return row | {"mtime": mtime, "inode": inode, "etag": etag}


def _check_link(path: str, leads: str) -> None:
    """It may lead to anywhere below the directory that is staged."""
    depth = path.count("/")
    for step in leads.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(step, 1)
        if depth < 0 or leads.startswith("/"):
            raise Refused(f"{path!r} in it is a symbolic link that leads out of it (to {leads!r})")


def _in_words(error: OSError, item: Item) -> str:
    at = error.filename if isinstance(error.filename, str) else ""
    if isinstance(error, FileNotFoundError) and at == item.path:
        return "there is no such file or directory"
    inside = at.removeprefix(item.path or "").lstrip("/") if item.path and at.startswith(item.path) else ""
    words = "it may not be read" if isinstance(error, PermissionError) else error.strerror or str(error)
    return f"{inside!r} in it: {words}" if inside else words
