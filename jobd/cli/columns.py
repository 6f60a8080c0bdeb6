"""The columns of a listing: `-o id,name,status`, or any field of a job by its name in the API, such as
`-o id,usage.cpu`."""

from __future__ import annotations

import time

from jobd.cli import text
from jobd.cli.table import Column
from jobd.errors import Fault, Invalid
from jobd.status import TERMINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Job = dict[str, Any]
    Show = Callable[[Job], str]

NONE = "-"
DEFAULT = ("id", "name", "user", "status", "exit", "time", "age", "queue", "local", "reason")
NARROW = {"local": 90, "queue": 80, "age": 70}
"""The least width of a terminal at which these have a place."""


def value(job: Job, path: str) -> Any:
    """A field, dotted ones inside others."""
    found: Any = job
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def word(found: object) -> str:
    """Any value in one word or a few."""
    if found is None or found == "" or found == []:
        return NONE
    if isinstance(found, bool):
        return "yes" if found else "no"
    if isinstance(found, float):
        return f"{found:g}" if abs(found) < 1e6 else f"{found:.0f}"
    if isinstance(found, dict):
        return ",".join(f"{name}={word(inner)}" for name, inner in found.items()) or NONE
    return " ".join(map(word, found)) if isinstance(found, list) else str(found)


def how_ended(job: Job) -> str:
    if job.get("signal"):
        return f"sig {job['signal']}"
    return word(job.get("exitCode"))


def run_time(job: Job) -> str:
    """From the start to the end, or to now."""
    started = text.moment(job.get("startTime"))
    if started is None:
        return NONE
    return text.clock((text.moment(job.get("endTime")) or time.time()) - started)


def age(job: Job) -> str:
    created = text.moment(job.get("created"))
    return NONE if created is None else text.age(time.time() - created)


def reason(job: Job) -> str:
    """Why it waits or how it ended, where that is not plain from the other columns."""
    told = str(job.get("reason") or "")
    condition = job.get("condition")
    if job.get("killAsked") and job.get("status") not in TERMINAL:
        return "kill asked" + (f": {told}" if told else "")
    if told or condition in (None, "NORMAL", "EXIT_CODE"):
        return told or NONE
    return str(condition).replace("_", " ").lower()


def peak_memory(job: Job) -> str:
    size = value(job, "usage.peakMemory")
    if not isinstance(size, int | float):
        return NONE
    from jobd.units import format_size

    return format_size(size)


_WAY = ("status", "startTime", "endTime", "created", "exitCode", "signal", "condition", "reason", "killAsked")

KNOWN: dict[str, tuple[Column, tuple[str, ...], Show]] = {
    "id": (Column("ID"), ("id",), lambda job: str(job["id"])),
    "name": (Column("NAME", flexible=True), ("name",), lambda job: word(job.get("name"))),
    "user": (Column("USER"), ("owner",), lambda job: word(job.get("owner"))),
    "app": (Column("APP"), ("appId",), lambda job: word(job.get("appId"))),
    "system": (Column("SYSTEM"), ("executionSystem",), lambda job: word(job.get("executionSystem"))),
    "queue": (Column("QUEUE"), ("batchQueue",), lambda job: word(job.get("batchQueue"))),
    "status": (Column("STATUS"), ("status",), lambda job: word(job.get("status"))),
    "exit": (Column("EXIT", right=True), _WAY, how_ended),
    "time": (Column("TIME", right=True), _WAY, run_time),
    "age": (Column("AGE", right=True), _WAY, age),
    "local": (Column("LOCAL"), ("localId",), lambda job: word(job.get("localId"))),
    "reason": (Column("REASON", flexible=True), _WAY, reason),
    "command": (Column("COMMAND", flexible=True), ("command",), lambda job: word(job.get("command"))),
    "memory": (Column("PEAK", right=True), ("usage",), peak_memory),
}
"""By name: the column, the fields of the job that it needs, and how it is shown."""


class Choice:
    """The columns that were asked for."""

    def __init__(self, names: Sequence[str]) -> None:
        chosen = [KNOWN.get(name) or _field(name) for name in names]
        self.columns = [column for column, _, _ in chosen]
        self.fields = list(dict.fromkeys(field for _, fields, _ in chosen for field in fields))
        self._free = [name for name in names if name not in KNOWN]
        self._shows = [show for _, _, show in chosen]

    def row(self, job: Job) -> list[str]:
        for field in self._free:
            if field.partition(".")[0] not in job:
                raise Invalid(Fault(f"-o {field}", "there is no such column", ", ".join(KNOWN)))
        return [show(job) for show in self._shows]


def _field(name: str) -> tuple[Column, tuple[str, ...], Show]:
    return Column(name), (name,), lambda job: word(value(job, name))
