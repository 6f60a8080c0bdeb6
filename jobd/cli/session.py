"""One invocation of jobctl: its options, the daemon, and where words go: data to standard output, messages to
standard error.

With --json data is one JSON object per line, whatever their number, and a failure is one on standard error:
{"error": {"kind": "NotFound", "code": 404, "exit": 66, "message": .., "errors": [{field, problem,
expected}]}}.
"""

from __future__ import annotations

import os
import sys

from jobd.cli import exit, ids, text
from jobd.errors import Invalid, JobdError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from jobd.cli.table import Column
    from jobd.client import Client

_A_WHILE = 3.0
"""Seconds of silence that need no explanation."""


class Session:
    def __init__(self, options: Namespace) -> None:
        self.options = options
        self.of_error = exit.of_error
        """The exit code for an exception; `run` and `wait` have another rule."""
        self._client: Client | None = None
        self._away: bool | None = None
        self._progress = 0
        self._paused = False
        """It was said that the daemon is waited for."""

    # ---- the daemon

    def client(self, start: bool = False) -> Client:
        """The connection; `start`: with one's own daemon started, if that is meant and not there."""
        if self._client is None:
            from jobd.client import Client

            host, user = self.options.host, self.options.user
            self._client = Client(host, user=user, start=start, on_pause=self._pause)
        return self._client

    @property
    def away(self) -> bool:
        """Is the daemon on another machine, where this one's directories and environment mean nothing?"""
        if self._away is None:
            from jobd.client import hosts

            self._away = hosts.find(self.options.host, own=self.options.user).ssh is not None
        return self._away

    def _pause(self, message: str, seconds: float) -> None:
        """Where nobody is watching it is said once, and only if it lasts: a script's log may be all that
        tells where the time went. (With --json standard error is for failures.)"""
        if text.is_terminal(sys.stderr):
            self.progress(message)
        elif seconds > _A_WHILE and not (self._paused or self.options.json):
            self._paused = True
            self.say(message)

    # ---- out

    def out(self, line: str) -> None:
        self.settle()
        sys.stdout.write(line + "\n")

    def json(self, value: object) -> None:
        import json

        self.out(json.dumps(value))

    def say(self, message: str) -> None:
        """A message for the person; line by line, so that nobody's name forges one."""
        self.settle()
        for line in message.splitlines() or [""]:
            sys.stderr.write(f"jobctl: {text.printable(line)}\n")
        sys.stderr.flush()

    def complain(self, error: BaseException) -> None:
        """Tell of a failure."""
        if not self.options.json:
            for line in explain(error):
                self.say(line)
            return
        import json

        self.settle()
        sys.stderr.write(json.dumps({"error": self._described(error)}) + "\n")

    def _described(self, error: BaseException) -> dict[str, Any]:
        described: dict[str, Any] = {
            "kind": exit.kind(error),
            "exit": self.of_error(error),
            "message": str(error),
        }
        if isinstance(error, JobdError):
            described["code"] = error.code
            if error.conflicts:
                described["conflicts"] = list(error.conflicts)
        if isinstance(error, Invalid):
            described["errors"] = [fault.as_dict() for fault in error.faults]
        return described

    def progress(self, message: str) -> None:
        """A line that the next one overwrites, where a person is watching."""
        if not text.is_terminal(sys.stderr):
            return
        line = text.cut(text.printable(f"jobctl: {message}"), text.terminal_width() - 1)
        sys.stderr.write("\r" + text.pad(line, self._progress))
        sys.stderr.flush()
        self._progress = text.width(line)

    def settle(self) -> None:
        """Takes the line of `progress` away."""
        if self._progress:
            sys.stderr.write("\r" + " " * self._progress + "\r")
            sys.stderr.flush()
            self._progress = 0

    # ---- data

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str]], heading: bool = True) -> None:
        from jobd.cli import table

        room = text.terminal_width() if text.is_terminal(sys.stdout) else None
        colour = text.wants_colour(self.options.color, sys.stdout)
        for line in table.lines(columns, rows, room=room, heading=heading, colour=colour):
            self.out(line)

    def rows(
        self,
        columns: Sequence[Column],
        rows: Sequence[dict[str, Any]],
        show: Callable[[dict[str, Any]], Sequence[str]],
        names: Sequence[str] = ("id",),
    ) -> None:
        """Other things than jobs: as JSON, by their ids, or as a table, in which ids are cut on a terminal to
        what tells them apart. `names` are the fields that hold ids, the thing's own first."""
        if self.options.json:
            for row in rows:
                self.json(row)
        elif self.options.quiet:
            for row in rows:
                self.out(str(row[names[0]]))
        else:
            self.table(columns, map(show, _cut(rows, names) if text.is_terminal(sys.stdout) else rows))

    def job(self, job: dict[str, Any], note: str = "") -> None:
        """One line about a job that something was done to; its first word is the id."""
        if self.options.json:
            self.json(job)
        elif self.options.quiet:
            self.out(str(job["id"]))
        else:
            words = [
                str(job["id"]),
                text.printable(str(job["name"])),
                str(job["status"]),
                text.printable(note),
            ]
            self.out("  ".join(filter(None, words)))

    def each(
        self,
        words: Iterable[str],
        action: Callable[[str], int | None],
        *,
        hidden: bool = False,
        changes: bool = False,
    ) -> int:
        """Do something to each of the jobs that are meant, in order, whatever happens to the others; the
        exit code. (hidden, changes: see ids.find.)"""
        return exit.together(self.codes(words, action, hidden=hidden, changes=changes))

    def codes(
        self,
        words: Iterable[str],
        action: Callable[[str], int | None],
        *,
        hidden: bool = False,
        changes: bool = False,
    ) -> list[int]:
        def one(word: str) -> int | None:
            return action(ids.find(self.client(), word, hidden=hidden, changes=changes))

        return self.codes_of(ids.words(words), one)

    def codes_of(self, things: Iterable[str], action: Callable[[str], int | None]) -> list[int]:
        """The same of what are no jobs."""
        codes = []
        for thing in things:
            try:
                codes.append(action(thing) or exit.OK)
            except (JobdError, TimeoutError) as error:
                self.complain(error)
                codes.append(self.of_error(error))
                if exit.of_error(error) == exit.AWAY:
                    break
        return codes


def _cut(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    lengths = {name: ids.shortest(str(row[name]) for row in rows) for name in names}
    return [{**row, **{name: row[name][:length] for name, length in lengths.items()}} for row in rows]


def explain(error: BaseException) -> list[str]:
    conflicts = [conflict(one) for one in getattr(error, "conflicts", ())]
    if isinstance(error, Invalid):
        return [str(fault) for fault in error.faults] + conflicts
    if conflicts:
        return ["not submitted: what would run today differs", *conflicts]
    return str(error).splitlines() or [type(error).__name__]


def conflict(one: dict[str, Any]) -> str:
    """A conflict of a resubmission, as a reply has it, in a line."""
    way = "" if one.get("ignored") else "if ignored: "
    return f"{one['field']}: {one['problem']} ({way}{one['fit']})"


def quit_quietly() -> None:
    """Nobody reads standard output any more: so that nothing is said of it when the interpreter closes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
