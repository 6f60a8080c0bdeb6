"""A daemon by ssh: a real sshd on loopback, the real ssh, and what goes wrong between them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobd.client import Client, Unreachable, hosts
from jobd.client.ssh import OPTIONS, Ssh
from jobd.errors import Forbidden, Invalid
from tests import processes
from tests.daemon import RunningDaemon, until
from tests.sshd import JOBCTL, Sshd

# ---- addresses and command lines


@pytest.mark.parametrize(
    ("address", "user", "host", "port", "path"),
    [
        ("ssh://lab", None, "lab", None, ""),
        ("ssh://ada@lab.example.org", "ada", "lab.example.org", None, ""),
        ("ssh://ada@lab:2222/run/jobd/jobd.sock", "ada", "lab", 2222, "/run/jobd/jobd.sock"),
        ("ssh://[::1]:22", None, "::1", 22, ""),
        ("ssh://node_7/a b", None, "node_7", None, "/a b"),
    ],
)
def test_addresses(address: str, user: str | None, host: str, port: int | None, path: str) -> None:
    found = Ssh(address)
    assert (found.user, found.host, found.port, found.socket) == (user, host, port, path)
    assert str(found) == address


@pytest.mark.parametrize(
    "address",
    [
        "ssh://",
        "ssh://-oProxyCommand=touch${IFS}evil",
        "ssh://-oProxyCommand=x@lab",
        "ssh://ada@-oProxyCommand=x",
        "ssh://-ada@lab",
        "ssh://ada@lab@other",
        "ssh://[-F/etc/passwd]",
        "ssh://lab:0",
        "ssh://lab:65536",
        "ssh://lab:-p",
        "ssh://lab;touch evil",
        "ssh://lab evil",
        "ssh://$(touch evil)",
        "ssh://`evil`@lab",
        "ssh://lab:22evil",
        "ssh://lab/run/a\nb",
        "ssh://lab\n",
        "ssh://\u00e9lab",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(Invalid, match="this is not a host"):
        hosts.find(address, environ={})


def test_ssh_gets_a_list_of_arguments_and_no_options_of_the_addresss() -> None:
    command = Ssh("ssh://ada@lab:2222").command(start=True, ask=False)
    there = "jobctl dial-stdio --greet --start"
    batch = ["-o", "BatchMode=yes"]
    assert command == ["ssh", *OPTIONS, *batch, "-p", "2222", "-l", "ada", "--", "lab", there]
    plain = Ssh("ssh://lab").command(start=False, ask=True)
    assert plain == ["ssh", *OPTIONS, "--", "lab", "jobctl dial-stdio --greet"]


@pytest.mark.parametrize("path", ["/run/a b", "/run/it's", "/run/$(touch evil)", "/run/`x`;y&z|'\"\\"])
def test_the_shell_there_sees_a_socket_as_one_word(path: str) -> None:
    words = shlex.split(Ssh(f"ssh://lab{path}").command(start=False, ask=False)[-1])
    assert words == ["jobctl", "dial-stdio", "--greet", "-H", path]


def test_a_daemon_may_be_started_there_unless_that_is_turned_off() -> None:
    far = hosts.find("ssh://lab", environ={})
    assert hosts.may_start(far, {"JOBD_JOB_ID": "x"})  # the job is not there
    assert not hosts.may_start(far, {"JOBD_AUTOSTART": "0"})


# ---- a daemon and an sshd


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    import tempfile

    config = "systems:\n- id: local\n  backend: local\n  killGrace: 1s\n  queues:\n  - name: default\n"
    with tempfile.TemporaryDirectory(prefix="jobd-") as name, RunningDaemon(Path(name), config) as running:
        yield running


@pytest.fixture(scope="module")
def serving(daemon: RunningDaemon) -> Iterator[Sshd]:
    import tempfile

    names = ("JOBD_STATE_DIR", "JOBD_SOCKET", "JOBD_CONFIG", "PYTHONPATH", "HOME")
    there = {name: daemon.environment[name] for name in names}
    with tempfile.TemporaryDirectory(prefix="jobd-") as name, Sshd(Path(name), there) as sshd:
        yield sshd


@pytest.fixture
def sshd(serving: Sshd) -> Sshd:
    """With the list of calls empty."""
    serving.calls.unlink(missing_ok=True)
    return serving


@pytest.fixture
def far(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("PATH", sshd.here["PATH"])
    with Client(sshd.url, patience=30) as client:
        yield client


def jobctl(sshd: Sshd, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobd.cli", *arguments]
    options = {"env": sshd.here, "cwd": sshd.directory, "timeout": 90, **options}
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def started(sshd: Sshd, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    command = [sys.executable, "-m", "jobd.cli", *arguments]
    return subprocess.Popen(command, env=sshd.here, cwd=sshd.directory, text=True, **options)


def test_run_from_afar_is_like_running_it_there(sshd: Sshd) -> None:
    done = jobctl(sshd, "run", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert len(sshd.called()) <= 3  # two logs, and the waiting


def test_a_connection_is_kept(far: Client, sshd: Sshd) -> None:
    assert far.me()["username"] == sshd.user
    job = far.submit(["sh", "-c", "echo hello; exit 3"])
    assert far.wait(job["id"], timeout=60)["exitCode"] == 3
    assert b"".join(far.logs(job["id"])) == b"hello\n"
    assert [event["status"] for event in far.history(job["id"])][-1] == "FAILED"
    assert len(sshd.called()) == 1


def test_nothing_of_this_machine_goes_along_unless_asked(far: Client, sshd: Sshd) -> None:
    words = 'pwd; echo "<$MINE$ALSO>"'
    environ = {**sshd.here, "MINE": "1", "ALSO": "2"}
    at_home = jobctl(sshd, "run", "--", "sh", "-c", words, env=environ)
    assert at_home.stdout.splitlines()[1] == "<>"
    assert "/job-" in at_home.stdout.splitlines()[0]
    asked = jobctl(sshd, "run", "-d", "/", "-e", "ALSO", "--", "sh", "-c", words, env=environ)
    assert asked.stdout == "/\n<2>\n"
    job = far.run(["pwd"], timeout=60)
    assert b"/job-" in b"".join(far.logs(job["id"]))
    job = far.run(["pwd"], timeout=60, directory="/", environment={"A": "1"})
    assert b"".join(far.logs(job["id"])) == b"/\n"
    file = sshd.directory / "job.yaml"
    file.write_text("name: of-a-file\ncommand: [sh, -c, 'pwd; echo $MINE']\n")
    done = jobctl(sshd, "submit", "-w", "-q", "-f", str(file), env=environ)
    first, second = jobctl(sshd, "logs", done.stdout.strip()).stdout.split("\n")[:2]
    assert ("/job-" in first, second) == (True, "")


def test_the_other_verbs(sshd: Sshd, daemon: RunningDaemon) -> None:
    job_id = jobctl(sshd, "submit", "-q", "--name", "long", "--", "sleep", "1000").stdout.strip()
    assert jobctl(sshd, "wait", "--timeout", "0.1", job_id).returncode == 124
    assert jobctl(sshd, "kill", "last").stdout.split()[2:] == ["STOPPED"]
    assert jobctl(sshd, "wait", job_id).returncode == 128 + 15
    assert "STOPPED" in jobctl(sshd, "list", "-H", f"{sshd.url}{daemon.socket}").stdout
    assert "by ssh" in jobctl(sshd, "doctor").stdout
    assert jobctl(sshd, "show", "no-such-job").returncode == 66


def test_a_log_is_followed_over_a_lost_connection(sshd: Sshd, daemon: RunningDaemon) -> None:
    go = daemon.directory / "go"
    job = daemon.submit("sh", "-c", f"echo one; until [ -e {go} ]; do sleep 0.05; done; echo two")
    watching = started(sshd, "logs", "-f", job["id"])
    assert watching.stdout
    assert watching.stdout.readline() == "one\n"
    pid = int(sshd.called()[-1].split()[0])
    os.kill(pid, signal.SIGTERM)
    until(lambda: len(sshd.called()) > 1, what="it connects again")
    go.touch()
    rest, told = watching.communicate(timeout=60)
    assert (watching.returncode, rest, told) == (0, "two\n", "")


def test_a_daemon_that_is_restarted_is_waited_for(far: Client, daemon: RunningDaemon) -> None:
    job = far.submit(["sh", "-c", "sleep 1; exit 4"])
    restart = threading.Thread(target=daemon.restart)
    restart.start()
    assert far.wait(job["id"], timeout=60)["exitCode"] == 4
    restart.join()


def test_nothing_stays_behind(far: Client, sshd: Sshd, daemon: RunningDaemon) -> None:
    job = daemon.submit("sh", "-c", "echo one; exec sleep 1000")
    near = daemon.client()
    before = near.doctor()["connections"]
    log = far.logs(job["id"], follow=True)
    assert next(log) == b"one\n"
    far.me()
    pids = [int(call.split()[0]) for call in sshd.called()]
    assert (len(pids), near.doctor()["connections"]) == (2, before + 2)
    log.close()
    far.close()
    until(lambda: all(map(_ended, pids)), what="ssh ends")
    until(lambda: near.doctor()["connections"] == before, what="the connections there end")
    near.kill(job["id"])


def _ended(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return processes.gone(pid)


# ---- what goes wrong


def failing(sshd: Sshd, *arguments: str, **environment: str) -> str:
    """What is said of a daemon that cannot be reached."""
    done = jobctl(sshd, "list", *arguments, env={**sshd.here, **environment})
    assert (done.returncode, done.stdout) == (75, "")
    assert "Traceback" not in done.stderr
    assert len(sshd.called()) <= 1, "one log-in is enough"
    return done.stderr


def test_nobody_listens(sshd: Sshd) -> None:
    assert "Connection refused" in failing(sshd, "-H", "ssh://127.0.0.1:1")


def test_a_key_that_is_not_known_there(sshd: Sshd) -> None:
    config = sshd.directory / "ssh_config"
    text = config.read_text()
    try:
        config.write_text(text.replace("/mine", "/strange"))
        assert "Permission denied (publickey)" in failing(sshd)
    finally:
        config.write_text(text)


def test_a_host_that_is_not_known_here(sshd: Sshd) -> None:
    known = sshd.directory / "known_hosts"
    text = known.read_text()
    try:
        known.write_text("")
        assert "Host key verification failed" in failing(sshd)
    finally:
        known.write_text(text)


def test_no_ssh_here(sshd: Sshd) -> None:
    assert "ssh is not installed here" in failing(sshd, PATH="/nonexistent")


def test_no_daemon_there(sshd: Sshd) -> None:
    said = failing(sshd, "-H", f"{sshd.url}{sshd.directory}/none.sock")
    assert f"the jobd at unix://{sshd.directory}/none.sock does not answer: no such file or directory" in said


def test_failures_for_programs(sshd: Sshd) -> None:
    done = jobctl(sshd, "list", "--json", "-H", "ssh://127.0.0.1:1")
    told = json.loads(done.stderr)["error"]
    assert (told["kind"], told["exit"], done.returncode) == ("Unreachable", 75, 75)
    assert jobctl(sshd, "run", "-H", "ssh://127.0.0.1:1", "--", "true").returncode == 125


@pytest.fixture
def jobctl_there(sshd: Sshd) -> Iterator[Sshd]:
    """To put something else in its place."""
    yield sshd
    sshd.jobctl_there(JOBCTL)


def test_no_jobctl_there(jobctl_there: Sshd) -> None:
    (jobctl_there.directory / "there/jobctl").rename(jobctl_there.directory / "there/gone")
    assert "jobctl has to be in the PATH that `ssh HOST env` shows" in failing(jobctl_there)


def test_a_login_shell_that_has_much_to_say(jobctl_there: Sshd) -> None:
    jobctl_there.jobctl_there(f"echo Welcome to the lab!\n{JOBCTL}")
    done = jobctl(jobctl_there, "run", "--", "echo", "hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


def test_what_answers_is_no_jobctl(jobctl_there: Sshd) -> None:
    jobctl_there.jobctl_there("echo not today >&2; exit 3")
    assert failing(jobctl_there).endswith("cannot be reached: not today\n")
    jobctl_there.calls.unlink()
    jobctl_there.jobctl_there("kill -9 $$")
    assert "ssh ended with exit code" in failing(jobctl_there)
    jobctl_there.calls.unlink()
    jobctl_there.jobctl_there("exec yes noise")
    assert "cannot be reached" in failing(jobctl_there)


def test_a_host_that_hangs_is_not_waited_for_long(jobctl_there: Sshd, far: Client) -> None:
    jobctl_there.jobctl_there("exec sleep 1000")
    far.timeout = 1
    with pytest.raises(Unreachable, match="did not get through in time"):
        far.me()
    (call,) = jobctl_there.called()
    until(lambda: _ended(int(call.split()[0])), what="ssh ends")


def test_one_who_may_not_connect_there(jobctl_there: Sshd, far: Client) -> None:
    jobctl_there.jobctl_there("echo 'jobctl: you may not connect to it' >&2; exit 77")
    with pytest.raises(Forbidden, match="you may not connect to it"):
        far.me()


def test_a_client_that_had_a_daemon_tries_again_but_not_in_haste(jobctl_there: Sshd, far: Client) -> None:
    assert far.me()
    jobctl_there.jobctl_there("echo away >&2; exit 75")
    far.close()
    far.patience = 2.5
    began = time.monotonic()
    with pytest.raises(Unreachable, match="cannot be reached: away"):
        far.me()
    assert time.monotonic() - began >= 1
    assert 3 <= len(jobctl_there.called()) <= 4


# ---- on a terminal


def test_on_a_terminal_ssh_may_ask_and_ctrl_c_kills_the_job(sshd: Sshd, daemon: RunningDaemon) -> None:
    pid, master = pty.fork()
    if pid == 0:
        words = [sys.executable, "-m", "jobd.cli", "run", "--name", "typed", "--", "sleep", "1000"]
        os.execve(sys.executable, words, sshd.here)
    shown = b""

    def read() -> None:
        nonlocal shown
        with contextlib.suppress(OSError):
            while piece := os.read(master, 4096):
                shown += piece

    threading.Thread(target=read, daemon=True).start()
    running = {"name": "typed", "status": "RUNNING"}
    job = until(lambda: next(daemon.client().list(running), None), what="it runs")
    until(lambda: len(sshd.called()) == 3, what="all connections are made")
    assert not any("BatchMode" in call for call in sshd.called())
    os.write(master, b"\x03")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130, shown
    assert daemon.client().show(job["id"])["status"] == "STOPPED"
    os.close(master)


# ---- dial-stdio by itself


def dial(environment: dict[str, str], *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "jobd.cli", "dial-stdio", *arguments]
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    return subprocess.Popen(command, env=environment, **{**pipes, **options})


ASKED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_it_ends_with_the_connection(daemon: RunningDaemon) -> None:
    process = dial(daemon.environment)
    assert process.stdin
    assert process.stdout
    process.stdin.write(ASKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    process.stdin.flush()
    assert process.stdout.read().startswith(b"HTTP/1.1 200 OK\r\n")
    assert process.wait(20) == 0  # its standard input is open still
    process.communicate()


def test_it_ends_with_its_standard_input(daemon: RunningDaemon) -> None:
    process = dial(daemon.environment, "--greet")
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == b"jobd: connected\n"
    process.stdin.write(ASKED)
    process.stdin.flush()
    assert process.stdout.readline() == b"HTTP/1.1 200 OK\r\n"
    _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (0, b"")


def test_it_passes_much_in_both_directions(daemon: RunningDaemon) -> None:
    """More than any buffer on the way holds."""
    process = dial(daemon.environment)
    body = json.dumps({"name": "x", "command": ["true"], "environment": {"BIG": "x" * 3_000_000}}).encode()
    head = b"POST /jobs/v2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert process.stdin
    assert process.stdout
    process.stdin.write(head + body)
    process.stdin.flush()
    reply = process.stdout.read()
    assert reply.startswith(b"HTTP/1.1 201 "), reply[:500]
    process.communicate(timeout=20)


def test_it_never_goes_on_by_ssh(daemon: RunningDaemon) -> None:
    """A home that many machines share may name one of them in its shell's start-up file: that one too."""
    environment = {**daemon.environment, "JOBD_HOST": "ssh://this.machine.invalid", "PATH": "/nonexistent"}
    process = dial(environment, "--greet")
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"jobd: connected\n")
    refused = dial(daemon.environment, "-H", "ssh://lab")
    _, told = refused.communicate(timeout=60)
    assert (refused.returncode, b"a daemon of this machine" in told) == (2, True)


