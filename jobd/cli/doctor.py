"""jobctl doctor: which daemon this is, and what could surprise: each finding with what to do about it.

A `!` is something to mend, and the exit code is 1 then; a `-` is worth knowing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

import jobd
from jobd import places
from jobd.errors import JobdError, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from jobd.cli.parser import Parser
    from jobd.cli.session import Session
    from jobd.client.hosts import Host

Finding = tuple[str, str]
"""A mark, and words: " " is well, "-" worth knowing, "!" to be mended."""


def arguments(parser: Parser, verb: str) -> None:
    pass


def main(session: Session, verb: str) -> int:
    client = session.client()
    client.patience = 1.0
    health: dict[str, Any] | None
    try:
        health = client.doctor()
        with suppress(Unavailable):  # or it is unwell, and has just said how
            health |= client.health()
        reached = " ", f"the daemon at {client.host} answers"
    except JobdError as error:
        health = None
        reached = "!", f"{error}{' (systemctl status jobd says more)' if client.host.system else ''}"
    findings = [reached, *_daemon(health or {}, client.host), *_files(client.host), *_logout(client.host)]
    bad = any(mark == "!" for mark, _ in findings)
    if session.options.json:
        told = [{"mark": mark.strip() or "ok", "message": words} for mark, words in findings]
        session.json({"well": not bad, "host": str(client.host), "findings": told, "health": health})
    else:
        for mark, words in findings:
            session.out(f"{mark} {words}")
    return int(bad)


def _daemon(health: dict[str, Any], host: Host) -> Iterator[Finding]:
    """What it says of itself."""
    yield " ", f"jobctl {jobd.__version__}, Python {sys.version.split()[0]}, {os.path.dirname(jobd.__file__)}"
    if not health:
        return
    version = health.get("version")
    yield (
        (" " if version == jobd.__version__ else "-"),
        f"jobd {version}, pid {health.get('pid')}, {host.kind}",
    )
    if isinstance(containment := health.get("containment"), dict):
        yield from _containment(containment)
    yield from _troubles(health)


def _troubles(health: dict[str, Any]) -> Iterator[Finding]:
    """Of what it stands on."""
    if health.get("store"):
        yield "!", f"{health['store']}: until it can be, nothing that happens to jobs is shown"
    for trouble in health.get("troubles") or ():
        yield "!", trouble
    if health.get("mail"):
        yield "-", f"notifications by mail: {health['mail']}"
    for system, trouble in (health.get("systems") or {}).items():
        yield ("!" if trouble else " "), f"execution system {system}: {trouble or 'well'}"
    for system, told in (health.get("findings") or {}).items():
        for finding in told:
            yield finding["mark"].replace("ok", " "), f"{system}: {finding['message']}"


def _containment(found: dict[str, Any]) -> Iterator[Finding]:
    """How jobs are held together, and what could slip through."""
    rung = found.get("rung")
    yield (
        (" " if rung == "cgroup" else "-"),
        f"jobs are held together by: {rung}. {found.get('why') or ''}".rstrip(),
    )
    if found.get("cgroup"):
        yield " ", f"their control groups are below {found['cgroup']}"
    if ends_with := found.get("endsWith"):
        yield (
            "!",
            f"jobs are in the control group of {ends_with} and end with it (expected in jobd-jobs.service:"
            f" `jobd install` puts that in place; then restart {ends_with})",
        )
    if found.get("escapes"):
        yield "-", f"what can escape that: {found['escapes']}"
    if not found.get("memory_limit"):
        yield "-", "memory limits are not enforced here: there is no cgroup with a memory controller to use"


def _files(host: Host) -> Iterator[Finding]:
    """The places on this side."""
    directory = os.path.dirname(host.socket)
    if os.path.isdir(directory) and not host.system and os.stat(directory).st_mode & 0o022:
        yield "!", f"{directory}, where the socket is, can be written by others (chmod go-w)"
    if host.state is None:
        return
    if os.path.isdir(host.state):
        if not os.access(host.state, os.W_OK | os.X_OK):
            yield "!", f"the state directory {host.state} cannot be written"
        free = os.statvfs(host.state)
        if free.f_bavail * free.f_frsize < 100 * 1024 * 1024:
            yield "!", f"less than 100 MB are free for {host.state}: submissions will be refused soon"
    if os.path.exists(places.SYSTEM_CONFIG) or os.path.isdir(os.path.dirname(places.SYSTEM_SOCKET)):
        yield "-", "this machine has a system's daemon too, which is not the one that this command talks to"


def _logout(host: Host) -> Iterator[Finding]:
    """Does one's own daemon, with its jobs, live on after logout? That is logind's to say."""
    if host.state is None or not os.path.isdir("/run/systemd/system"):
        return
    lingers = _lingers()
    if _logind_kills():
        yield "!", "KillUserProcesses=yes in logind.conf: your logout will kill your jobd and its jobs"
    elif not lingers:
        yield (
            "-",
            "without `loginctl enable-linger` /run/user is removed at logout (jobd makes its socket again)",
        )


def _lingers() -> bool:
    command = ["loginctl", "show-user", str(os.getuid()), "--property", "Linger", "--value"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return said.stdout.strip() == "yes"


def _logind_kills() -> bool:
    """The configuration files' last word on KillUserProcesses."""
    directory = "/etc/systemd/logind.conf.d"
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    kills = _says("/etc/systemd/logind.conf", False)
    for name in names:
        if name.endswith(".conf"):
            kills = _says(f"{directory}/{name}", kills)
    return kills


def _says(path: str, before: bool) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file]
    except OSError:
        return before
    words = [
        line.partition("=")[2].strip().lower() for line in lines if line.startswith("KillUserProcesses=")
    ]
    return words[-1] in ("yes", "true", "1", "on") if words else before
