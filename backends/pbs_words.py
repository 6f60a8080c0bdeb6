"""PBS's words, and what they mean here: states, exit statuses, comments, failures of its commands. Pure
tables.

OpenPBS and PBS Professional are one dialect (recorded from 23.06), Torque is another (from its sources, 6.1).
The same number is not the same failure in both, so failures are told by their words. A state that is not here
never ends a job.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from jobd.backend import Phase
from jobd.backends import pbs_text
from jobd.backends.pbs_text import Row
from jobd.status import Condition

PHASES = {
    "Q": Phase.QUEUED,
    "H": Phase.HELD,
    "W": Phase.QUEUED,
    "T": Phase.QUEUED,
    "M": Phase.QUEUED,
    "R": Phase.RUNNING,
    "B": Phase.RUNNING,
    "E": Phase.RUNNING,  # its output is still being copied, and its Exit_status may change
    "S": Phase.SUSPENDED,
    "U": Phase.SUSPENDED,
}
"""Of a job that is not over, whatever its Exit_status: one that is queued again has that of its last run."""

OVER = ("F", "X", "C")
DELETED = 91
"""The substate of a job that is over by qdel, or never ran."""
_WAITS_FOR_ANOTHER = 22

_START = (Condition.LAUNCH_FAILED, "PBS could not start it")
_NODE = (Condition.NODE_LOST, "its node went down or was restarted")

_ALIKE = {
    -1: _START,
    -2: _START,
    -3: _START,
    -4: _NODE,
    -5: _NODE,
    -6: _NODE,
}

_PROCESSORS = (Condition.SIGNAL, "it used more processors than it had asked for")
_TIME = (Condition.TIME_LIMIT, "its time limit was reached")
_CPU = (Condition.TIME_LIMIT, "its limit of processor time was reached")
_MEMORY = (Condition.MEMORY_LIMIT, "its memory limit was reached")

_OPENPBS = {
    -10: (Condition.LAUNCH_FAILED, "its user is not known on the node"),
    -16: (Condition.LAUNCH_FAILED, "a hook of the site refused it"),
    -17: (Condition.LAUNCH_FAILED, "a hook of the site refused it"),
    -18: (Condition.LAUNCH_FAILED, "a hook of the site deleted it"),
    -19: (Condition.LAUNCH_FAILED, "a hook of the site failed"),
    -20: (Condition.NODE_LOST, "PBS lost its node"),
    -24: _PROCESSORS,
    -25: _PROCESSORS,
    -26: _MEMORY,
    -27: _MEMORY,
    -28: _CPU,
    -29: _TIME,
    -30: _START,
}
_TORQUE = {-10: _MEMORY, -11: _TIME, -12: _CPU}


@dataclass(frozen=True)
class Dialect:
    """What differs between the two."""

    name: str
    all: Sequence[str]
    """Arguments of qstat for everybody's jobs."""
    read: Callable[[str], list[Row]]
    history: Sequence[str]
    """Arguments of qstat for jobs that are over, by ids; none: they are among all others for a while."""
    select: Sequence[str]
    """Arguments of qselect to find jobs that are over, too."""
    submit: Sequence[str]
    """Arguments of qsub."""
    request: str
    """How it is asked for nodes: select or nodes."""
    server: str
    """The variable that names the server."""
    force: Sequence[str]
    """Arguments of a qdel that does not wait for the node; none: it has none for everybody."""
    statuses: Mapping[int, tuple[Condition, str]]
    """What is meant by those below zero."""
    deleted: Collection[int]
    """Those of jobs that were deleted, where no substate tells."""
    never_ran: tuple[Condition, str]
    """What a job that is over without a start and a status means."""

    def how(self, row: Row) -> tuple[Condition | None, str]:
        """How a job that is over ended, and why; None: by the code of its program."""
        if row.substate == DELETED or row.status in self.deleted:
            return Condition.KILLED, _last_words(row.comment) or "deleted"
        if row.status is None and row.started is None:
            condition, words = self.never_ran
            return condition, f"{words} ({row.comment})" if row.comment else words
        if row.status is not None and row.status < 0:
            return self.statuses.get(row.status, (None, f"Exit_status {row.status}"))
        return None, ""


# Without -f, qsub leaves a process that may deliver a job after qsub itself was killed.
OPENPBS = Dialect(
    "openpbs",
    all=("-f", "-F", "dsv"),
    read=pbs_text.dsv,
    history=("-x", "-f", "-F", "dsv"),
    select=("-x",),
    submit=("-f",),
    request="select",
    server="PBS_SERVER",
    force=("-W", "force"),
    statuses=_ALIKE | _OPENPBS,
    deleted=(),
    never_ran=(Condition.LAUNCH_FAILED, "PBS ended it before it ran"),
)
TORQUE = Dialect(
    "torque",
    all=("-f", "-x"),
    read=pbs_text.xml,
    history=(),
    select=(),
    submit=(),
    request="nodes",
    server="PBS_DEFAULT",
    force=(),
    statuses=_ALIKE | _TORQUE,
    deleted=(256 + 15, 256 + 9),
    never_ran=(Condition.KILLED, "deleted before it ran"),
)
DIALECTS = {each.name: each for each in (OPENPBS, TORQUE)}


