"""Agave's search: `field[.op]=value&..`, all of which must hold, made into SQL with parameters. Pure.

    eq (the default) neq lt lte gt gte in nin between     lists by commas: status.in=RUNNING,QUEUED
    like nlike          `*` stands for anything; upper and lower case of ASCII are not told apart
    rlike               a regular expression, see regex.py
    on before after     dates: ISO-8601, in this machine's zone if none is said, or milliseconds since the
                        epoch; `on` is the whole day

Field names and operators are taken in any case. What is not a field, or a value that is none of its kind, is
Invalid and names the field: a search that silently ignored a word would list everything. Hidden jobs are left
out unless `visible` is asked about. Nothing of a value ever becomes SQL text.

A person's own jobs and those that are shared with them are two searches, merged: each has its own index,
which one condition for both would not have.

SQLite chooses its indexes without statistics here, and would walk a million finished jobs to find the two
that run; a + before a column takes the wrong index from it (`_spared`). A search that finds little in a long
history has to look at all of it, so each is ended after a few seconds.
"""

from __future__ import annotations

import difflib
import re
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jobd import regex
from jobd.errors import Fault, Invalid, Unavailable
from jobd.status import ACTIVE, KNOWN_WORDS
from jobd.store import pems
from jobd.store.job import Job
from jobd.store.tables import SELECT, to_job

_SHORT = 2 * 86400.0
LONGEST_SEARCH = 10.0
"""Seconds."""

NOT_FIELDS = frozenset({"limit", "offset", "order", "orderby", "filter", "naked", "pretty"})
"""Words of a listing's query string that say how to answer, not what to look for."""

_MOST_VALUES = 500
_CHECK_EVERY = 50_000  # SQLite's instructions: about a millisecond

Parse = Callable[[str], Any]
Clause = tuple[str, list[Any]]


@dataclass(frozen=True)
class Kind:
    """A kind of value: how it is read, what is said when it cannot be, and what can be asked of it."""

    parse: Parse
    expected: str
    operators: frozenset[str]


@dataclass(frozen=True)
class Field:
    sql: str
    kind: Kind


@dataclass(frozen=True)
class Search:
    conditions: tuple[Clause, ...]
    """Each as it stands after WHERE, with its parameters. What fits one is found; no job fits two."""
    key: str
    """What it is ordered by; `seq` orders what is equal."""
    way: str = "desc"

    @property
    def order(self) -> str:
        """What stands after ORDER BY."""
        return f"seq {self.way}" if self.key == "seq" else f"{self.key} {self.way}, seq {self.way}"

    @property
    def statement(self) -> str:
        """With the parameters of all conditions, a limit and an offset."""
        if len(self.conditions) == 1:
            ((where, _),) = self.conditions
            return f"{SELECT} WHERE {where} ORDER BY {self.order} LIMIT ? OFFSET ?"
        found = " UNION ALL ".join(
            f"SELECT seq AS found, {self.key} AS key FROM job WHERE {where}" for where, _ in self.conditions
        )
        order = f"key {self.way}, found {self.way}"
        page = f"{found} ORDER BY {order} LIMIT ? OFFSET ?"
        return f"{SELECT} JOIN ({page}) ON seq = found ORDER BY {order}"

    @property
    def parameters(self) -> tuple[Any, ...]:
        return tuple(each for _, parameters in self.conditions for each in parameters)

    def jobs(self, sql: sqlite3.Connection, limit: int, offset: int) -> list[Job]:
        """What it finds, on this connection. Raises Unavailable when it takes too long."""
        if not self.conditions:
            return []
        with _bounded(sql):
            rows = sql.execute(self.statement, (*self.parameters, limit, offset)).fetchall()
        return [to_job(row) for row in rows]


@contextmanager
def _bounded(sql: sqlite3.Connection) -> Iterator[None]:
    deadline = time.monotonic() + LONGEST_SEARCH
    sql.create_function("regexp", 2, regex.matches, deterministic=True)
    sql.set_progress_handler(lambda: time.monotonic() > deadline, _CHECK_EVERY)
    try:
        yield
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        raise Unavailable(
            f"the search took longer than {LONGEST_SEARCH:.0f} s: ask for less at once"
        ) from error
    finally:
        sql.set_progress_handler(None, 0)


