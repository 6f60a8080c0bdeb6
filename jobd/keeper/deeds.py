"""What is done as a person besides jobs: commands, files, what jobs need before they run and leave when they
have.

As the daemon's own user at once; as somebody else by an errand (errands.py). Every method blocks and may be
called from any thread.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from jobd.errors import Forbidden, Refused, Unavailable
from jobd.keeper import attempt, commands, facts, files
from jobd.keeper.attempt import Ran
from jobd.keeper.commands import Finished
from jobd.keeper.errands import Errands, Leash
from jobd.keeper.files import Entry
from jobd.keeper.order import Identity
from jobd.people import Served, known, person, user_name

_FILE_WAIT = 10.0
"""Seconds that a person's file system is given to open a file or list a directory."""
_SILENCE = 600.0
"""Seconds that staging, archiving and removing may be silent: a disk may take long over what was written."""
_COMMAND_GRACE = 5.0
"""Seconds beyond a command's own limit that its end is given to be told."""


class Deeds:
    """`served` says for whom a root daemon works; None: a daemon does everything as its own user, for that
    one."""

    def __init__(self, served: Served | None) -> None:
        self.served = served
        self._errands = Errands()

    # whom

    def may_run_as(self, user: str) -> bool:
        """Does this daemon do things as that person?"""
        if self.served is None:
            return user == own_name()
        who = known(user)
        return who is not None and self.served.includes(who)

    def whom(self) -> str:
        """The same in words, for those whom it does not serve."""
        return self.served.words() if self.served else f"this daemon serves {own_name()} only"

    def _identity(self, user: str) -> Identity | None:
        """What a process has to become; None: nothing, we are that user. Raises Forbidden, and Unavailable
        where the user database does not know them, since a network's may be away."""
        if self.served is None and user == own_name():
            return None
        who = person(user)  # asked once: somebody who is gone at a second look would be nobody, and run as us
        if self.served is not None and who is None:
            raise Unavailable(f"there is no user {user} on this machine at present")
        if self.served is None or who is None or not self.served.includes(who):
            raise Forbidden(f"it cannot be done as {user}: {self.whom()}")
        return None if who.uid == os.geteuid() else (who.uid, who.gid, who.groups())

    # commands and files

    def run(
        self,
        user: str | None,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: str = "/",
        stdin: bytes = b"",
        timeout: float = 30.0,
    ) -> Finished:
        """Run a short command to its end, or to its time limit in seconds, as that person; None: as the
        daemon.

        Raises Refused for a person whom this daemon does not serve, and Unavailable: either it did not run,
        or (words say so) nobody can tell what it did.
        """
        identity = None if user is None else self._servant(user)
        if identity is None:
            return commands.run(argv, environment, directory, stdin, timeout)
        order = _order(argv, environment, stdin, timeout) | {"directory": directory}
        said, _ = self._errands.do(identity, "run", order, timeout + _COMMAND_GRACE)
        return _finished(said)

    def submit(
        self,
        user: str,
        workspace: str,
        job_id: str,
        tag: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdin: bytes,
        timeout: float,
    ) -> Finished | Ran:
        """Make the job's directory and the attempt's in it (attempt.py), then run a scheduler's command as
        `run` does. Ran: an attempt before it ran, and this one was not handed over. Raises as `run`, and
        Refused when the directory cannot be made."""
        identity = self._servant(user)
        if identity is None:
            return attempt.submit(workspace, job_id, tag, argv, environment, stdin, timeout)
        order = _order(argv, environment, stdin, timeout)
        order |= {"workspace": workspace, "job_id": job_id, "tag": tag}
        said, _ = self._errands.do(identity, "submit", order, timeout + _COMMAND_GRACE)
        return Ran(**said) if "tag" in said else _finished(said)

    def _servant(self, user: str) -> Identity | None:
        """As `_identity`, for what is a job's: raises Refused."""
        try:
            return self._identity(user)
        except Forbidden as error:
            raise Refused(str(error)) from error

    def open(self, user: str, root: str, path: str) -> int:
        """A file descriptor to read a regular file beneath `root`, opened as the person; the caller closes
        it.

        No link is followed below root, and no FIFO or device is opened. Raises Invalid (the path leads
        outside), NotFound, Forbidden, Unavailable.
        """
        identity = self._identity(user)
        if identity is None:
            return files.open_beneath(root, path)
        _, (fd,) = self._errands.do(identity, "open", {"root": root, "path": path}, _FILE_WAIT)
        return fd

    def listing(self, user: str, root: str, path: str = "") -> list[Entry]:
        """What is in that directory beneath `root`, by name; of a file, the file itself. Raises as `open`
        does."""
        identity = self._identity(user)
        if identity is None:
            return files.list_beneath(root, path)
        found, _ = self._errands.do(identity, "list", {"root": root, "path": path}, _FILE_WAIT)
        return [Entry(**entry) for entry in found]

    def read(self, user: str, places: Sequence[tuple[str, str]], limit: int = 65536) -> list[bytes | None]:
        """Small files, each a root and the path beneath it, opened as `open` does, at most `limit` bytes of
        each; None: it is not there or cannot be read. Raises Forbidden, Unavailable."""
        identity = self._identity(user)
        if identity is None:
            return [files.read_beneath(root, path, limit) for root, path in places]
        order = {"places": list(places), "limit": limit}
        found, _ = self._errands.do(identity, "read", order, _FILE_WAIT)
        return [None if content is None else content.encode("latin-1") for content in found]

    def facts(self, user: str, sources: Sequence[str]) -> dict[str, dict[str, Any] | None]:
        """By source of an input, what can be seen of it as that person without reading it (facts.py). Raises
        Forbidden, Unavailable."""
        identity = self._identity(user) if sources else None
        if identity is None:
            return facts.of_all(sources)
        found, _ = self._errands.do(identity, "facts", {"sources": list(sources)}, _FILE_WAIT)
        return dict(found)

    # a job's own directories

    def stage(
        self,
        user: str,
        workspace: str,
        job_id: str,
        plan: Sequence[Mapping[str, Any]],
        limits: Mapping[str, Any],
        told: Callable[[dict[str, Any]], None],
        leash: Leash,
    ) -> list[dict[str, Any]]:
        """Bring inputs into the work directory, which is made (see staging.py: lines of the plan, limits, and
        rows of what was staged). Raises Refused, naming the input, Forbidden, Unavailable."""
        order = {"path": workspace, "job_id": job_id, "plan": list(plan), "limits": limits}
        return list(self._do_long(user, "stage", order, told, leash))

    def archive(
        self,
        user: str,
        workspace: str,
        job_id: str,
        target: str,
        before: Sequence[tuple[str, int, float | None]],
        told: Callable[[dict[str, Any]], None],
        leash: Leash,
    ) -> dict[str, Any]:
        """Put into `target` what the work directory did not have before (see archiving.py, also for what
        comes back). The work directory stays. Raises Refused in words, Forbidden, Unavailable."""
        order = {"path": workspace, "job_id": job_id, "target": target, "before": list(before)}
        return dict(self._do_long(user, "archive", order, told, leash))

    def remove(self, user: str, path: str, job_id: str, leash: Leash) -> bool:
        """Remove a directory of jobd's own with all that is in it. False: it has not that job's mark, and is
        as it was. Raises Refused, Forbidden, Unavailable."""
        order = {"path": path, "job_id": job_id}
        return bool(self._do_long(user, "remove", order, lambda progress: None, leash))

    def digests(self, user: str, path: str, leash: Leash) -> dict[str, Any]:
        """Of all files beneath a directory of jobd's own (see digesting.py). Raises Refused in words,
        Forbidden, Unavailable."""
        return dict(self._do_long(user, "digests", {"path": path}, lambda progress: None, leash))

    def _do_long(
        self,
        user: str,
        deed: str,
        order: Mapping[str, Any],
        told: Callable[[dict[str, Any]], None],
        leash: Leash,
    ) -> Any:
        return self._errands.do_long(self._identity(user), deed, order, _SILENCE, told, leash)


def _order(
    argv: Sequence[str], environment: Mapping[str, str], stdin: bytes, timeout: float
) -> dict[str, Any]:
    return {
        "argv": list(argv),
        "environment": dict(environment),
        "stdin": base64.b64encode(stdin).decode(),
        "timeout": timeout,
    }


def _finished(said: Mapping[str, Any]) -> Finished:
    texts = {name: said[name].encode("latin-1") for name in ("out", "err")}
    return Finished(**{**said, **texts})


@cache
def own_name() -> str:
    """Of the user that this process runs as, as long as it runs; not by getlogin, which needs a terminal."""
    return user_name(os.geteuid())
