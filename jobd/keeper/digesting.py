"""The digests of all files beneath a job's own directory, so that two jobs can be compared. A symbolic link
has no content of its own, as in the record of an archive; a FIFO or a device has none that could be digested,
and is only named."""

from __future__ import annotations

import os
import stat
from typing import Any

from jobd.errors import Refused, Unavailable
from jobd.keeper import copying, workspace
from jobd.keeper.workspace import Tell

MOST = 100_000


def digests(tell: Tell, path: str) -> dict[str, Any]:
    """{"files": [{"path", "size", "sha256"}], "more": files beyond `MOST`, "left": what is neither file,
    directory nor link}.

    No such directory: no files. Raises Refused in words, Unavailable when a file is being written to.
    """
    found: dict[str, Any] = {"files": [], "more": 0, "left": []}
    if not os.path.lexists(path):
        return found
    try:
        for name, facts in copying.walk(path):
            has_content = not (stat.S_ISDIR(facts.st_mode) or stat.S_ISLNK(facts.st_mode))
            if has_content and not workspace.is_own(name.partition("/")[0]):
                _add(tell, found, path, name, facts)
    except OSError as error:
        raise Refused(f"{error.filename or path!r} cannot be read: {error.strerror}") from None
    return found


def _add(tell: Tell, found: dict[str, Any], path: str, name: str, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        found["left"].append(name)
    elif len(found["files"]) == MOST:
        found["more"] += 1
    else:
        found["files"].append({"path": name, "size": facts.st_size, "sha256": _digest(tell, path, name)})


def _digest(tell: Tell, path: str, name: str) -> str:
    try:
        with copying.opened(f"{path}/{name}") as file:
            return copying.digest(file, lambda number: tell(doing=name))
    except Unavailable as error:
        raise Unavailable(f"{name!r}: {error}") from None
