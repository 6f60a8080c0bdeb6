"""Whatever is killed, and whenever: a real daemon, real jobs, and afterwards every one is accounted for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import pytest

from jobd.keeper.procfs import start_ticks
from tests import processes
from tests.daemon import RunningDaemon, until
from tests.storm import Storm

Job = dict[str, Any]

PLENTY = """
containment: {containment}
systems:
  - id: local
    killGrace: 0.3
    slots: {{processors: 64}}
"""
"""So that many jobs are under way at once."""


def plenty(containment: str = "auto") -> str:
    return PLENTY.format(containment=containment)


@pytest.fixture
def seed() -> int:
    """Of all that is random in a test; JOBD_TEST_SEED sets it, and a failure shows what it was."""
    chosen = int(os.environ.get("JOBD_TEST_SEED") or int.from_bytes(os.urandom(4)))
    print(f"JOBD_TEST_SEED={chosen}")
    return chosen


@pytest.fixture
def daemon(short_dir: Path) -> Iterator[RunningDaemon]:
    with RunningDaemon(short_dir, plenty()) as running:
        yield running


class Gate:
    """A job that ends, with that code, when it may; and counts how often it has run."""

    def __init__(self, daemon: RunningDaemon, code: int = 7) -> None:
        self.daemon = daemon
        self.place = daemon.directory / "gate"
        self.mark = daemon.directory / "ran"
        script = f"echo x >> {self.mark}; while [ ! -e {self.place} ]; do sleep 0.02; done; exit {code}"
        self.command = ("sh", "-c", script)

    @property
    def ran(self) -> int:
        return len(self.mark.read_text().splitlines()) if self.mark.exists() else 0

    def submit(self, **request: Any) -> Job:
        """Returns when it runs."""
        job = self.daemon.submit(*self.command, **request)
        until(lambda: self.ran, what="it runs")
        return self.daemon.in_status(job["id"], "RUNNING")

    def open(self) -> None:
        self.place.touch()


# load and kill -9


def weather(daemon: RunningDaemon, random: Random, rounds: int) -> None:
    """The daemon or its keeper dies, at random moments."""
    for _ in range(rounds):
        Event().wait(random.random() * 0.7)
        if random.random() < 0.4:
            processes.kill9(processes.keeper(daemon))
        else:
            daemon.kill9()
            Event().wait(random.random() * 0.1)
            daemon.start()


@pytest.mark.slow
@pytest.mark.parametrize(("containment", "rounds"), [("auto", 8), ("subreaper", 4)])
def test_every_job_is_accounted_for_after_a_storm(
    short_dir: Path, seed: int, containment: str, rounds: int
) -> None:
    with RunningDaemon(short_dir, plenty(containment)) as daemon:
        with Storm(daemon, seed) as storm:
            weather(daemon, Random(seed), rounds)
        daemon.kill9()
        daemon.start()
        conditions = storm.account()
        assert all(conditions[kind] for kind in ("NORMAL", "EXIT_CODE", "KILLED")), conditions


@pytest.mark.slow
def test_T2_ended_anywhere_in_the_hand_over_each_job_runs_once(daemon: RunningDaemon, seed: int) -> None:
    """Some milliseconds after the reply the intent goes on disk, the order to the keeper, the job into its
    processes and the news of that into the store: the daemon is killed, or told to end, meanwhile."""
    random, client, codes = Random(seed), daemon.client(), {}
    marks = daemon.directory / "marks"
    marks.mkdir()
    script = f'echo x >> {marks}/"$JOBD_JOB_ID"; exit '
    for _ in range(10):
        code = random.randrange(256)
        request = {"name": "t", "command": ["sh", "-c", script + str(code)], "environment": {"PATH": "/bin"}}
        codes |= {job["id"]: code for job in client.submit_many([request] * 3)}
        Event().wait(random.random() * 0.03)
        random.choice([daemon.kill9, daemon.kill9, daemon.stop])()
        daemon.start()
    for job_id, code in codes.items():
        job = daemon.ended(job_id)
        ran = (marks / job_id).read_text().count("x")
        assert (job["exitCode"], job["status"], ran) == (code, "FAILED" if code else "FINISHED", 1), job


@pytest.fixture
def stopped() -> Iterator[list[int]]:
    """Processes to which to send SIGCONT in the end."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def ordered_but_not_taken(daemon: RunningDaemon, gate: Gate, stopped: list[int]) -> tuple[int, Job]:
    """A keeper that is stopped, with an order in its socket, and a daemon that has died."""
    keeper = processes.keeper(daemon)
    os.kill(keeper, signal.SIGSTOP)
    stopped.append(keeper)
    until(lambda: processes.state(keeper) == "T", what="the keeper is stopped")
    job = daemon.submit(*gate.command)
    daemon.in_status(job["id"], "SUBMITTING")
    until(lambda: daemon.client().show(job["id"])["tag"], what="it has a tag")
    Event().wait(0.1)  # the order follows the tag; a daemon that dies before is the random test's matter
    daemon.kill9()
    return keeper, job


