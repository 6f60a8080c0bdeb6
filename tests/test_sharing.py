"""Sharing a machine, on a real daemon: drained and resumed, GPUs handed out once, and its limits told."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from jobd.config import Settings, System
from jobd.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from jobd.verbs.desk import Caller
from jobd.verbs.drain import _manage
from tests import past
from tests.clumsy import System as Clumsy
from tests.daemon import RunningDaemon, until
from tests.people import SystemDaemon, machine, needs_people
from tests.talk import ask

TWO_QUEUES = """
systems:
  - id: local
    slots: {processors: 4}
    queues: [{name: default}, {name: other}]
"""


# ---- drain and resume


def test_drained_by_whom_and_why_is_told_everywhere_and_outlives_the_daemon(short_dir: Path) -> None:
    with RunningDaemon(short_dir, TWO_QUEUES) as daemon:
        client = daemon.client()
        me = client.me()["username"]
        runs = daemon.submit("sleep", "1000")
        daemon.in_status(runs["id"], "RUNNING")
        done = daemon.jobctl("queues", "drain", "local", "--reason", "new disks")
        assert (done.returncode, done.stdout) == (0, "local starts no more jobs\n"), done.stderr
        waits = daemon.submit("true")
        words = f"local was drained by {me}: new disks"
        until(lambda: client.show(waits["id"])["reason"] == words)
        daemon.kill9()
        daemon.start()
        shown = client.show(waits["id"])
        assert (shown["status"], client.show(runs["id"])["status"]) == ("PENDING", "RUNNING")
        assert until(lambda: client.show(waits["id"])["reason"] == words)
        assert client.why(waits["id"])["why"] == f"{words}."
        (system,) = client.systems()
        assert (system["status"], system["drained"]["by"]) == ("MAINTENANCE", me)
        whole = ask(daemon.socket, "GET", "/systems/v2/local").result
        assert (whole["status"], whole["available"]) == ("MAINTENANCE", False)
        assert f"drained by {me}" in daemon.jobctl("systems").stdout
        assert "new disks" in daemon.jobctl("list").stdout
        assert daemon.jobctl("queues", "resume", "local").returncode == 0
        assert daemon.ended(waits["id"])["status"] == "FINISHED"
        (entry,) = client.drains("local")
        assert (entry["queue"], entry["beganBy"], entry["endedBy"]) == (None, me, me)
        assert "new disks" in daemon.jobctl("queues", "history", "local").stdout
        with pytest.raises(Conflict):
            client.resume("local")


def test_one_queue_is_drained_and_the_others_go_on(short_dir: Path) -> None:
    with RunningDaemon(short_dir, TWO_QUEUES) as daemon:
        client = daemon.client()
        client.drain("local", "for a course", "other")
        waits = daemon.submit("true", batchQueue="other")
        assert daemon.run("true")["status"] == "FINISHED"
        assert client.show(waits["id"])["status"] == "PENDING"
        assert [bool(queue["drained"]) for queue in client.queues("local")] == [False, True]
        assert ask(daemon.socket, "GET", "/systems/v2/local").result["status"] == "UP"
        listed = json.loads(daemon.jobctl("queues", "--json", "local").stdout.splitlines()[1])
        assert listed["drained"]["reason"] == "for a course"
        client.resume("local", "other")
        assert daemon.ended(waits["id"])["status"] == "FINISHED"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["drain", "local"], 2),
        (["drain", "nowhere", "--reason", "x"], 66),
        (["drain", "local/none", "--reason", "x"], 66),
        (["drain"], 2),
        (["resume", "local"], 1),
        (["local", "more"], 2),
    ],
)
def test_what_cannot_be_drained_or_resumed(daemon: RunningDaemon, words: list[str], code: int) -> None:
    done = daemon.jobctl("queues", *words)
    assert done.returncode == code, done.stderr
    assert done.stderr


@pytest.mark.parametrize(
    ("body", "field"), [({"reason": " "}, "reason"), ({"reason": "a\nb"}, "reason"), ({"why": "x"}, "why")]
)
def test_a_drain_needs_a_reason_of_one_line(daemon: RunningDaemon, body: Any, field: str) -> None:
    answer = ask(daemon.socket, "POST", "/systems/v2/local/drain", body)
    assert (answer.code, answer.fields) == (400, [field])


def test_who_may_drain() -> None:
    class Desk:
        def __init__(self, mode: str) -> None:
            self.settings = Settings(mode=mode, state_dir="/s", socket="/s/s", systems=(System(id="local"),))

    person, admin = Caller(1000, 1000, "ada"), Caller(1001, 1000, "root", admin=True)
    for mode, caller in (("user", person), ("user", admin), ("system", admin)):
        assert _manage(Desk(mode), caller, "local", "").id == "local"  # type: ignore[arg-type]
    with pytest.raises(Forbidden):
        _manage(Desk("system"), person, "local", "")  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        _manage(Desk("system"), person, "elsewhere", "")  # type: ignore[arg-type]


# ---- two users


@needs_people
def test_alices_many_do_not_keep_bobs_one_waiting_and_bob_drains_nothing() -> None:
    with machine() as lab, SystemDaemon(lab, "systems: [{id: local, slots: {processors: 2}}]") as daemon:
        request = {"name": "x", "command": ["sleep", "0.2"]}
        daemon.as_user(lab.alice, lambda client: client.submit_many([request] * 400)[0]["id"])
        until(lambda: list(daemon.client().list({"owner": "alice", "status": "FINISHED"})))
        assert daemon.run_as(lab.bob, "true")["status"] == "FINISHED"
        waiting = list(daemon.client().list({"owner": "alice", "status.in": "PENDING,STAGED"}))
        assert len(waiting) > 200
        with pytest.raises(AssertionError, match="Forbidden: local is drained and resumed by root"):
            daemon.as_user(lab.bob, lambda client: client.drain("local", "mine"))
        daemon.client().drain("local", "new disks")
        until(lambda: not list(daemon.client().list({"owner": "alice", "status": "RUNNING"})))
        job = daemon.submit_as(lab.bob, "true")
        words = "local was drained by root: new disks"
        until(lambda: daemon.as_user(lab.bob, lambda client: client.show(job["id"])["reason"]) == words)
        daemon.stop()
        past.forget_waiting(daemon.state / "jobd.db")


# ---- GPUs


@needs_people
@pytest.mark.parametrize(("verb", "moods"), [("submit", []), ("find", ["loses"])])
def test_alices_home_that_hangs_keeps_bobs_jobs_from_no_system(verb: str, moods: list[str]) -> None:
    with machine() as lab:
        system = Clumsy(lab.directory("system"))
        with SystemDaemon(lab, system.configuration(concurrency=4)) as daemon:
            hangs = f"{verb} hangs for alice"
            system.is_in_mood(hangs, *moods)
            hers = [daemon.submit_as(lab.alice, "x")["id"] for _ in range(6)]
            until(lambda: system.calls(verb) == 2, what="as many hang as may")
            system.is_in_mood(hangs)
            for job_id in [daemon.submit_as(lab.bob, "x")["id"] for _ in range(3)]:
                daemon.in_status(job_id, "QUEUED")
            assert {daemon.client().show(job_id)["status"] for job_id in hers} == {"SUBMITTING"}
            assert system.calls(verb) == (2 if moods else 5)
            system.is_in_mood()
            for job_id in hers:
                daemon.in_status(job_id, "QUEUED")


def test_gpus_are_handed_out_once_and_the_others_are_not_seen(short_dir: Path) -> None:
    config = "systems: [{id: local, slots: {processors: 8, gpus: [1, 3]}}]\n"
    show = "echo $CUDA_DEVICE_ORDER: $CUDA_VISIBLE_DEVICES = $JOBD_GPUS; sleep 1000"
    with RunningDaemon(short_dir, config) as daemon:
        client = daemon.client()

        def says(*names: str, **request: Any) -> tuple[str, str]:
            job = daemon.submit("sh", "-c", show, environment={"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, **request)
            return job["id"], until(lambda: b"".join(client.logs(job["id"])).decode())

        first, told = says(gpus=1)
        assert told == "PCI_BUS_ID: 1 = 1\n"
        assert says(gpus=1)[1] == "PCI_BUS_ID: 3 = 3\n"
        assert says()[1] == "PCI_BUS_ID: =\n", "whoever asked for none sees none"
        third = daemon.submit("true", gpus=1)
        until(lambda: client.show(third["id"])["reason"] == "Waits for free GPUs.")
        client.kill(first)
        assert daemon.ended(third["id"])["gpuIndices"] == [1]
        with pytest.raises(Invalid, match=r"gpus: 3 is more than local has \(expected at most 2\)"):
            daemon.submit("true", gpus=3)
        assert ask(daemon.socket, "GET", "/systems/v2/local").result["slots"]["gpuIndices"] == [1, 3]


# ---- as much as one person may have


def test_more_than_one_may_have_is_429_until_some_are_over(short_dir: Path) -> None:
    with RunningDaemon(short_dir, f"maxActiveJobs: 3\n{TWO_QUEUES}") as daemon:
        client = daemon.client()
        request = {"name": "x", "command": ["sleep", "1000"]}
        jobs = client.submit_many([request] * 3, key="first")
        answer = ask(daemon.socket, "POST", "/jobs/v2", request)
        assert (answer.code, answer.headers["Retry-After"]) == (429, "10")
        assert "has 3 jobs that are not over, of at most 3: 1 more must wait" in answer.json["message"]
        again = client.submit_many([request] * 3, key="first")
        assert [job["id"] for job in again] == [job["id"] for job in jobs], "what was taken is no new job"
        with pytest.raises(Unavailable) as refused, daemon.client(patience=0) as impatient:
            impatient.submit(["true"])
        assert (refused.value.code, refused.value.retry_after) == (429, 10)
        assert ask(daemon.socket, "POST", "/jobs/v2", [request] * 4).code == 400
        client.kill(jobs[0]["id"])
        assert ask(daemon.socket, "POST", "/jobs/v2", request).code == 201


@pytest.mark.slow
def test_ten_thousand_at_a_time_and_the_daemon_answers(short_dir: Path) -> None:
    """Others are heard while they are taken, and each of them can say why it waits."""
    with RunningDaemon(short_dir, TWO_QUEUES) as daemon:
        request = {"name": "x", "command": ["sleep", "1000"]}
        done = threading.Event()

        def submit() -> None:
            daemon.client().submit_many([request] * 10_000)
            done.set()

        thread = threading.Thread(target=submit)
        thread.start()
        client, answers = daemon.client(), 0
        while not done.is_set():
            client.health()
            answers += 1
        thread.join()
        assert answers > 5
        until(lambda: len(list(client.list({"status": "RUNNING"}))) == 4)
        waiting = list(client.list({"status.in": "PENDING,STAGED"}, limit=200))
        assert [job["status"] for job in waiting].count("STAGED") <= 1
        assert {job["reason"] for job in waiting} == {"Waits for free processors."}
        daemon.kill9()
        past.forget_waiting(daemon.state / "jobd.db")


# ---- logs


def test_a_job_whose_logs_become_too_large_is_ended_and_its_other_files_are_not_limited(
    short_dir: Path,
) -> None:
    config = "systems: [{id: local, killGrace: 1, options: {maxLogSize: 1MB}}]\n"
    with RunningDaemon(short_dir, config) as daemon:
        write = "head -c 3000000 /dev/zero > big; echo done; exec >/dev/null; sleep 3; exit 3"
        fine = daemon.submit("sh", "-c", write, directory=None)
        shout = "mv *.out gone && while :; do head -c 100000 /dev/zero; sleep 0.01; done"
        loud = daemon.submit("sh", "-c", shout, directory=None)
        both = daemon.submit("sh", "-c", "head -c 600000 /dev/zero; head -c 600000 /dev/zero >&2; sleep 1000")
        for job in (loud, both):
            ended = daemon.ended(job["id"])
            assert (ended["status"], ended["condition"]) == ("FAILED", "LOG_LIMIT")
            assert ended["reason"] == "its logs were larger than 1048576 bytes"
            assert "logs" in daemon.client().why(job["id"])["why"]
        assert daemon.ended(fine["id"])["exitCode"] == 3


@pytest.mark.parametrize("limit", ["7", "x", "true"])
def test_a_log_limit_that_is_none_is_refused(short_dir: Path, limit: str) -> None:
    daemon = RunningDaemon(short_dir, f"systems: [{{id: local, options: {{maxLogSize: {limit}}}}}]\n")
    command = [sys.executable, "-m", "jobd.daemon", "check-config"]
    done = subprocess.run(command, env=daemon.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert "maxLogSize of the local backend" in done.stderr


def test_of_two_systems_each_hears_of_its_own_jobs_ends(short_dir: Path) -> None:
    """One whose end the other system heard of first would let nobody start before the next sweep."""
    config = "sweep: 1h\nsystems: [{id: one, slots: {processors: 1}}, {id: two, slots: {processors: 1}}]\n"
    with RunningDaemon(short_dir, config) as daemon:
        requests = [{"name": f"n{number}", "command": ["true"]} for number in range(40)]
        for job in daemon.client().submit_many(requests):
            assert daemon.ended(job["id"])["status"] == "FINISHED"