def dialect(version: str) -> Dialect | None:
    """By what `qstat --version` says; None: that is neither's."""
    if "pbs_version" in version:
        return OPENPBS
    return TORQUE if re.search(r"^\s*version:\s", version, re.IGNORECASE | re.MULTILINE) else None


def code(status: int | None) -> tuple[int | None, int | None]:
    """Exit code and signal of an Exit_status: 256 and more is a signal to the shell on top."""
    if status is None or status < 0:
        return None, None
    return (status, None) if status < 256 else (None, status - 256 or None)


# ---- failures of commands

DOWN = re.compile(
    r"cannot connect to server|couldn't connect to|connection (refused|reset|timed)|unknown host"
    r"|unable to authenticate|pbs_iff|munge|no configuration|pbsconf|errno=-?[0-9]|timed? ?out|end of file"
    r"|no route to host|temporarily un|server (is )?(busy|shutting)|shutting down|shutdown in progress"
    r"|system error|internal (server )?error|cannot allocate memory|batch protocol error|communication fail",
    re.IGNORECASE,
)
"""They say nothing of the request: maybe later, maybe done."""
LATER = re.compile(
    r"would exceed|maximum number of jobs|queue is not enabled|could not connect to mom", re.IGNORECASE
)
"""They say no for the moment, and only to this one."""

NO_HISTORY = re.compile(r"not configured to maintain job history", re.IGNORECASE)
ALREADY_OVER = re.compile(
    r"unknown job ?id|job has finished|invalid for (state of job|finished)|invalid state", re.IGNORECASE
)
"""Of a job that qdel is told to end."""


# ---- why it waits

_NEVER = re.compile(r"^can never run:?\s*", re.IGNORECASE)
_NOT_NOW = re.compile(r"^not running:?\s*", re.IGNORECASE)
_WAITS = {
    "insufficient amount": "it waits for free resources",
    "not enough free nodes": "it waits for free nodes",
    "not enough": "it waits for free resources",
    "queue not started": "its queue starts no jobs at the moment",
    "limit": "a limit of its user, group, project or queue is reached",
    "reservation": "it would run into a reservation",
    "dedicated": "it would run into dedicated time",
    "higher priority": "jobs with a higher priority go first",
    "node down": "its node is down",
    "server scheduling is off": "PBS starts no jobs at the moment",
}


def phase(row: Row) -> Phase:
    """Of a job that is not over. A letter that a later PBS has: it runs if it has a node."""
    if row.state == "H" and (row.substate == _WAITS_FOR_ANOTHER or not row.holds):
        return Phase.QUEUED
    return PHASES.get(row.state) or (Phase.RUNNING if row.nodes else Phase.QUEUED)


def why(row: Row) -> str:
    """Why it waits, in words with PBS's own in brackets; empty where there is no reason."""
    if row.state not in PHASES:
        return f"PBS calls it {row.state!r}."
    if row.state == "H":
        return _held(row)
    if row.state == "W":
        return _told("its time to begin has not come", row.comment)
    if row.state in "TM":
        return _told("it goes to another queue or server", row.comment)
    return _waits(row.comment) if row.state == "Q" else ""


def _held(row: Row) -> str:
    if row.substate == _WAITS_FOR_ANOTHER:
        return _told("it waits for another job", row.comment)
    by = "it is held" if "u" in row.holds else "an operator or PBS itself has held it"
    return _told(by, row.comment)


def _waits(comment: str) -> str:
    if _NEVER.search(comment):
        return f"It can never start as it is: {_NEVER.sub('', comment)}."
    plain = _NOT_NOW.sub("", comment)
    if plain == comment:  # it says what was, such as when it ran before
        return _told("PBS has not looked at it yet", comment)
    found = (words for key, words in _WAITS.items() if key in plain.lower())
    return _told(next(found, "it does not run yet"), plain)


def _told(words: str, comment: str) -> str:
    words = words if words.startswith("PBS") else words[:1].upper() + words[1:]
    return f"{words} ({comment.rstrip('.')})." if comment else f"{words}."


def _last_words(comment: str) -> str:
    """Of `Job run at .. and terminated by alice@host`: the end."""
    return comment.rpartition(" and ")[2] if " and " in comment else comment
