"""An attempt's directory, `.jobd-TAG` in a job's own, made as the person just before a scheduler is asked.

What is in it later is the script's (backends/jobscript.py). The attempts before it are revoked in the way in
which a script claims: whichever of the two made the link `claim` first, at most one submission ever runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from jobd.errors import Refused
from jobd.keeper import child, commands
from jobd.keeper.commands import Finished

PREFIX = f"{child.MARK}-"
REVOKED = "revoked"
_UMASK = 0o077


@dataclass(frozen=True)
class Ran:
    """An attempt before this one did start, in spite of all looks."""

    local_id: str
    tag: str


def submit(
    workspace: str,
    job_id: str,
    tag: str,
    argv: Sequence[str],
    environment: Mapping[str, str],
    stdin: bytes,
    timeout: float,
) -> Finished | Ran:
    """Makes the directory, then runs the command, unless an attempt before it ran. Raises Refused when it
    cannot be made, Unavailable as `commands.run` does."""
    try:
        ran = prepare(workspace, job_id, tag)
    except child.Failure as error:
        raise Refused(str(error)) from None
    except OSError as error:
        words = f"the job's own directory {workspace!r} cannot be made: {error.strerror}"
        raise Refused(words) from None
    return ran or commands.run(argv, environment, "/", stdin, timeout, umask=_UMASK)


def prepare(workspace: str, job_id: str, tag: str) -> Ran | None:
    """Raises child.Failure, OSError."""
    child.make_workspace(workspace, job_id)
    with suppress(FileExistsError):
        os.mkdir(f"{workspace}/{PREFIX}{tag}", 0o700)
    for name in os.listdir(workspace):
        if name.startswith(PREFIX) and name != PREFIX + tag and os.path.isdir(f"{workspace}/{name}"):
            claim = _revoked(f"{workspace}/{name}/claim")
            if claim != REVOKED:
                return Ran(claim, name.removeprefix(PREFIX))
    return None


def _revoked(claim: str) -> str:
    """Who has the claim now."""
    with suppress(OSError):
        os.symlink(REVOKED, claim)
    return os.readlink(claim)
