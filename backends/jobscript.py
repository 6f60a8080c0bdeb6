"""The script that a scheduler gets, and the records that it leaves. For /bin/sh of any cluster.

Each attempt has a directory `.jobd-TAG` in the job's own, on the file system that the nodes share, made as
the person before the scheduler is asked (jobd/keeper/attempt.py). In it, whole or not at all:

    claim    a symbolic link (which is made or is there, nothing between) whose target is the local id of the
             submission that may run, or the word `revoked`. A requeue by the scheduler has the same id and
             goes on; a second submission finds another's and ends without running (T2).
    start    who runs, where, since when
    exit     the code, and whether the shell saw a signal behind it (T5)
    failed   why the program could not even be started, in words
    deleted  not the script's: the scheduler took an order to end the job

Before a job is handed over again, the attempts before it are revoked in the same way: whichever of the two
made the link first, at most one submission ever runs. All of this is the person's to change, so it is a
claim: it gives the code, while the end itself is the scheduler's to say.

Nothing of a user's text is a shell's to interpret: each word is quoted, and names that a shell keeps for
itself go through env(1).
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobd.backend import Ticket

FILES = ("start", "exit", "failed", "deleted")
UNCLAIMED = 79
"""The script's exit code when another submission has the claim, or its records cannot be written."""

_PATH = "/usr/local/bin:/usr/bin:/bin"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_THE_SHELLS = re.compile(
    r"_|(OLD)?PWD|SHLVL|IFS|E?UID|PPID|OPT(IND|ARG|ERR)|LINENO|RANDOM|SECONDS|GROUPS|FUNCNAME|DIRSTACK|HIST.*"
    r"|SHELLOPTS|BASH.*|ENV|PS[0-9]|jobd_.*"
)
"""Variables that a shell computes, forbids to set, or would act on."""


def attempt(name: str) -> str:
    """The attempt's directory, in the job's own."""
    return f".jobd-{name}"


def word(text: str) -> str:
    """As one word of a script. No carriage return stands before a newline, which some schedulers refuse."""
    return shlex.quote(text).replace("\r\n", "\r''\n")


# ---- the script

BASH = '[ -n "${BASH_VERSION-}" ] || ! [ -x /bin/bash ] || exec /bin/bash --posix "$0"'
"""Where sh is another shell: most leave INT and QUIT ignored for ever in what they start aside."""

_SCRIPT = r"""
jobd_attempt={attempt}
jobd_id=${{{id_variable}:-unknown}}
jobd_path=$PATH
PATH={path}
for jobd_each in {signals}; do
    trap : $jobd_each
done
umask 077
ln -s "$jobd_id" "$jobd_attempt/claim" 2>/dev/null
if [ "$(readlink "$jobd_attempt/claim")" != "$jobd_id" ]; then
    echo "jobd: this submission does not run: $jobd_attempt/claim is another's, or cannot be made" >&2
    exit {unclaimed}
fi
jobd_record() {{
    cat > "$jobd_attempt/$1.tmp" && mv -f "$jobd_attempt/$1.tmp" "$jobd_attempt/$1"
}}
rm -f "$jobd_attempt/exit" "$jobd_attempt/failed"
printf 'id=%s\nnode=%s\nrestarts=%s\ntime=%s\n' \
    "$jobd_id" "$(hostname)" "${{{restarts_variable}:-0}}" "$(date +%s.%N)" | jobd_record start || {{
    echo "jobd: this submission does not run: $jobd_attempt cannot be written" >&2
    exit {unclaimed}
}}
jobd_fail() {{
    printf '%s\n' "$1" | jobd_record failed
    printf 'jobd: %s\n' "$1" >&4
    exit 127
}}
jobd_pass() {{
    jobd_passed=1
    kill -"$1" "$jobd_child"
}} 2>/dev/null
exec 4>&2 2>"$jobd_attempt/said"
(
trap - {signals} QUIT
umask {umask:o}
{run}
) &
jobd_child=$!
for jobd_each in {signals}; do
    trap "jobd_pass $jobd_each" $jobd_each
done
jobd_code=
while
    jobd_passed=
    wait "$jobd_child"
    jobd_last=$?
    case $jobd_last in
        -1 | 127) jobd_code=${{jobd_code:-$jobd_last}} ;;
        *) jobd_code=$jobd_last ;;
    esac
    [ -n "$jobd_passed" ]
do :; done
exec 2>&4 4>&-
jobd_signal=0
if [ "$jobd_code" -gt 128 ] && [ -s "$jobd_attempt/said" ]; then
    jobd_signal=1
fi
{{
    printf 'id=%s\ncode=%s\nsignal=%s\ntime=%s\n' \
        "$jobd_id" "$jobd_code" "$jobd_signal" "$(date +%s.%N)"
    times
}} > "$jobd_attempt/exit.tmp" && mv -f "$jobd_attempt/exit.tmp" "$jobd_attempt/exit"
rm -f "$jobd_attempt/said"
exit "$jobd_code"
"""
"""Signals for the job often come to this process alone: it passes them on, and stays to write down how the
program took them. A wait that a signal has cut short is repeated, since the program may have ended just then.
A shell that has told of that end already says 127; bash, where the two fall together, at times -1, and the
code is lost. A shell says on its standard error when its child was ended by a signal (but some do not of
PIPE, and of those that are passed on): that tells 137 from KILL."""