def runs_once(daemon: RunningDaemon, gate: Gate, job: Job) -> Job:
    gate.open()
    ended = daemon.ended(job["id"])
    assert (ended["status"], ended["exitCode"], gate.ran) == ("FAILED", 7, 1)
    return ended


def test_T2_an_order_that_died_with_the_keeper_is_given_again(
    daemon: RunningDaemon, stopped: list[int]
) -> None:
    gate = Gate(daemon)
    keeper, job = ordered_but_not_taken(daemon, gate, stopped)
    processes.kill9(keeper)
    daemon.start()
    assert runs_once(daemon, gate, job)["attempt"] == 2


def test_T2_an_order_that_is_taken_while_there_is_no_daemon_is_adopted(
    daemon: RunningDaemon, stopped: list[int]
) -> None:
    gate = Gate(daemon)
    keeper, job = ordered_but_not_taken(daemon, gate, stopped)
    os.kill(keeper, signal.SIGCONT)
    until(lambda: gate.ran, what="it runs")
    daemon.start()
    assert runs_once(daemon, gate, job)["attempt"] == 1


def test_T2_an_order_that_may_still_be_taken_is_waited_for(daemon: RunningDaemon, stopped: list[int]) -> None:
    gate = Gate(daemon)
    keeper, job = ordered_but_not_taken(daemon, gate, stopped)
    daemon.start()
    until(lambda: "Looking up" in daemon.client().show(job["id"])["reason"])
    until(lambda: "under way" in str(daemon.client().why(job["id"])), what="why says what it waits for")
    assert (daemon.client().status(job["id"]), gate.ran) == ("SUBMITTING", 0)
    os.kill(keeper, signal.SIGCONT)
    until(lambda: gate.ran, what="it runs")
    assert runs_once(daemon, gate, job)["attempt"] == 1


def test_T7_a_kill_in_that_doubt_is_kept_to(daemon: RunningDaemon, stopped: list[int]) -> None:
    gate = Gate(daemon)
    keeper, job = ordered_but_not_taken(daemon, gate, stopped)
    daemon.config.write_text("killWait: 0.2\n" + plenty())
    daemon.start()
    assert daemon.client().kill(job["id"])["status"] == "SUBMITTING"
    os.kill(keeper, signal.SIGCONT)
    ended = daemon.ended(job["id"])
    assert (ended["status"], ended["condition"]) == ("STOPPED", "KILLED")
    assert processes.of_job(job["id"]) == []


def test_T1_the_same_request_over_restarts_is_one_job(daemon: RunningDaemon) -> None:
    request = {"name": "once", "command": ["true"], "key": "mine"}
    first = daemon.client().submit(**request)
    daemon.kill9()
    daemon.start()
    assert daemon.client().submit(**request)["id"] == first["id"]
    assert len(list(daemon.client().list())) == 1


# one death at a time


def test_T8_jobctl_run_outlives_a_killed_daemon(daemon: RunningDaemon) -> None:
    command = [sys.executable, "-m", "jobd.cli", "run", "--", "sh", "-c", "sleep 5; exit 7"]
    run = subprocess.Popen(command, env=daemon.environment, cwd=daemon.directory)
    job = until(lambda: next(daemon.client().list({"status": "RUNNING"}), None), what="it runs")
    daemon.kill9()
    daemon.start()
    assert run.wait(30) == 7
    ended = daemon.ended(job["id"])
    assert (ended["status"], ended["exitCode"], ended["condition"]) == ("FAILED", 7, "EXIT_CODE")


