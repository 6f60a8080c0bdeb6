"""What `jobctl doctor` says of a PBS cluster: what there is, and what is worse without it."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping

from jobd.backend import Finding
from jobd.backends import batch, batch_doctor, pbs_text
from jobd.backends.batch import Scheduler
from jobd.backends.pbs_words import Dialect
from jobd.errors import JobdError, Refused


def findings(
    pbs: Scheduler, dialect: Callable[[], Dialect], user: str, directory: str, interval: float
) -> Iterator[Finding]:
    """`directory`: where the person's jobs have theirs. `interval`: seconds between two polls at most."""
    try:
        spoken = dialect()
        told = pbs_text.server(pbs.ask("qstat", "-B", "-f"))
    except JobdError as trouble:
        yield Finding("!", f"qstat does not answer: {trouble}{_hint(str(trouble))}")
        return
    version = told.get("pbs_version", "of no known version")
    yield Finding("ok", f"the server answers ({spoken.name}, {version})")
    yield from _server(told)
    yield from _memory(spoken, told, interval)
    yield from _person(pbs, user)
    yield from batch_doctor.place(pbs.persons, user, directory, _alone(told))


def _hint(trouble: str) -> str:
    if re.search("authenticat|pbs_iff", trouble, re.IGNORECASE):
        return " (is pbs_iff setuid root here? mode 4755)"
    if re.search("unknown host|errno=15008|pbsconf|No such file", trouble, re.IGNORECASE):
        return (
            " (options.conf has the path of pbs.conf, options.server the server's name, options.qstat a path)"
        )
    return ""


def _server(told: Mapping[str, str]) -> Iterator[Finding]:
    if told.get("scheduling") == "False":
        yield Finding("-", "scheduling=False: PBS starts no jobs at the moment")
    if told.get("query_other_jobs") == "False":
        yield Finding(
            "!",
            "query_other_jobs=False: unless the daemon's user is an operator, it sees nobody else's jobs, and"
            " they would be LOST one day",
        )


def _memory(spoken: Dialect, told: Mapping[str, str], interval: float) -> Iterator[Finding]:
    """For how long the server knows of jobs that are over."""
    if spoken.history and told.get("job_history_enable") != "True":
        yield Finding(
            "!",
            "job_history_enable is not True: how a job ended is known by its script alone, so that a time"
            " limit, a lost node or a foreign qdel is not told; qmgr -c 'set server job_history_enable=True'"
            " mends it",
        )
    kept = told.get("keep_completed", "")
    if not spoken.history and not (kept.isdecimal() and int(kept) >= 2 * interval):
        yield Finding(
            "!",
            f"keep_completed={kept or 0}: an ended job is forgotten before jobd has looked twice (every"
            f" {interval:g} s), and is then known by its script alone; 300 would be right",
        )


def _person(pbs: Scheduler, user: str) -> Iterator[Finding]:
    try:
        done = pbs.query("qselect", "-N", "jobd-doctor", "-u", user, user=user)
    except Refused:  # root, say, who has no jobs
        return
    except JobdError as trouble:
        yield Finding("!", f"nothing can be run as {user}: {trouble}")
        return
    said = batch.words("qselect", done)
    if done.code != 0:
        yield Finding("!", f"PBS does not answer {user}: {said}{_hint(said)}")
    else:
        yield Finding("ok", f"PBS answers {user}")


def _alone(told: Mapping[str, str]) -> bool:
    """Is the server on this very machine? Then its nodes may be, too."""
    return told.get("server_host", "").partition(".")[0] == socket.gethostname().partition(".")[0]
