"""A daemon in hard times: told to end, full disks, a runtime directory that logout took, clocks, clients that
only take up room, and everything that it has to refuse to start with."""

from __future__ import annotations

import glob
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from jobd.errors import Unavailable
from tests import processes
from tests.daemon import RunningDaemon, until
from tests.receivers import fails_at_first, receiver

Job = dict[str, Any]


def gated(daemon: RunningDaemon, code: int = 7, **request: Any) -> tuple[Job, Path]:
    """A job that runs, and ends with that code when the file is there."""
    gate = daemon.directory / "gate"
    script = f"while [ ! -e {gate} ]; do sleep 0.02; done; exit {code}"
    job = daemon.submit("sh", "-c", script, **request)
    return daemon.in_status(job["id"], "RUNNING"), gate


# SIGTERM


def test_T8_sigterm_ends_the_daemon_and_not_the_jobs(daemon: RunningDaemon) -> None:
    """Whoever is waiting, following, sending, not reading, or merely connected."""
    written = daemon.run("head", "-c", "9000000", "/dev/zero")
    job, gate = gated(daemon)
    keeper = processes.keeper(daemon)
    supervisor = processes.record(daemon, job)["supervisor"]
    with ExitStack() as stack:
        for request in (
            f"GET /jobs/v2/{job['id']}/wait?timeout=60 HTTP/1.1\r\nHost: x\r\n\r\n",
            f"GET /jobs/v2/{job['id']}/logs/stdout?follow=true HTTP/1.1\r\nHost: x\r\n\r\n",
            f"GET /jobs/v2/{written['id']}/logs/stdout HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST /jobs/v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
            "",
        ):
            stack.enter_context(connected(daemon, request))
        assert seconds_to_end(daemon) < 4
    until(lambda: processes.gone(keeper), what="the keeper ends with it")
    assert not processes.gone(supervisor)
    gate.touch()
    until(lambda: processes.gone(supervisor), what="its supervisor has ended")
    daemon.start()
    assert daemon.ended(job["id"])["exitCode"] == 7


def test_T8_sigterm_waits_for_no_keeper_that_hangs(daemon: RunningDaemon) -> None:
    os.kill(processes.keeper(daemon), signal.SIGSTOP)
    job = daemon.submit("sh", "-c", "exit 4")
    daemon.in_status(job["id"], "SUBMITTING")
    assert seconds_to_end(daemon) < 4
    daemon.start()
    assert daemon.ended(job["id"])["exitCode"] == 4


def seconds_to_end(daemon: RunningDaemon) -> float:
    """By SIGTERM. The promise is less than 2; twice that for a machine that has other things to do."""
    began = time.monotonic()
    assert daemon.stop() == 0
    return time.monotonic() - began


def connected(daemon: RunningDaemon, says: str = "") -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(str(daemon.socket))
    connection.sendall(says.encode())
    return connection


# full disks


class SmallDisk(RunningDaemon):
    """A daemon that sees a little tmpfs where `place` is; nobody else does, but by way of its /proc entry."""

    def __init__(self, directory: Path, place: Path, size: str, config: str) -> None:
        super().__init__(directory, config)
        self.place = place
        self.size = size
        self.ballast: list[Path] = []
        place.mkdir(exist_ok=True)

    def spawn(self) -> subprocess.Popen[bytes]:
        script = 'mount -t tmpfs -o size="$1" none "$2" && exec "$3" -m jobd.daemon'
        command = ["unshare", "-m", "sh", "-c", script, "sh", self.size, str(self.place), sys.executable]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def inside(self, path: Path) -> Path:
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/root{path}")

    def fill(self) -> None:
        with suppress(OSError), self.inside(self.place / "ballast").open("ab", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass

    def empty(self) -> None:
        self.inside(self.place / "ballast").unlink()


needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="mounting a small disk needs root"
)