# ---- one's own daemon there


def test_one_is_started_there_by_verbs_that_would_start_one_here(short_dir: Path) -> None:
    home = short_dir / "home"
    home.mkdir()
    state = home / ".local/state/jobd"
    runtime = str(home / "run")
    there = {"HOME": str(home), "XDG_RUNTIME_DIR": runtime, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with Sshd(short_dir, there) as sshd:
        try:
            assert "no jobd of yours is running" in failing(sshd)
            assert not state.exists()
            off = {**sshd.here, "JOBD_AUTOSTART": "0"}
            assert jobctl(sshd, "run", "--", "true", env=off).returncode == 125
            assert not state.exists()
            done = jobctl(sshd, "run", "--", "sh", "-c", "echo hello; exit 3")
            assert (done.returncode, done.stdout, done.stderr) == (3, "hello\n", "")
            assert jobctl(sshd, "status").stdout == "FAILED\n"
        finally:
            _end_daemon(state)


def _end_daemon(state: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        pid = int(json.loads((state / "lock").read_text())["pid"])
        os.kill(pid, signal.SIGTERM)
        until(lambda: processes.gone(pid), what="the daemon ends")


# ---- a socket that ssh forwards


def test_a_forwarded_socket(sshd: Sshd, daemon: RunningDaemon) -> None:
    here = sshd.directory / "lab.sock"
    forwarding = sshd.forwarding(here, daemon.socket)
    try:
        assert here.stat().st_mode & 0o777 == 0o600
        with Client(f"unix://{here}") as client:
            assert client.me()["username"] == sshd.user
        done = jobctl(sshd, "-H", str(here), "run", "--", "sh", "-c", "echo out; exit 9")
        assert (done.returncode, done.stdout) == (9, "out\n")
    finally:
        forwarding.terminate()
        forwarding.wait(20)
