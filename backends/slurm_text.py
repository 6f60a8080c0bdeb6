"""What Slurm's commands print, read: pure functions, and the formats that the commands are asked for.

A name is a user's text, and so may hold newlines and bars that look like another job's line. squeue is asked
for as many characters of it as a tag has, sacct for exact names only, and neither for any other free text:
whoever would forge a line lacks the room for it. Lines of another shape are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

TAG_LENGTH = 14

SQUEUE = ",".join(
    f"{field}|"
    for field in (
        f"Name:{TAG_LENGTH}",
        "JobID:",
        "UserName:",
        "State:",
        "exit_code:",
        "SubmitTime:",
        "StartTime:",
        "EndTime:",
        "RestartCnt:",
        "NodeList:",
        "Reason:",
    )
)
"""For -O; the reason last, since it alone can hold anything Slurm likes to say."""

SACCT = "JobName,JobID,JobIDRaw,User,State,ExitCode,Submit,Start,End,NodeList,ElapsedRaw,TotalCPU,MaxRSS"
SACCT_FIELDS = SACCT.count(",") + 1


@dataclass(frozen=True)
class Row:
    """One job, as squeue or sacct tell of it. Times in seconds since the epoch."""

    name: str
    local_id: str
    owner: str
    state: str
    """The state's first word."""
    code: int | None
    signal: int | None
    submitted: float | None
    started: float | None
    ended: float | None
    restarts: int = 0
    nodes: str = ""
    reason: str = ""
    wall: float | None = None
    cpu: float | None = None
    peak_memory: int | None = None


def squeue(text: str) -> list[Row]:
    return [row for line in text.splitlines() if (row := _squeue_line(line))]


def _squeue_line(line: str) -> Row | None:
    fields = line.split("|", SQUEUE.count("|") - 1)
    if len(fields) != SQUEUE.count("|") or not fields[1].isdecimal():
        return None
    name, local_id, owner, state, status, submitted, started, ended, restarts, nodes, reason = fields
    code, signal = wait_status(status)
    return Row(
        name.strip(),
        local_id,
        owner,
        state,
        code,
        signal,
        moment(submitted),
        moment(started),
        moment(ended),
        int(restarts) if restarts.isdecimal() else 0,
        nodes,
        reason.rstrip("|"),
    )


def sacct(text: str) -> list[Row]:
    """One row per job; what its steps have used goes into it."""
    rows: dict[str, Row] = {}
    for fields in _sacct_lines(text):
        (name, shown, raw, owner, state, exit, submitted, started, ended) = fields[:9]
        nodes, wall, cpu, memory = fields[9:]
        code, signal = exit_pair(exit)
        used = size(memory)
        if "." in raw:
            _add_step(rows, raw.partition(".")[0], used)
        elif local_id(shown):
            rows[raw] = Row(
                name,
                raw,
                owner,
                state.split()[0] if state.split() else "",
                code,
                signal,
                moment(submitted),
                moment(started),
                moment(ended),
                nodes=nodes if nodes != "None assigned" else "",
                wall=float(wall) if wall.isdecimal() else None,
                cpu=span(cpu),
                peak_memory=used,
            )
    return list(rows.values())


def _sacct_lines(text: str) -> Iterator[list[str]]:
    return (fields for line in text.splitlines() if len(fields := line.split("|")) == SACCT_FIELDS)


def _add_step(rows: dict[str, Row], job: str, used: int | None) -> None:
    """The largest of its steps counts."""
    row = rows.get(job)
    if row and used is not None:
        rows[job] = Row(**(vars(row) | {"peak_memory": max(used, row.peak_memory or 0)}))


def submitted(text: str) -> str | None:
    """The local id in what sbatch printed: `7`, `7;cluster`, `Submitted batch job 7`; None: it is not
    there."""
    for line in reversed(text.splitlines()):
        found = re.fullmatch(
            r"(?:Submitted batch job )?([0-9]+)(?:;\S+| on cluster \S+)?", line.strip(), re.ASCII
        )
        if found:
            return found[1]
    return None


_ID = re.compile(
    r"(?P<job>[0-9]+)(_(?P<task>[0-9]+|\[[0-9,:%-]+\]))?(\+(?P<part>[0-9]+))?(;(?P<cluster>[\w.-]+))?",
    re.ASCII,
)


def local_id(text: str) -> str | None:
    """A job's id without the cluster's name: `7`, `7_3` and `7_[4-9%2]` of an array, `7+1` of a job in parts,
    each also as `7;cluster`. None: this is none."""
    found = _ID.fullmatch(text.strip())
    return text.strip().partition(";")[0] if found else None


def wait_status(text: str) -> tuple[int | None, int | None]:
    """Exit code and signal of a status as wait(2) has it: 1792 is exit 7, 15 is SIGTERM."""
    if not re.fullmatch("[0-9]{1,9}", text, re.ASCII):
        return None, None
    status = int(text)
    return pair(status >> 8 & 0xFF, status & 0x7F)


def exit_pair(text: str) -> tuple[int | None, int | None]:
    """Exit code and signal of `7:0` or `0:15`."""
    found = re.fullmatch("([0-9]{1,3}):([0-9]{1,3})", text, re.ASCII)
    return pair(int(found[1]), int(found[2])) if found else (None, None)


def pair(code: int, signal: int) -> tuple[int | None, int | None]:
    return (None, signal) if signal else (code, None)


def moment(text: str) -> float | None:
    """Seconds since the epoch, of those or of a UTC time in ISO form; None for N/A, Unknown, None."""
    if re.fullmatch("[0-9]{1,11}", text, re.ASCII):
        return float(text) or None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None


_SPAN = re.compile(
    r"(?:(?:([0-9]{1,6})-)?([0-9]{1,6}):)?([0-9]{1,6}):([0-9]{1,2}(?:\.[0-9]{1,9})?)", re.ASCII
)


def span(text: str) -> float | None:
    """Seconds of `[[days-]hours:]minutes:seconds`."""
    found = _SPAN.fullmatch(text)
    if not found:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def size(text: str) -> int | None:
    """Bytes of `1234K`, `1.50G`, as sacct has them."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)([KMGTP]?)", text, re.ASCII)
    return int(float(found[1]) * 1024 ** " KMGTP".index(found[2] or " ")) if found else None


def config(text: str) -> Mapping[str, str]:
    """Of `scontrol show config`."""
    lines = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, value in lines}