@needs_root
def test_T10_a_full_disk_refuses_submits_and_loses_nothing(short_dir: Path) -> None:
    config = f"sweep: 1\nsystems: [{{id: local, workDir: {short_dir}/work}}]\n"
    with SmallDisk(short_dir, short_dir / "state", "4m", config) as daemon:
        job, gate = gated(daemon)
        daemon.fill()
        kept, refusal = submitted_until_refused(daemon)
        assert "full" in refusal, refusal
        assert (
            daemon.curl(
                "-w", "%{http_code}", "-d", "name=a", "-d", "command=true", "http://jobd/jobs/v2"
            ).stdout[-3:]
            == "503"
        )
        gate.touch()
        until(lambda: processes.of_job(job["id"]) == [], what="it has ended")
        assert daemon.client().show(job["id"])["id"] == job["id"]
        found = daemon.jobctl("doctor")
        assert (found.returncode, "! the store cannot be used now: database" in found.stdout) == (1, True)
        daemon.empty()
        assert daemon.ended(job["id"])["exitCode"] == 7
        for job_id in kept:
            assert daemon.ended(job_id, 60)["status"] == "FINISHED"
        assert daemon.run("true")["status"] == "FINISHED"
        assert daemon.client().doctor()["store"] == ""


@needs_root
def test_T10_who_waits_for_a_full_disk_is_told_once(short_dir: Path) -> None:
    config = f"sweep: 1\nsystems: [{{id: local, workDir: {short_dir}/work}}]\n"
    said = short_dir / "said"
    with SmallDisk(short_dir, short_dir / "state", "4m", config) as daemon, said.open("w") as stderr:
        daemon.fill()
        submitted_until_refused(daemon)
        command = [sys.executable, "-m", "jobd.cli", "run", "--clean-env", "--", "true"]
        waiting = subprocess.Popen(command, env=daemon.environment, cwd=short_dir, stderr=stderr)
        until(said.read_text, what="it says so")
        daemon.empty()
        assert waiting.wait(60) == 0
    words = "jobctl: the store cannot be used now: .*; trying again for up to [0-9]+ s\n"
    assert re.fullmatch(words, said.read_text())


def submitted_until_refused(daemon: RunningDaemon) -> tuple[list[str], str]:
    client = daemon.client(patience=0)
    kept: list[str] = []
    try:
        while len(kept) < 500:
            environment = {"PATH": "/bin", "PADDING": os.urandom(4000).hex()}
            kept.append(client.submit(["true"], name="t", environment=environment)["id"])
    except Unavailable as error:
        return kept, str(error)
    raise AssertionError("never refused")


@needs_root
def test_a_log_that_fills_its_disk_is_the_jobs_own_trouble(short_dir: Path) -> None:
    work = short_dir / "work"
    config = f"systems: [{{id: local, workDir: {work}, minFree: -1}}]\n"
    with SmallDisk(short_dir, work, "1m", config) as daemon:
        full = daemon.run("sh", "-c", "head -c 10000000 /dev/zero || exit 9")
        assert (full["status"], full["exitCode"]) == ("FAILED", 9)
        size = sum(len(piece) for piece in daemon.client().logs(full["id"]))
        assert 500_000 < size < 1 << 20
        next_one = daemon.run("sh", "-c", "exit 4")
        assert next_one["status"] == "FAILED"
        daemon.client().delete(full["id"])
        shutil.rmtree(daemon.inside(Path(full["outputPath"])))
        assert daemon.run("sh", "-c", "exit 4")["exitCode"] == 4


@needs_root
def test_no_job_starts_where_there_is_no_room_for_it(short_dir: Path) -> None:
    work = short_dir / "work"
    config = f"sweep: 1\nsystems: [{{id: local, workDir: {work}, minFree: 512KB}}]\n"
    with SmallDisk(short_dir, work, "1m", config) as daemon:
        assert daemon.run("true")["status"] == "FINISHED"
        daemon.fill()
        job = daemon.submit("true")
        until(lambda: "Waits for room" in daemon.client().show(job["id"])["reason"])
        assert daemon.client().show(job["id"])["status"] == "PENDING"
        daemon.empty()
        assert daemon.ended(job["id"])["status"] == "FINISHED"


# the runtime directory


def test_a_socket_that_logout_took_is_made_again(short_dir: Path) -> None:
    running = RunningDaemon(short_dir, JOBD_SOCKET=str(short_dir / "run/jobd/jobd.sock"))
    running.socket = short_dir / "run/jobd/jobd.sock"
    with running as daemon:
        job, gate = gated(daemon)
        shutil.rmtree(short_dir / "run")
        until(daemon.socket.exists, 20, "the socket is there again")
        gate.touch()
        assert daemon.ended(job["id"])["exitCode"] == 7
        assert daemon.stop() == 0
        daemon.start()