def script(
    ticket: Ticket,
    head: Sequence[str],
    environment: Mapping[str, str],
    id_variable: str,
    restarts: str,
    opens_logs: bool = False,
) -> bytes:
    """`head`: the scheduler's directives. `id_variable` and `restarts`: where it tells the script its local
    id and how often it was requeued. `opens_logs`: the scheduler does not open the job's own."""
    directives = ticket.directives.splitlines()
    body = _SCRIPT.format(
        attempt=word(f"{ticket.workspace}/{attempt(ticket.tag)}"),
        id_variable=id_variable,
        restarts_variable=restarts,
        path=_PATH,
        unclaimed=UNCLAIMED,
        umask=ticket.umask,
        signals="HUP INT TERM USR1 USR2",
        run=_run(ticket, environment),
    )
    lines = [
        "#!/bin/sh",
        *head,
        *(line for line in directives if line.startswith("#")),
        f"# jobd, job {ticket.job_id}",
        BASH,
        *(_logs(ticket) if opens_logs else ()),
        *(line for line in directives if not line.startswith("#")),
        body,
    ]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _logs(ticket: Ticket) -> list[str]:
    return [f"umask {ticket.umask:o}", f"exec >>{word(ticket.stdout)} 2>>{word(ticket.stderr)}"]


def _run(ticket: Ticket, environment: Mapping[str, str]) -> str:
    """From the job's directory to exec, each step with its own words for its failure."""
    stdin = word(ticket.stdin or "/dev/null")
    program = ticket.argv[0]
    exported = {name: value for name, value in environment.items() if _exportable(name)}
    through_env = [f"{name}={value}" for name, value in environment.items() if not _exportable(name)]
    env = ["env", "--", *through_env] if through_env and "=" not in program else []
    lines = [
        *_enter(ticket.directory),
        f"[ -f {stdin} ] || [ -c {stdin} ] || jobd_fail {word(f'no standard input {ticket.stdin!r} here')}",
        f"[ -r {stdin} ] || jobd_fail {word(f'standard input {ticket.stdin!r} cannot be read')}",
        "PATH=$jobd_path",
        *(f"export {name}={word(value)}" for name, value in exported.items()),
        *_look_for(program),
        f"exec {' '.join(map(word, [*env, *ticket.argv]))} <{stdin} 2>&4 4>&-",
    ]
    return "\n".join(lines)


def _exportable(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and not _THE_SHELLS.fullmatch(name)


def _enter(directory: str) -> list[str]:
    path = word(directory)
    return [
        f"[ -d {path} ] || jobd_fail {word(f'directory {directory!r} does not exist on this node')}",
        f"cd {path} || jobd_fail {word(f'directory {directory!r} cannot be entered')}",
    ]


def _look_for(program: str) -> list[str]:
    if "/" not in program:
        missing = word(f"command {program!r} was not found in PATH")
        return [f"command -v {word(program)} >/dev/null || jobd_fail {missing}"]
    path = word(program)
    return [
        f"[ -e {path} ] || jobd_fail {word(f'command {program!r} does not exist')}",
        f"[ -f {path} ] && [ -x {path} ] || jobd_fail {word(f'{program!r} is not executable')}",
    ]


# ---- its records


@dataclass(frozen=True)
class Records:
    """What the script of one attempt has left; each part None where it is not there or not right."""

    local_id: str | None = None
    """The submission that has the claim, and has started."""
    node: str | None = None
    restarts: int = 0
    started: float | None = None
    code: int | None = None
    signal: int | None = None
    ended: float | None = None
    cpu: float | None = None
    failed: str | None = None
    deleted: bool = False

    @property
    def over(self) -> bool:
        return self.ended is not None

    @property
    def wall(self) -> float | None:
        """None where the node's date(1) knows whole seconds only."""
        if self.started is None or self.ended is None or self.started % 1 == 0:
            return None
        return max(0.0, self.ended - self.started)


def places(workspace: str, name: str) -> list[tuple[str, str]]:
    """What `persons.read` is to read, for `records`."""
    return [(workspace, f"{attempt(name)}/{file}") for file in FILES]


def records(
    start: bytes | None, exit: bytes | None, failed: bytes | None, deleted: bytes | None = None
) -> Records:
    """From the bytes of the four files, which may hold anything."""
    began, ended = _facts(start), _facts(exit)
    local_id = began.get("id")
    was_deleted = deleted is not None
    if local_id is None or _time(began) is None:
        return Records(deleted=was_deleted)
    restarts = _number(began, "restarts") or 0
    known = Records(local_id, began.get("node"), restarts, _time(began), deleted=was_deleted)
    code, end = _number(ended, "code"), _time(ended)
    if ended.get("id") != local_id or code is None or not 0 <= code <= 255 or end is None:
        return known
    signal = code - 128 if ended.get("signal") == "1" and 128 < code < 193 else None
    return Records(
        local_id,
        known.node,
        known.restarts,
        known.started,
        code=None if signal else code,
        signal=signal,
        ended=max(end, known.started or end),
        cpu=_cpu(exit),
        failed=failed.decode("utf-8", "replace").strip()[:1000] if failed else None,
        deleted=was_deleted,
    )


def _facts(record: bytes | None) -> dict[str, str]:
    lines = (record or b"").decode("ascii", "replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _number(facts: Mapping[str, str], name: str) -> int | None:
    text = facts.get(name, "")
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) else None


def _time(facts: Mapping[str, str]) -> float | None:
    """Seconds, with a fraction where date(1) knows it."""
    found = re.match(r"[0-9]{1,12}(\.[0-9]{1,9}$)?", facts.get("time", ""), re.ASCII)
    return float(found[0]) if found else None


def _cpu(record: bytes | None) -> float | None:
    """Seconds of the shell's children, from the second line of `times`: `0m1.50s 0m0.25s`."""
    found = re.findall(rb"([0-9]+)m([0-9.,]+)s", (record or b"").rpartition(b"time=")[2])
    if len(found) != 4:
        return None
    try:
        seconds = sum(int(minutes) * 60 + float(rest.replace(b",", b".")) for minutes, rest in found[2:])
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
