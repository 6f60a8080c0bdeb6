"""What PBS's commands print, read: pure functions.

Of the forms in which OpenPBS tells of jobs, `-F dsv` is the one that no job's text can break or forge: a job
is one line, newlines and bars within a value are escaped. In its plain form a variable of anybody's can look
like another attribute, or another job; and one odd name or variable makes its JSON no JSON at all. Torque has
XML for the same. Names, owners and states come before all that is the user's own text, and the first word
counts.

Times are asked for in UTC (TZ), since they come without a zone. Lines of another shape are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree

from jobd.errors import Down


@dataclass(frozen=True)
class Row:
    """One job, as qstat tells of it. Times in seconds since the epoch."""

    local_id: str
    name: str
    owner: str
    state: str
    """A letter."""
    substate: int | None = None
    status: int | None = None
    """Its Exit_status, which is also there of jobs that are not over."""
    submitted: float | None = None
    started: float | None = None
    ended: float | None = None
    runs: int = 0
    nodes: str = ""
    comment: str = ""
    holds: str = ""
    """Who holds it: letters of u, o, s, p; empty: nobody."""
    wall: float | None = None
    cpu: float | None = None
    peak_memory: int | None = None


def dsv(text: str) -> list[Row]:
    """Of `qstat -f -F dsv`."""
    lines = (line for line in text.split("\n") if line.startswith("Job Id: "))
    return [row for line in lines if (row := _row(_fields(line)))]


def server(text: str) -> Mapping[str, str]:
    """The attributes of the server, of `qstat -B -f`, as far as they fit on a line."""
    return dict(re.findall(r"^ {4}([\w.]+) = (.*)$", text, re.MULTILINE))


def _fields(line: str) -> dict[str, str]:
    """The first of each name. What stands between two bars may hold bars and backslashes, each behind a
    backslash."""
    found: dict[str, str] = {}
    for part in line.replace(r"\\", "\0").replace(r"\|", "\1").split("|"):
        name, _, value = part.replace("Job Id: ", "Job Id=", 1).partition("=")
        found.setdefault(name, value.replace("\1", "|").replace("\0", "\\"))
    return found


def xml(text: str) -> list[Row]:
    """Of Torque's `qstat -f -x`, which prints nothing at all when there are no jobs. Raises Down when it is
    cut short."""
    if not text.strip():
        return []
    try:
        jobs = ElementTree.fromstring(_NOT_XML.sub("?", text)).iter("Job")
    except ElementTree.ParseError as error:
        raise Down(f"qstat's answer is no XML: {error}") from error
    return [row for job in jobs if (row := _row(_elements(job)))]


_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _elements(job: ElementTree.Element) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in job:
        found.setdefault(each.tag, each.text or "")
        for inner in each:
            found.setdefault(f"{each.tag}.{inner.tag}", inner.text or "")
    if "Job_Id" in found:
        found["Job Id"] = found["Job_Id"]
    return found


def _row(told: dict[str, str]) -> Row | None:
    facts = {name.lower(): value for name, value in reversed(told.items())}
    found = local_id(facts.get("job id", ""))
    if found is None:
        return None
    return Row(
        found,
        facts.get("job_name", ""),
        facts.get("job_owner", "").partition("@")[0],
        facts.get("job_state", ""),
        _whole(facts.get("substate")),
        _whole(facts.get("exit_status")),
        _moment(facts, "ctime"),
        _moment(facts, "stime", "start_time"),
        _moment(facts, "obittime", "comp_time", "history_timestamp"),
        runs=_whole(facts.get("run_count")) or 0,
        nodes=_nodes(facts.get("exec_host", "")),
        comment=facts.get("comment", ""),
        holds=facts.get("hold_types", "n").replace("n", ""),
        wall=span(facts.get("resources_used.walltime", "")),
        cpu=span(facts.get("resources_used.cput", "")),
        peak_memory=size(facts.get("resources_used.mem", "")),
    )


def _whole(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?[0-9]{1,9}", text, re.ASCII) else None


def _nodes(exec_host: str) -> str:
    """Of `n1/0*4+n2/3`: n1,n2."""
    return ",".join(dict.fromkeys(each.partition("/")[0] for each in exec_host.split("+") if each))


# ---- ids

_ID = re.compile(r"[0-9]{1,18}(\[[0-9,:%-]*\])?(\.[\w.-]+)?", re.ASCII)


def local_id(text: str) -> str | None:
    """`7.server`, `7`, and of an array `7[].server`, `7[3].server`. None: this is none."""
    text = text.strip()
    return text if _ID.fullmatch(text) else None


def ids(text: str) -> list[str]:
    """Each line that is one."""
    return [found for line in text.splitlines() if (found := local_id(line))]


def number(text: str) -> str:
    """A local id as far as it is the same from every command: some leave out the server's domain, or all of
    its name."""
    return text.partition(".")[0]


def only_unknown(words: str) -> bool:
    """Did a query say nothing but of ids that it does not know them?"""
    lines = [line for line in words.splitlines() if line.strip()]
    return bool(lines) and all(_NOT_KNOWN.search(line) for line in lines)


_NOT_KNOWN = re.compile(r"unknown job id|job has finished", re.IGNORECASE)


# ---- times and sizes

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_DATE = re.compile(
    r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) +([0-9]{1,2}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([0-9]{4})", re.ASCII
)


def moment(text: str) -> float | None:
    """Seconds since the epoch, of those or of `Mon Nov 23 12:42:07 2026` in UTC."""
    if re.fullmatch("[0-9]{1,11}", text, re.ASCII):
        return float(text) or None
    found = _DATE.fullmatch(text)
    if not found or found[1] not in _MONTHS:
        return None
    day, hour, minute, second, year = map(int, found.groups()[1:])
    try:
        return datetime(year, _MONTHS.index(found[1]) + 1, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _moment(facts: Mapping[str, str], *names: str) -> float | None:
    return next((found for name in names if (found := moment(facts.get(name, "")))), None)


def span(text: str) -> float | None:
    """Seconds of `100:02:03`, or of those."""
    if not re.fullmatch(r"([0-9]{1,9}:){0,2}[0-9]{1,9}", text, re.ASCII):
        return None
    seconds = 0
    for part in text.split(":"):
        seconds = seconds * 60 + int(part)
    return float(seconds)


def size(text: str) -> int | None:
    """Bytes of `5528kb`; a w is a word of eight."""
    found = re.fullmatch(r"([0-9]{1,15})([kmgtp]?)([bw])", text, re.ASCII)
    if not found:
        return None
    power = " kmgtp".index(found[2] or " ")
    return int(found[1]) << 10 * power + (3 if found[3] == "w" else 0)
