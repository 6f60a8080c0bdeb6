"""Which daemon to talk to, and how a person's own one is started.

In this order: the host that is named (-H, JOBD_HOST); the system's daemon where one is installed; one's own.
A system's daemon that is down is never replaced by one's own: its jobs would be in two stores. Whoever sets
one of jobd's own variables (JOBD_CONFIG, JOBD_STATE_DIR, JOBD_SOCKET) means a daemon of their own.

One's own daemon is looked for at its socket and, since the environment that says where that is differs
between a login, cron and sudo, also where the lock in its state directory says that it listens. Only one
daemon gets that lock, so that two jobctl which start one at the same moment do no harm: the second one's
gives up, and both find the first one's.

From inside a job none is started: it would be in the job's control group, and end with it, whatever it had
accepted by then.
"""

from __future__ import annotations

import os
import sys
import time

from jobd import places
from jobd.client.wire import Away, dial
from jobd.errors import Invalid, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    import subprocess
    from collections.abc import Callable, Iterator, Mapping

    from jobd.client.ssh import Ssh

DIAL_PATIENCE = 5.0
"""Seconds that a connection waits in a daemon's full queue."""
START_LIMIT = 15.0
"""Seconds that a daemon is given to answer after it was started."""
LOG_TAIL = 4096
PLACES = frozenset({"JOBD_CONFIG", "JOBD_STATE_DIR", "JOBD_SOCKET"})
"""Variables that say which daemon is meant."""

_started: list[subprocess.Popen[bytes]] = []
"""Daemons that this process has started, kept so that they are not taken for forgotten children."""


class Host:
    """A daemon: where it listens and, if it is one's own, where its state is; or how ssh gets there."""

    def __init__(
        self, socket: str, *, system: bool = False, state: str | None = None, ssh: Ssh | None = None
    ) -> None:
        self.socket = socket
        """Empty by ssh."""
        self.system = system
        self.state = state
        self.ssh = ssh

    def __str__(self) -> str:
        return str(self.ssh) if self.ssh else f"unix://{self.socket}"

    @property
    def kind(self) -> str:
        return "own" if self.state else "system" if self.system else "by ssh" if self.ssh else "named"

    def dial(self, start: bool, limit: float) -> socket.socket:
        """A connection. Raises Away, PermissionError. By ssh: within `limit` seconds, and with one's own
        daemon there started if `start`."""
        if self.ssh:
            return self.ssh.dial(start, limit)
        failure = Away("no socket")
        for path in self.sockets():
            try:
                return dial(path, DIAL_PATIENCE)
            except Away as error:
                failure = error
        raise failure

    def sockets(self) -> Iterator[str]:
        """Where it may be listening."""
        yield self.socket
        other = self._lock().get("socket")
        if isinstance(other, str) and other != self.socket:
            yield other

    def alive(self) -> bool:
        """Does the process that holds our own daemon's lock live? Always said of others': there, nobody can
        tell."""
        if self.state is None:
            return True
        pid = self._lock().get("pid")
        return isinstance(pid, int) and os.path.exists(f"/proc/{pid}")

    def _lock(self) -> dict[str, object]:
        if self.state is None:
            return {}
        import json

        try:
            with open(f"{self.state}/lock", encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def find(named: str | None = None, *, own: bool = False, environ: Mapping[str, str] = os.environ) -> Host:
    """The daemon to talk to. `own`: one's own, whatever else there is. Raises Invalid for a host of no known
    form."""
    named = named or ("" if own else environ.get("JOBD_HOST"))
    if named and named.startswith("ssh://"):
        from jobd.client.ssh import Ssh

        return Host("", ssh=Ssh(named))
    if named:
        return Host(_socket(named))
    if not own and not PLACES & environ.keys() and system_installed():
        return Host(places.socket_path({}, system=True), system=True)
    state = places.state_dir(environ)
    return Host(places.socket_path(environ, state=state), state=state)


def system_installed() -> bool:
    return os.path.exists(places.SYSTEM_CONFIG) or os.path.isdir(os.path.dirname(places.SYSTEM_SOCKET))


def _socket(named: str) -> str:
    path = named.removeprefix("unix://")
    if not path.startswith("/"):
        raise Invalid(
            f"{named}: this is not a host (expected ssh://user@host, unix:///path/of/jobd.sock, or a path"
            " that starts with /)"
        )
    return path


def may_start(host: Host, environ: Mapping[str, str] = os.environ) -> bool:
    if environ.get("JOBD_AUTOSTART", "1") == "0":
        return False
    return host.ssh is not None or (host.state is not None and not inside_job(environ))


def inside_job(environ: Mapping[str, str] = os.environ) -> bool:
    return "JOBD_TAG" in environ or "JOBD_JOB_ID" in environ


def start(host: Host, answers: Callable[[], bool], limit: float = START_LIMIT) -> None:
    """Start one's own daemon and wait until it answers. Raises Unavailable with the end of its log when it
    does not."""
    assert host.state is not None
    log = f"{host.state}/jobd.log"
    os.makedirs(host.state, mode=0o700, exist_ok=True)
    written = os.path.getsize(log) if os.path.exists(log) else 0
    process = _spawn(log)
    deadline = time.monotonic() + limit
    pause = 0.005
    while not answers():
        # A daemon that ended was refused, or came second: then the first one is about to answer.
        if time.monotonic() > deadline or (process.poll() is not None and not host.alive()):
            raise Unavailable(_no_start(process.poll(), log, written))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def _spawn(log: str) -> subprocess.Popen[bytes]:
    """The daemon in a session of its own, with nothing of ours open; what it says before it has a log is in
    the log as well."""
    import subprocess

    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    errors = os.open(log, flags, 0o600)
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "jobd.daemon", "--log-file", log],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd="/",
            start_new_session=True,
            env=_environment(),
        )
    finally:
        os.close(errors)
    _started.append(process)
    return process


def _environment() -> dict[str, str]:
    """Ours, without what a job was told of itself: whatever has a job's tag is ended with the job. With this
    very jobd importable: it may be a checkout that is on nobody's path."""
    kept = PLACES | {"JOBD_HOST"}
    environment = {n: value for n, value in os.environ.items() if not n.startswith("JOBD_") or n in kept}
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    present = environment.get("PYTHONPATH", "").split(":")
    if os.path.basename(root) not in ("site-packages", "dist-packages") and root not in present:
        environment["PYTHONPATH"] = ":".join(filter(None, [root, *present]))
    return environment


def _no_start(code: int | None, log: str, written: int) -> str:
    how = "did not answer in time" if code is None else f"ended with exit code {code}"
    try:
        with open(log, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(written, size - LOG_TAIL))
            said = file.read().decode("utf-8", "backslashreplace").strip()
    except OSError:
        said = ""
    return f"a jobd was started, and {how}; its log, {log}, " + (f"ends:\n{said}" if said else "says nothing")