# --- values ------------------------------------------------------------------------------------

_NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?", re.ASCII)
_MILLISECONDS = re.compile(r"-?\d{1,15}", re.ASCII)
_LOST_PLUS = re.compile(r"(T\d\d:\d\d\S*) (\d\d:?\d\d)$", re.ASCII)
_CLOCK = re.compile(r"(\d{1,6}):([0-5]\d):([0-5]\d)", re.ASCII)
_MEMORY = re.compile(r"(\d{1,12}(?:\.\d{1,9})?) ?([KMGTPE]?)B?", re.ASCII | re.IGNORECASE)
_POWERS = {"K": 10, "M": 20, "": 30, "G": 30, "T": 40, "P": 50, "E": 60}


def _whole(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    found = pattern.fullmatch(text.strip())
    if not found:
        raise ValueError(text)
    return found


def _text(text: str) -> str:
    text.encode()  # a lone surrogate is in no column
    return text


def _number(text: str) -> float:
    return float(_whole(_NUMBER, text)[0])


def _date(text: str) -> datetime:
    if _MILLISECONDS.fullmatch(text.strip()):
        return datetime.fromtimestamp(int(text) / 1000).astimezone()
    mended = _LOST_PLUS.sub(r"\1+\2", text.strip())  # a + that nobody wrote as %2B arrives as a space
    found = datetime.fromisoformat(mended)
    found.timestamp()  # a year that the machine's clock cannot say is refused here
    return found


def _clock(text: str) -> float:
    hours, minutes, seconds = _whole(_CLOCK, text).groups()
    return int(hours) * 3600.0 + int(minutes) * 60 + int(seconds)


def _memory(text: str) -> float:
    amount, unit = _whole(_MEMORY, text).groups()
    return float(amount) * 2.0 ** _POWERS[unit.upper()]


def _flag(text: str) -> int:
    return {"true": 1, "1": 1, "false": 0, "0": 0}[text.strip().lower()]


def _status(text: str) -> str:
    if text.strip().upper() not in KNOWN_WORDS:
        raise ValueError(text)
    return text.strip().upper()


_EQUAL = frozenset({"eq", "neq"})
_LISTS = _EQUAL | {"in", "nin"}
_ORDERED = _LISTS | {"lt", "lte", "gt", "gte", "between"}
_WORDS = _ORDERED | {"like", "nlike", "rlike"}

TEXT = Kind(_text, "text", _WORDS)
NUMBER = Kind(_number, "a number", _ORDERED)
DATE = Kind(
    _date,
    "a date, ISO-8601 such as 2014-10-24T04:48:11-05:00 or milliseconds since the epoch",
    _ORDERED | {"on", "before", "after"},
)
CLOCK = Kind(_clock, "a time as HH:MM:SS, for example 01:00:00", _ORDERED)
MEMORY = Kind(_memory, "a number of GB, or a size such as 512MB", _ORDERED)
FLAG = Kind(_flag, "true or false", _EQUAL)
TAG = Kind(_text, "a tag", frozenset({"eq", "in", "like", "rlike"}))
STATUS = Kind(_status, f"one of {', '.join(sorted(KNOWN_WORDS))}", _LISTS | {"like", "nlike", "rlike"})

# --- fields ------------------------------------------------------------------------------------

_SHARED = "shared"
"""True: others' jobs that are shared with the caller; false: the caller's own."""
_IS_TAG = "note.name = 'tag'"
_TAG_WORD = "json_extract(note.value, '$')"

FIELDS: Mapping[str, Field] = {
    "appId": Field("app_id", TEXT),
    "archive": Field("archive", FLAG),
    "archivePath": Field("nullif(archive_path, '')", TEXT),
    "archiveSystem": Field("archive_system", TEXT),
    "batchQueue": Field("queue", TEXT),
    "command": Field("command", TEXT),
    "condition": Field("condition", TEXT),
    "created": Field("created", DATE),
    "directory": Field("directory", TEXT),
    "endTime": Field("ended", DATE),
    "errorMessage": Field("reason", TEXT),
    "evidence": Field("evidence", TEXT),
    "executionSystem": Field("system", TEXT),
    "exitCode": Field("exit_code", NUMBER),
    "gpus": Field("gpus", NUMBER),
    "id": Field("id", TEXT),
    "inputs": Field("inputs", TEXT),
    "lastUpdated": Field("updated", DATE),
    "localId": Field("local_id", TEXT),
    "maxRunTime": Field("time_limit", CLOCK),
    "memoryPerNode": Field("memory", MEMORY),
    "name": Field("name", TEXT),
    "nodeCount": Field("nodes", NUMBER),
    "outputPath": Field("workspace", TEXT),
    "owner": Field("owner", TEXT),
    "parameters": Field("parameters", TEXT),
    "priority": Field("priority", NUMBER),
    "processorsPerNode": Field("processors", NUMBER),
    "reason": Field("reason", TEXT),
    "resubmitOf": Field("resubmit_of", TEXT),
    "retries": Field("max(attempt - 1, 0)", NUMBER),
    _SHARED: Field("owner", FLAG),
    "runTime": Field("(ended - started)", NUMBER),
    "signal": Field("signal", NUMBER),
    "startTime": Field("started", DATE),
    "status": Field("status", STATUS),
    "submitTime": Field("submitted", DATE),
    "tag": Field("tag", TEXT),
    "tags": Field(f"(SELECT group_concat({_TAG_WORD}) FROM note WHERE {_IS_TAG} AND job_seq = job.seq)", TAG),
    "visible": Field("(1 - hidden)", FLAG),
    "walltime": Field("(ended - created)", NUMBER),
}

_ALOE = {
    "accepted": "created",
    "ended": "endTime",
    "jobName": "name",
    "lastStatusMessage": "reason",
    "queue": "batchQueue",
    "remoteJobId": "localId",
    "remoteQueue": "batchQueue",
    "remoteStarted": "startTime",
    "remoteSubmitted": "submitTime",
    "submitRetries": "retries",
    "systemId": "executionSystem",
    "workPath": "directory",
}
"""The later names of the same facts."""

_BY_LOWER = {name.lower(): name for name in FIELDS} | {old.lower(): name for old, name in _ALOE.items()}


def _known(word: str, said: str) -> str:
    """The field that was meant. `said` is what a fault calls it."""
    try:
        return _BY_LOWER[word.lower()]
    except KeyError:
        near = difflib.get_close_matches(word.lower(), _BY_LOWER, 1)
        meant = f"; did you mean {_BY_LOWER[near[0]]}?" if near else ""
        raise Invalid(Fault(said, f"no such search field{meant}", f"one of {', '.join(FIELDS)}")) from None


# --- conditions --------------------------------------------------------------------------------

_COMPARE = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def _list(parse: Parse, value: str) -> list[Any]:
    parts = value.split(",")
    if len(parts) > _MOST_VALUES:
        raise ValueError(value)
    return [parse(part) for part in parts]


def _pair(parse: Parse, value: str) -> tuple[Any, Any]:
    first, last = value.split(",")
    return parse(first), parse(last)


def like_pattern(value: str) -> str:
    """Agave's wildcard in SQL's words; what means something to LIKE alone is escaped."""
    return re.sub(r"([\\%_])", r"\\\1", value).replace("*", "%")


def _words(sql: str, operator: str, value: str) -> Clause:
    if operator == "rlike":
        regex.compiled(_text(value))
        return f"regexp(?, {sql})", [value]
    negated = "NOT " if operator == "nlike" else ""
    return f"coalesce({sql}, '') {negated}LIKE ? ESCAPE '\\'", [like_pattern(_text(value))]


def _compared(sql: str, parse: Parse, operator: str, value: str) -> Clause:
    if operator in _COMPARE:
        return f"{sql} {_COMPARE[operator]} ?", [parse(value)]
    if operator == "between":
        return f"{sql} BETWEEN ? AND ?", list(_pair(parse, value))
    if operator in ("in", "nin"):
        values = _list(parse, value)
        inside = f"{sql} IN ({', '.join('?' * len(values))})"
        return (inside if operator == "in" else f"({sql} IS NULL OR NOT {inside})"), values
    return f"{sql} {'=' if operator == 'eq' else 'IS NOT'} ?", [parse(value)]


_TICK = 0.001  # what is shown are whole milliseconds, so a date stands for the millisecond that it begins
_SLACK = 0.000_01


def _span(sql: str, start: float, length: float = _TICK) -> Clause:
    return f"({sql} >= ? AND {sql} < ?)", [start - _SLACK, start + length - _SLACK]


def _seconds(text: str) -> float:
    return _date(text).timestamp()


def _dated(sql: str, operator: str, value: str) -> Clause:
    if operator in ("lt", "before"):
        return f"{sql} < ?", [_seconds(value) - _SLACK]
    if operator in ("gt", "after"):
        return f"{sql} >= ?", [_seconds(value) + _TICK - _SLACK]
    if operator == "lte":
        return f"{sql} < ?", [_seconds(value) + _TICK - _SLACK]
    if operator == "gte":
        return f"{sql} >= ?", [_seconds(value) - _SLACK]
    return _dated_range(sql, operator, value)


def _dated_range(sql: str, operator: str, value: str) -> Clause:
    if operator == "between":
        first, last = _pair(_seconds, value)
        return _span(sql, first, last - first + _TICK)
    if operator == "on":
        midnight = _date(value).replace(hour=0, minute=0, second=0, microsecond=0)
        return _span(
            sql, midnight.timestamp(), (midnight + timedelta(days=1)).timestamp() - midnight.timestamp()
        )
    clauses = [_span(sql, start) for start in _list(_seconds, value)]
    either = f"({' OR '.join(clause for clause, _ in clauses)})"
    parameters = [each for _, values in clauses for each in values]
    if operator in ("neq", "nin"):
        return f"({sql} IS NULL OR NOT {either})", parameters
    return either, parameters


def _visible(operator: str, value: str) -> Clause:
    return "hidden = ?", [1 - _flag(value) if operator == "eq" else _flag(value)]


def _tagged(operator: str, value: str) -> Clause:
    """Those that have such a tag: one of several is enough."""
    compare = _words if operator in ("like", "rlike") else _compared_text
    inside, parameters = compare(_TAG_WORD, operator, value)
    return f"seq IN (SELECT job_seq FROM note WHERE {_IS_TAG} AND {inside})", parameters


def _compared_text(sql: str, operator: str, value: str) -> Clause:
    return _compared(sql, _text, operator, value)


def _id_prefix(value: str) -> Clause:
    prefix = _text(value[:-1].lower())
    return "(id >= ? AND id < ?)", [prefix, prefix + "\U0010ffff"]


def _clause(name: str, operator: str, value: str) -> Clause:
    field = FIELDS[name]
    if name == "visible":
        return _visible(operator, value)
    if name == _SHARED:
        return "", [_flag(value) == (operator == "eq")]
    if name == "tags":
        return _tagged(operator, value)
    if name == "id" and operator == "like" and value.find("*") == len(value) - 1:
        return _id_prefix(value)
    if field.kind is DATE:
        return _dated(field.sql, operator, value)
    if operator in ("like", "nlike", "rlike"):
        return _words(field.sql, operator, value)
    return _compared(field.sql, field.kind.parse, operator, value)


@dataclass(frozen=True)
class _Term:
    """One part of the query: its field, how it is compared, and its condition."""

    name: str
    operator: str
    sql: str
    parameters: list[Any]


def _term(key: str, value: str) -> _Term:
    word, _, operator = key.partition(".")
    name = _known(word, key)
    operator = operator.lower() or "eq"
    kind = FIELDS[name].kind
    if operator not in kind.operators:
        raise Invalid(Fault(key, "no such comparison here", f"one of {', '.join(sorted(kind.operators))}"))
    try:
        return _Term(name, operator, *_clause(name, operator, value))
    except (ValueError, KeyError, OverflowError, OSError) as error:
        if operator == "rlike":
            raise Invalid(Fault(key, f"not a pattern that can be taken: {error}")) from error
        raise Invalid(Fault(key, f"{value[:100]!r} is not right", _form(operator, kind))) from error


def _form(operator: str, kind: Kind) -> str:
    if operator == "between":
        return f"two values with a comma between them, each {kind.expected}"
    return f"{kind.expected}; several by commas" if operator in ("in", "nin") else kind.expected


def search(
    query: Mapping[str, str],
    caller: str | None,
    order_by: str | None = None,
    direction: str | None = None,
    grantees: Collection[str] = (),
) -> Search:
    """The jobs that match, of those that the caller owns and those that are shared with one of the
    `grantees`; of everybody if `caller` is None. `direction` is asc or desc; without `order_by`, the last
    change comes first.

    Keys may repeat (a MultiDict): every one holds. Raises Invalid with all that is wrong.
    """
    faults: list[Fault | str] = []
    terms: list[_Term] = []
    order = "", ""
    try:
        order = _order(order_by, direction)
    except Invalid as error:
        faults.extend(error.faults)
    for key, value in query.items():
        try:
            if key.lower() not in NOT_FIELDS:
                terms.append(_term(key, value))
        except Invalid as error:
            faults.extend(error.faults)
    if faults:
        raise Invalid(*faults)
    if not any(term.name == "visible" for term in terms):
        terms.append(_Term("visible", "eq", "hidden = ?", [0]))
    whose = _whose(terms, caller, grantees)
    terms = [term for term in terms if term.name != _SHARED]
    return Search(tuple(_together([*terms, *one], order[0]) for one in whose), *order)


def _order(field: str | None, direction: str | None) -> tuple[str, str]:
    """By creation means by submission: a clock that was set back cannot change that."""
    word = (direction or "desc").lower()
    if word not in ("asc", "desc"):
        raise Invalid(Fault("order", f"{(direction or '')[:100]!r} is not right", "asc or desc"))
    name = _known(field, "orderBy") if field else "lastUpdated"
    return "seq" if name == "created" else FIELDS[name].sql, word


def _whose(terms: list[_Term], caller: str | None, grantees: Collection[str]) -> list[list[_Term]]:
    """What says whose jobs are meant, for each of the searches that this comes to: one's own, and what others
    share. Nothing is shared with nobody in particular."""
    asked = {term.parameters[0] for term in terms if term.name == _SHARED}
    own = [] if caller is None else [_Term("owner", "eq", "owner = ?", [caller])]
    found = [own] if True not in asked else []
    if caller is not None and grantees and False not in asked:
        sql = f"(owner <> ? AND seq IN ({pems.SHARED_WITH}))"
        found.append([_Term(_SHARED, "eq", sql, [caller, pems.listed(grantees)])])
    return found


def _together(terms: list[_Term], key: str) -> Clause:
    spared = _spared(terms, key)
    sql = " AND ".join(f"+{term.sql}" if term.name in spared else term.sql for term in terms)
    return sql, [each for term in terms for each in term.parameters]


def _spared(terms: list[_Term], key: str) -> set[str]:
    """The fields whose index is the wrong one: another leads to few jobs, or to many in their order."""
    equal = {term.name for term in terms if term.operator == "eq"}
    by_age = key == "seq"
    if any(term.name == "id" and term.sql.startswith(("id =", "(id >=")) for term in terms):
        return {"visible", "owner", "status"}
    if any(_short(term) or (term.name == "tags" and term.operator in ("eq", "in")) for term in terms):
        return {"visible", "owner", "status"}
    if _SHARED in equal:
        return {"visible", "owner", "status", "name"}
    if "name" in equal:
        return {"visible", "status"}
    if any(_few(term) for term in terms):
        return {"visible", "owner"} if by_age or not {"status", "owner"} <= equal else set()
    if {"status", "owner"} <= equal and not by_age:
        return set()
    return {"status", "visible"} if by_age and "owner" not in equal else {"status"}


def _short(term: _Term) -> bool:
    """A day or two of submissions are few, and old ones are far from the end where a listing begins."""
    if term.name != "created" or term.operator not in ("between", "on"):
        return False
    first, last = term.parameters
    return bool(last - first <= _SHORT)


def _few(term: _Term) -> bool:
    """Jobs that are not over are few."""
    return term.name == "status" and term.operator in ("eq", "in") and ACTIVE.issuperset(term.parameters)