def test_T8_an_ending_without_a_daemon_arrives(daemon: RunningDaemon) -> None:
    gate = Gate(daemon)
    job = gate.submit()
    supervisor = processes.record(daemon, job)["supervisor"]
    daemon.kill9()
    gate.open()
    until(lambda: processes.gone(supervisor), what="its supervisor has ended")
    daemon.start()
    assert daemon.ended(job["id"])["exitCode"] == 7


def test_T8_a_killed_keeper_is_replaced_and_its_jobs_run_on(daemon: RunningDaemon) -> None:
    gate = Gate(daemon)
    job = gate.submit()
    before = processes.keeper(daemon)
    processes.kill9(before)
    assert daemon.run("sh", "-c", "exit 5")["exitCode"] == 5
    assert processes.keeper(daemon) != before
    assert runs_once(daemon, gate, job)["localId"] == job["localId"]


TREE = """setsid sh -c 'trap "" TERM; sleep 600; sleep 600' & sleep 600 & echo > mark; sleep 600"""


def tree(daemon: RunningDaemon) -> tuple[Job, dict[str, Any]]:
    """A job with a tree of processes, as it runs, and its record."""
    job = daemon.submit("sh", "-c", TREE, directory=str(daemon.directory))
    until((daemon.directory / "mark").exists, what="it runs")
    job = daemon.in_status(job["id"], "RUNNING")
    return job, processes.record(daemon, job)


@pytest.mark.parametrize(
    ("containment", "dead"),
    [
        ("auto", "supervisor"),
        ("auto", "supervisor and keeper"),
        ("subreaper", "supervisor and keeper"),
        ("subreaper", "supervisor and daemon"),
        ("group", "supervisor and daemon"),
    ],
)
def test_T8_a_killed_supervisor_leaves_nothing_and_nothing_is_guessed(
    short_dir: Path, containment: str, dead: str
) -> None:
    with RunningDaemon(short_dir, "sweep: 1" + plenty(containment)) as daemon:
        job, record = tree(daemon)
        if "keeper" in dead:
            processes.kill9(processes.keeper(daemon))
        if "daemon" in dead:
            daemon.kill9()
        processes.kill9(record["supervisor"])
        if "daemon" in dead:
            daemon.start()
        ended = daemon.ended(job["id"], 60)
        told = ended["status"], ended["condition"], ended["evidence"], ended["exitCode"]
        assert told == ("FAILED", "LOST", "supervisor gone", None)
        assert processes.of_job(job["id"]) == []


def reboot(daemon: RunningDaemon, job: Job, pids: list[int]) -> None:
    """Make the record what a reboot would leave: of another boot, its pids those of whoever has them now."""
    record = processes.record(daemon, job)
    facts = {"boot_id": record["boot_id"][::-1], "supervisor": pids[0], "pid": pids[1]}
    ticks = {"supervisor_ticks": start_ticks(pids[0]), "ticks": start_ticks(pids[1])}
    path = daemon.state / "attempts" / job["tag"]
    path.write_text(json.dumps(record | facts | ticks) + "\n")


def test_T8_after_a_reboot_it_is_node_lost_and_no_stale_pid_is_signalled(daemon: RunningDaemon) -> None:
    job, record = tree(daemon)
    daemon.kill9()
    processes.kill9(record["supervisor"])
    innocent = processes.of_job(job["id"])
    reboot(daemon, job, innocent)
    daemon.start()
    ended = daemon.ended(job["id"])
    try:
        assert (ended["status"], ended["condition"], ended["evidence"]) == ("FAILED", "NODE_LOST", "boot id")
        assert ended["exitCode"] is None
        assert processes.of_job(job["id"]) == innocent
    finally:
        for pid in innocent:
            processes.kill9(pid)
        if record.get("cgroup"):  # which no reboot has removed
            os.rmdir(record["cgroup"])
