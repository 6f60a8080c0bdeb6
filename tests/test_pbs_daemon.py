"""jobd in front of a PBS: of the stand-in, and of a real one where there is one. Whatever is killed, and
whenever, each job runs once and is accounted for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import pytest

from jobd.errors import JobdError
from tests import pbs
from tests.daemon import ENDINGS, RunningDaemon, until
from tests.standin_pbs import StandIn

Job = dict[str, Any]


class Front:
    """A daemon, its PBS, and a directory for the jobs' marks."""

    def __init__(self, daemon: RunningDaemon, marks: Path, patience: float, cluster: StandIn | None) -> None:
        self.daemon = daemon
        self.marks = marks
        self.patience = patience
        self.cluster = cluster

    def submit(self, script: str, **more: Any) -> Job:
        """A job whose first act is a line in a file of its own."""
        command = ("sh", "-c", f'echo "$$" >> "$JOBD_JOB_ID"; {script}')
        return self.daemon.submit(*command, directory=str(self.marks), **more)

    def ran(self, job: Job) -> int:
        mark = self.marks / job["id"]
        return len(mark.read_text().splitlines()) if mark.exists() else 0

    def running(self, script: str) -> Job:
        job = self.submit(script)
        until(lambda: self.ran(job), self.patience, "it runs")
        return self.daemon.in_status(job["id"], "RUNNING", self.patience)

    def ended(self, job: Job) -> Job:
        return self.daemon.ended(job["id"], self.patience)

    def told(self, job: Job) -> tuple[str, str, int | None]:
        job = self.ended(job)
        return job["status"], job["condition"], job["exitCode"]


@pytest.fixture(
    params=[
        "openpbs",
        "openpbs without history",
        "torque",
        pytest.param("real", marks=[pytest.mark.pbs, pbs.live]),
    ]
)
def front(request: pytest.FixtureRequest, short_dir: Path) -> Iterator[Front]:
    if request.param == "real":
        with pbs.shared() as directory:
            configuration = pbs.configuration(pbs.options(), directory, pbs.given("QUEUE"))
            with pbs.daemon(short_dir, configuration) as daemon:
                (marks := directory / "marks").mkdir()
                marks.chmod(0o777)
                yield Front(daemon, marks, 90.0, None)
        return
    dialect, _, forgets = request.param.partition(" ")
    (short_dir / "pbs").mkdir()
    with StandIn(short_dir / "pbs", dialect, remembers=not forgets) as cluster:
        configuration = pbs.configuration(cluster.options, cluster.shared)
        (short_dir / "daemon").mkdir()
        with RunningDaemon(short_dir / "daemon", configuration) as daemon:
            (marks := cluster.shared / "marks").mkdir()
            yield Front(daemon, marks, 30.0, cluster)


def test_T5_codes_are_exact_and_logs_are_there(front: Front) -> None:
    job = front.submit("echo out; exit 137")
    assert front.told(job) == ("FAILED", "EXIT_CODE", 137)
    client = front.daemon.client()
    assert "record" in client.show(job["id"])["evidence"]
    assert b"".join(client.logs(job["id"])) == b"out\n"


def test_T6_killed_means_gone(front: Front) -> None:
    job = front.running("sleep 600")
    front.daemon.client().kill(job["id"])
    status, condition, _ = front.told(job)
    assert (status, condition) == ("STOPPED", "KILLED")


def test_T8_an_end_while_there_is_no_daemon_arrives(front: Front) -> None:
    job = front.running(f"while [ ! -e {front.marks}/gate ]; do sleep 0.05; done; exit 7")
    front.daemon.kill9()
    (front.marks / "gate").touch()
    until(lambda: list(front.marks.parent.rglob(".jobd-j*/exit")), front.patience, "its script is over")
    front.daemon.start()
    assert front.told(job) == ("FAILED", "EXIT_CODE", 7)


def test_T4_an_outage_changes_no_job(front: Front) -> None:
    if front.cluster is None:
        pytest.skip("a PBS that others use is not ended")
    gate = front.marks / "gate"
    job = front.running(f"while [ ! -e {gate} ]; do sleep 0.05; done; exit 7")
    front.cluster.go_down()
    gate.touch()
    waiting = front.submit("exit 3")
    until(lambda: "connect" in str(front.daemon.client().why(waiting["id"])), what="why says so")
    assert front.daemon.client().status(job["id"]) == "RUNNING"
    front.cluster.come_up()
    assert front.told(job) == ("FAILED", "EXIT_CODE", 7)
    assert front.told(waiting) == ("FAILED", "EXIT_CODE", 3)
    assert front.ran(waiting) == 1


# ---- kill -9


class Weather:
    """Ends the daemon at random moments, until it is told that this is enough."""

    def __init__(self, daemon: RunningDaemon, random: Random) -> None:
        self.daemon, self.random, self.end = daemon, random, Event()
        self.deaths = 0
        self.thread = Thread(target=self._run)

    def __enter__(self) -> Weather:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self.thread.join(60)

    def _run(self) -> None:
        while not self.end.wait(self.random.random() * 2):
            self.daemon.kill9()
            self.deaths += 1
            self.end.wait(self.random.random() * 0.3)
            self.daemon.start()


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("JOBD_TEST_SEED") or int.from_bytes(os.urandom(4)))
    print(f"JOBD_TEST_SEED={chosen}")
    return chosen


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_T2_whenever_the_daemon_is_killed_each_job_runs_once(front: Front, seed: int) -> None:
    random = Random(seed)
    jobs: dict[str, Job] = {}
    codes: dict[str, int] = {}
    killed: set[str] = set()
    with Weather(front.daemon, Random(seed + 1)) as weather:
        for turn in range(16):
            code = random.choice([0, 1, 7, 255])
            job = again(lambda t=turn, c=code: front.submit(f"sleep 0.{t % 10}; exit {c}", key=f"{seed}-{t}"))
            jobs[job["id"]], codes[job["id"]] = job, code
            if random.random() < 0.2:
                killed.add(job["id"])
                again(lambda i=job["id"]: front.daemon.client(patience=0).kill(i))
            Event().wait(random.random() * 0.3)
    assert weather.deaths
    for job_id, job in jobs.items():
        ended = front.daemon.ended(job_id, 200)
        story = f"{ended}, which ran {front.ran(job)} times"
        if ended["condition"] == "KILLED":
            assert job_id in killed, story
            assert front.ran(job) <= 1, story
        else:
            assert (front.ran(job), ended["exitCode"]) == (1, codes[job_id]), story
            assert ended["status"] == ("FAILED" if codes[job_id] else "FINISHED"), story
    listed = list(front.daemon.client().list({"owner": pbs.user()}))
    assert len(listed) == len(jobs)
    assert {job["status"] for job in listed} <= ENDINGS
    if front.cluster:
        tags = [line[line.index("-N") + 1] for line in front.cluster.asked("qsub")]
        assert len(tags) == len(set(tags)), "a tag is for one attempt"


def again(act: Any) -> Any:
    """Until there is a daemon that answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return act()
        except (JobdError, OSError, AssertionError):
            assert time.monotonic() < deadline
            time.sleep(0.05)
