"""Puts what a job has made into its archive: all that was not in its work directory before it ran.

The archive is built under a name of jobd's own, beside the place where it will be, from hard links where it
is on the same file system and else from copies; so the work directory stays whole until the archive is
complete, digested and recorded, and only then is it renamed into view. Whatever ends this in the middle,
nothing is lost and nothing half-done is seen, and it can be begun again.

    archive not there yet, or empty    built in `.jobd-ID` beside it; one rename shows all of it, marked
    a directory that has something     built in `.jobd-ID` within it; one rename for each entry at its top
                                       that is not there yet; nothing is ever replaced. What stays in
                                       `.jobd-ID` is the record

The record is the archive's mark: the job's id, and in the second line what was archived, as JSON.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from jobd.errors import Refused, Unavailable
from jobd.keeper import copying, workspace
from jobd.keeper.child import MARK
from jobd.keeper.workspace import Tell

_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)

MOST_RECORDED = 100_000
"""Files whose digests are kept; more of them are archived all the same."""


def archive(
    tell: Tell, path: str, job_id: str, target: str, before: Iterable[tuple[str, int, float | None]]
) -> dict[str, Any]:
    """From the work directory `path` to `target`, but for what was there `before`: (name, size, time of the
    last change; None: a link, whatever becomes of it).

    {"files": [{"path", "size", "sha256"}], "more": files beyond the most that are recorded, "left": what is
    neither file, directory nor link}. Raises Refused in words for the job's owner, Unavailable.
    """
    try:
        return _archived(target, job_id) or _archive(tell, path, job_id, target, before)
    except OSError as error:
        raise Refused(f"{error.filename or target!r}: {error.strerror or error}") from None


def _archived(target: str, job_id: str) -> dict[str, Any] | None:
    """What was archived, if all of it is in its place already."""
    if record := _record(target, job_id):
        return record
    inside = f"{target}/{MARK}-{job_id}"
    if record := _record(inside, job_id):
        _merge(inside, target)
    return record


def _archive(
    tell: Tell, path: str, job_id: str, target: str, before: Iterable[tuple[str, int, float | None]]
) -> dict[str, Any]:
    if not workspace.is_marked(path, job_id):
        raise Refused(f"{path!r}, its work directory, is not there or has lost its mark")
    _check_apart(path, target)
    with workspace.held(path):
        merge = _is_used(target)
        build = f"{target if merge else os.path.dirname(target)}/{MARK}-{job_id}"
        os.makedirs(build, 0o700, exist_ok=True)
        try:
            if not _record(build, job_id):
                _fill(tell, path, build, job_id, before)
            if merge:
                _check_free(build, target)
            else:
                os.rename(build, target)
        except (Refused, OSError):
            shutil.rmtree(build, ignore_errors=True)  # the work directory has it all
            raise
        if merge:
            _merge(build, target)
        copying.settle(os.path.dirname(target))
    record = _record(build if merge else target, job_id)
    assert record is not None
    return record


def _check_apart(path: str, target: str) -> None:
    inside = os.path.realpath(path)
    if f"{os.path.realpath(target)}/".startswith(f"{inside}/"):
        raise Refused(f"the archive {target!r} would be within the work directory")


def _is_used(target: str) -> bool:
    """Is there something already that is to stay?"""
    try:
        return bool(os.listdir(target)) or os.path.islink(target)
    except FileNotFoundError:
        if os.path.islink(target):
            raise Refused(f"the archive {target!r} is a symbolic link that leads nowhere") from None
        return False
    except NotADirectoryError:
        raise Refused(f"the archive {target!r} is not a directory") from None


# ---- building


def _fill(
    tell: Tell, path: str, build: str, job_id: str, before: Iterable[tuple[str, int, float | None]]
) -> None:
    """All that is new, and in the end the record, which says that this is all."""
    builder = _Builder(tell, path, build, before)
    for name, found in copying.walk(path):
        if not workspace.is_own(name.partition("/")[0]):
            builder.add(name, found)
    builder.finish()
    said = {"files": builder.files, "more": builder.more, "left": builder.left}
    _write_record(f"{build}/{MARK}", f"{job_id}\n{json.dumps(said)}\n".encode())


class _Builder:
    def __init__(
        self, tell: Tell, path: str, build: str, before: Iterable[tuple[str, int, float | None]]
    ) -> None:
        self._tell, self._path, self._build = tell, path, build
        self._before = {name: (size, changed) for name, size, changed in before}
        self._staged = {part for name in self._before for part in _above(name)} | self._before.keys()
        self._modes: dict[str, os.stat_result] = {}
        self._bytes = 0
        self.files: list[dict[str, Any]] = []
        self.more = 0
        self.left: list[str] = []

    def add(self, name: str, found: os.stat_result) -> None:
        self._tell(doing=name, bytes=self._bytes)
        if stat.S_ISDIR(found.st_mode):
            self._modes[name] = found
            if name not in self._staged:
                self._directory(name)
        elif self._was_there(name, found):
            pass
        elif stat.S_ISLNK(found.st_mode):
            self._link(name)
        elif stat.S_ISREG(found.st_mode):
            self._file(name, found)
        else:
            self.left.append(name)

    def finish(self) -> None:
        """All of it is on the disk then. The directories get the permissions and times of those that they
        stand for, the innermost first."""
        for name, found in sorted(self._modes.items(), reverse=True):
            with suppress(FileNotFoundError):
                made = f"{self._build}/{name}"
                os.utime(made, ns=(found.st_atime_ns, found.st_mtime_ns))
                os.chmod(made, stat.S_IMODE(found.st_mode))
        self._advance(0)
        copying.settle_all(self._build)

    def _was_there(self, name: str, found: os.stat_result) -> bool:
        if name not in self._before:
            return False
        size, changed = self._before[name]
        return changed is None or (found.st_size, found.st_mtime) == (size, changed)

    def _directory(self, name: str) -> None:
        with suppress(FileExistsError):
            os.makedirs(f"{self._build}/{name}", 0o700)

    def _room(self, name: str) -> str:
        """Where that goes, the directories above it being there."""
        if above := name.rpartition("/")[0]:
            self._directory(above)
        return f"{self._build}/{name}"

    def _link(self, name: str) -> None:
        to = self._room(name)
        with suppress(FileNotFoundError):
            os.unlink(to)
        os.symlink(os.readlink(f"{self._path}/{name}"), to)

    def _file(self, name: str, found: os.stat_result) -> None:
        try:
            digest = self._place(name, found)
        except PermissionError:
            raise Refused(f"{name!r} may not be read by its owner") from None
        except Unavailable as error:
            raise Unavailable(f"{name!r}: {error}") from None
        if len(self.files) < MOST_RECORDED:
            self.files.append({"path": name, "size": found.st_size, "sha256": digest})
        else:
            self.more += 1

    def _place(self, name: str, found: os.stat_result) -> str:
        """Its digest, once it is in the build: a second name of it, or a copy."""
        to = self._room(name)
        with copying.opened(f"{self._path}/{name}") as source:
            if self._has(to, found) or self._linked(name, to):
                with copying.opened(to) as made:
                    return copying.digest(made, self._advance)
            _, digest = copying.copy(source, to, self._advance, settled=False)
            os.chmod(to, stat.S_IMODE(found.st_mode))
            return digest

    def _has(self, to: str, found: os.stat_result) -> bool:
        """The same file, from a former try? A copy of it is removed: whether all of it got to the disk nobody
        knows."""
        try:
            made = os.lstat(to)
        except FileNotFoundError:
            return False
        if os.path.samestat(made, found):
            return True
        os.unlink(to)
        return False

    def _linked(self, name: str, to: str) -> bool:
        """Not onto another file system, and some have no links, or allow none to such a file."""
        try:
            os.link(f"{self._path}/{name}", to, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_LINKS:
                return False
            raise
        return True

    def _advance(self, number: int) -> None:
        self._bytes += number
        self._tell(bytes=self._bytes)


def _above(name: str) -> Iterator[str]:
    while name := name.rpartition("/")[0]:
        yield name


# ---- the record


def _record(directory: str, job_id: str) -> dict[str, Any] | None:
    """Of a complete archive of that job, there or on its way."""
    try:
        with open(f"{directory}/{MARK}", "rb") as file:
            if file.readline().rstrip(b"\n") != job_id.encode():
                return None
            said: dict[str, Any] = json.loads(file.readline())
            return said
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _write_record(path: str, content: bytes) -> None:
    part = f"{path}-part"
    with open(part, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, path)
    copying.settle(os.path.dirname(path))


# ---- into a directory that is used already


def _check_free(build: str, target: str) -> None:
    """Raises Refused, before anything is seen, for what would replace something."""
    for name, found in copying.walk(build):
        if workspace.is_own(name) or _is_free(f"{build}/{name}", found, f"{target}/{name}"):
            continue
        raise Refused(f"there is another {name!r} in the archive {target!r} already")


def _is_free(ours: str, found: os.stat_result, there: str) -> bool:
    """Also where it was put already, and then something ended us."""
    if not os.path.lexists(there):
        return True
    if stat.S_ISDIR(found.st_mode):
        return os.path.isdir(there)
    if stat.S_ISLNK(found.st_mode):
        return os.path.islink(there) and os.readlink(there) == os.readlink(ours)
    return os.path.samestat(found, os.lstat(there))


def _merge(build: str, target: str) -> None:
    """Each entry by one step that fails where something else has come meanwhile."""
    _check_free(build, target)
    _put_all(build, target)
    copying.settle(target)


def _put_all(source: str, target: str) -> None:
    for name in sorted(os.listdir(source)):
        if name != MARK:
            _put(f"{source}/{name}", f"{target}/{name}")


def _put(ours: str, there: str) -> None:
    mode = os.lstat(ours).st_mode
    if stat.S_ISDIR(mode):
        _put_directory(ours, there, stat.S_IMODE(mode))
    elif stat.S_ISLNK(mode):
        if not os.path.lexists(there):
            os.symlink(os.readlink(ours), there)
        os.unlink(ours)
    else:
        _put_file(ours, there)


def _put_directory(ours: str, there: str, mode: int) -> None:
    """Its owner can move it, or empty it, only while it is writable."""
    os.chmod(ours, mode | stat.S_IRWXU)
    if os.path.isdir(there):
        _put_all(ours, there)
        os.rmdir(ours)
    else:
        os.rename(ours, there)
        os.chmod(there, mode)


def _put_file(ours: str, there: str) -> None:
    try:
        if not os.path.lexists(there):
            os.link(ours, there, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(ours, there)
    else:
        os.unlink(ours)