@needs_root
def test_T10_a_hand_over_that_a_full_disk_interrupted_goes_on(short_dir: Path) -> None:
    config = f"sweep: 1\nkillWait: 1\nsystems: [{{id: local, workDir: {short_dir}/work}}]\n"
    with SmallDisk(short_dir, short_dir / "state", "4m", config) as daemon:
        keeper = processes.keeper(daemon)
        os.kill(keeper, signal.SIGSTOP)
        job = daemon.submit("sh", "-c", "exit 4")
        daemon.in_status(job["id"], "SUBMITTING")
        daemon.fill()
        os.kill(keeper, signal.SIGCONT)
        until(lambda: "handing over" in daemon.logged(), what="the hand-over fails")
        daemon.empty()
        assert daemon.ended(job["id"], 10)["exitCode"] == 4


def test_a_state_directory_that_is_removed_ends_the_daemon(short_dir: Path) -> None:
    """Going on would be a promise that nothing keeps: what is written then is gone with the last
    descriptor."""
    daemon = RunningDaemon(short_dir)
    daemon.start()
    assert daemon.process is not None
    shutil.rmtree(daemon.state)
    assert daemon.process.wait(timeout=20) == 78
    assert "was removed or replaced" in daemon.logged()


# the clock

FAKETIME = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)


def false_clock(file: Path) -> dict[str, str]:
    """The daemon's, the keeper's and the supervisors' wall clock; the monotonic one goes on."""
    file.write_text("+0")
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed")
def test_what_is_to_be_told_does_not_wait_for_a_clock_that_was_set_back(short_dir: Path) -> None:
    clock = short_dir / "clock"
    with RunningDaemon(short_dir, **false_clock(clock)) as daemon, receiver(fails_at_first) as hook:
        policy = {"retryStrategy": "DELAYED", "retryDelay": 10}
        daemon.run("true", notifications=[{"event": "FINISHED", "url": hook.url(), "policy": policy}])
        until(lambda: hook.taken)
        clock.write_text("-1h")
        until(lambda: len(hook.taken) == 2, 40)


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed")
def test_a_clock_set_back_an_hour_changes_no_job(short_dir: Path) -> None:
    clock = short_dir / "clock"
    config = "sweep: 1\nsystems: [{id: local, slots: {processors: 8}}]\n"
    with RunningDaemon(short_dir, config, **false_clock(clock)) as daemon:
        del daemon.environment["LD_PRELOAD"]  # jobctl and curl have the true one
        before, gate = gated(daemon)
        limited = daemon.submit("sleep", "600", maxRunTime="00:00:03")
        clock.write_text("-1h")
        began = time.monotonic()
        after = daemon.run("sh", "-c", "exit 5")
        assert (after["exitCode"], after["created"] < before["created"]) == (5, True)
        assert daemon.ended(limited["id"])["condition"] == "TIME_LIMIT"
        assert time.monotonic() - began > 2
        gate.touch()
        ended = daemon.ended(before["id"])
        assert (ended["exitCode"], ended["condition"]) == (7, "EXIT_CODE")
        assert 0 < ended["usage"]["wall"] < 60
        assert daemon.client().kill(daemon.submit("sleep", "600")["id"])["status"] == "STOPPED"
        until(lambda: "clock was set by -3600" in daemon.logged(), what="it was noticed")


# clients that only take up room


def test_300_idle_connections_keep_nobody_out(daemon: RunningDaemon) -> None:
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(connected(daemon))
        assert daemon.run("sh", "-c", "exit 3")["exitCode"] == 3
        assert daemon.jobctl("run", "--", "sh", "-c", "exit 4").returncode == 4


HEAD = "POST /jobs/v2 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("begins", "drips", "told"),
    [
        ("", "", b""),
        ("GET /jobs/v2 HTTP/1.1\r\nX-Slow: ", "z", b""),
        (HEAD + "Content-Length: 1000\r\n\r\n", " ", b"408"),
        (HEAD + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n", b"408"),
    ],
    ids=["nothing", "header", "body", "chunks"],
)
def test_a_client_that_drips_is_cut(short_dir: Path, begins: str, drips: str, told: bytes) -> None:
    config = "idleTimeout: 1\nbodyTimeout: 1\n"
    with RunningDaemon(short_dir, config) as daemon, connected(daemon, begins) as slow:
        said = bytearray()
        until(lambda: is_cut(slow, drips.encode(), said), 20, "it is cut off")
        assert told in said
        assert daemon.run("true")["status"] == "FINISHED"


def is_cut(connection: socket.socket, drop: bytes, said: bytearray) -> bool:
    """Has the connection been closed? If not, one more drop goes in. What is said to us goes into `said`."""
    connection.settimeout(0.05)
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(drop)
    try:
        piece = connection.recv(4096)
    except TimeoutError:
        return False
    except ConnectionResetError:
        piece = connection.recv(4096)  # what was said before it was closed
    said += piece
    return not piece


# what it refuses to start with


def refused(daemon: RunningDaemon, **environment: str) -> tuple[int, str]:
    """Exit code and words of one that is started with these variables."""
    found = subprocess.run(
        daemon.command(),
        env={**daemon.environment, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert found.stdout == ""
    return found.returncode, found.stderr


def one_line(words: str) -> str:
    (line,) = words.splitlines()
    assert line.startswith("jobd: ")
    return line


def test_T10_a_second_daemon_on_the_same_state_is_refused(daemon: RunningDaemon) -> None:
    assert daemon.process is not None
    code, words = refused(daemon, JOBD_SOCKET=str(daemon.directory / "other.sock"))
    assert code == 75
    assert str(daemon.state) in one_line(words)
    assert str(daemon.process.pid) in words
    assert daemon.run("true")["status"] == "FINISHED"


def test_T10_a_second_daemon_on_the_same_socket_is_refused(daemon: RunningDaemon) -> None:
    code, words = refused(daemon, JOBD_STATE_DIR=str(daemon.directory / "other"))
    assert code == 75
    assert str(daemon.socket) in one_line(words)
    assert daemon.run("true")["status"] == "FINISHED"


def test_T10_a_store_of_a_later_version_is_refused_and_left_as_it_is(short_dir: Path) -> None:
    with RunningDaemon(short_dir) as daemon:
        daemon.submit("true")
    store = daemon.state / "jobd.db"
    sql = sqlite3.connect(store)
    with sql:
        sql.execute("INSERT INTO schema_migration (name, applied) VALUES ('9999_later', '2099-01-01')")
    sql.close()
    before = store.read_bytes()
    code, words = refused(daemon)
    assert (code, "newer than this jobd" in one_line(words), "9999_later" in words) == (78, True, True)
    assert store.read_bytes() == before


@pytest.mark.parametrize(
    ("config", "place", "field"),
    [
        ("killWait: soon\n", "1:1", "killWait"),
        (
            "systems:\n  - id: a\n    queues:\n      - name: q\n        maxJobs: many\n",
            "5:9",
            "systems.0.queues.0.maxJobs",
        ),
        ("nonsense: 1\n", "1:1", "nonsense"),
        ("a: [1\n", "2:1", ""),
    ],
)
def test_a_faulty_configuration_is_refused_by_file_line_and_field(
    short_dir: Path, config: str, place: str, field: str
) -> None:
    daemon = RunningDaemon(short_dir, config)
    code, words = refused(daemon)
    assert code == 78
    assert f"{daemon.config}:{place}" in one_line(words)
    assert field in words
    assert not daemon.state.exists()


def test_a_path_too_long_for_a_socket_is_refused(short_dir: Path) -> None:
    code, words = refused(RunningDaemon(short_dir), JOBD_SOCKET=f"{short_dir}/{'x' * 100}.sock")
    assert (code, "107" in one_line(words)) == (78, True)


def test_a_place_that_can_never_be_used_is_refused(short_dir: Path) -> None:
    (short_dir / "file").touch()
    for variable in "JOBD_STATE_DIR", "JOBD_SOCKET":
        code, words = refused(RunningDaemon(short_dir), **{variable: f"{short_dir}/file/below"})
        assert (code, f"{short_dir}/file" in one_line(words)) == (78, True)


class ShortOf(RunningDaemon):
    """A daemon whose state would be on a disk that takes no more files."""

    def command(self) -> list[str]:
        script = 'mount -t tmpfs -o nr_inodes=1 none "$1" && exec "$2" -m jobd.daemon'
        return ["unshare", "-m", "sh", "-c", script, "sh", str(self.directory / "full"), sys.executable]


@needs_root
def test_T10_a_start_on_a_full_disk_is_worth_another_try(short_dir: Path) -> None:
    (short_dir / "full").mkdir()
    code, words = refused(ShortOf(short_dir, JOBD_STATE_DIR=str(short_dir / "full/state")))
    assert (code, "No space left" in one_line(words)) == (75, True)
