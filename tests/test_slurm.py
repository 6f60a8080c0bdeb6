"""jobd in front of a real Slurm: what goes wrong with a scheduler and its jobs, done to it on purpose."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobd.errors import Conflict
from tests import processes, slurm
from tests.daemon import RunningDaemon, until
from tests.slurm import Cluster
from tests.transfers import add_job, item

Job = dict[str, Any]

pytestmark = pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or "-")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Without accounting, forgetting what has ended after some seconds."""
    partitions = (
        "PartitionName=low Nodes=NODES PriorityTier=1 PreemptMode=REQUEUE",
        "PartitionName=cancelled Nodes=NODES PriorityTier=1 PreemptMode=CANCEL",
        "PartitionName=high Nodes=NODES PriorityTier=9 PreemptMode=OFF",
    )
    with Cluster(
        ProctrackType=slurm.PROCTRACK,
        TaskPlugin="task/cgroup" if slurm.PROCTRACK.endswith("cgroup") else "task/none",
        MinJobAge=5,
        MessageTimeout=3,
        SlurmdTimeout=6,
        PreemptType="preempt/partition_prio",
        PreemptMode="REQUEUE",
        partitions=partitions,
        cpus=8,
    ) as one:
        yield one


QUEUES = "[{name: debug}, {name: low}, {name: cancelled}, {name: high}, {name: down}, {name: nowhere}]"


def configuration(cluster: Cluster, **options: object) -> str:
    more = "".join(f", {name}: {value}" for name, value in options.items())
    return (
        "killWait: 10\n"
        "systems:\n  - id: cluster\n    backend: slurm\n    pollInterval: 2\n"
        f"    options: {{conf: {cluster.conf}{more}}}\n    queues: {QUEUES}\n"
    )


@pytest.fixture
def daemon(cluster: Cluster, short_dir: Path) -> Iterator[RunningDaemon]:
    with RunningDaemon(short_dir, configuration(cluster)) as running:
        yield running


class Gate:
    """A job that ends, with that code, when it may; and counts how often it has begun."""

    def __init__(self, daemon: RunningDaemon, code: int = 7) -> None:
        self.daemon = daemon
        self.place, self.mark = daemon.directory / "gate", daemon.directory / "ran"
        script = f"echo x >> {self.mark}; while [ ! -e {self.place} ]; do sleep 0.05; done; exit {code}"
        self.command = ("sh", "-c", script)

    @property
    def ran(self) -> int:
        return len(self.mark.read_text().splitlines()) if self.mark.exists() else 0

    def submit(self, **request: Any) -> Job:
        return self.daemon.submit(*self.command, **request)

    def running(self, **request: Any) -> Job:
        return self.daemon.in_status(self.submit(**request)["id"], "RUNNING")

    def open(self) -> None:
        self.place.touch()

    def ends(self, job: Job) -> Job:
        self.open()
        return self.daemon.ended(job["id"], 60)


@pytest.fixture
def gate(daemon: RunningDaemon) -> Gate:
    return Gate(daemon)


def told(job: Job) -> tuple[Any, ...]:
    return job["status"], job["condition"], job["exitCode"]


def tag_is_gone(cluster: Cluster, tag: str) -> bool:
    return all(row[1] != tag for row in cluster.jobs())


# a life


@pytest.mark.parametrize("code", [0, 7, 137, 200])
def test_T5_exit_codes_are_exact(daemon, code):
    ended = daemon.run("sh", "-c", f"exit {code}")
    assert told(ended) == (("FINISHED", "NORMAL", 0) if not code else ("FAILED", "EXIT_CODE", code))
    assert ended["evidence"] == "squeue and the script's record"
    assert ended["localId"].isdecimal()


def test_what_the_job_gets(daemon, cluster):
    script = 'echo "$SLURM_JOB_ID $SLURM_JOB_NAME $SLURM_NTASKS_PER_NODE $GREETING $SLURM_OLD"; '
    script += "ulimit -f; ulimit -t"
    job = daemon.run(
        "sh",
        "-c",
        script,
        processorsPerNode=2,
        memoryPerNode="100MB",
        maxRunTime="00:07:00",
        environment={"GREETING": "a|b 'é'\n$x", "SLURM_OLD": "of another job", "PATH": os.environ["PATH"]},
    )
    said = b"".join(daemon.client().logs(job["id"])).decode().splitlines()
    assert said == [f"{job['localId']} {job['tag']} 2 a|b 'é'", "$x ", "unlimited", "unlimited"]
    listed = {file["name"] for file in daemon.client().outputs(job["id"])}
    assert not any(name.startswith(".jobd") for name in listed)


@pytest.mark.parametrize("name", ["a|b", "x 9|evil|root|COMPLETED", "é\u2028'\"", "100%j %%"])
def test_names_of_any_kind(daemon, cluster, name):
    ended = daemon.run("sh", "-c", "echo out; exit 3", name=name)
    assert told(ended) == ("FAILED", "EXIT_CODE", 3)
    assert b"".join(daemon.client().logs(ended["id"])) == b"out\n"
    comments = [row[1] for row in cluster.jobs("%j|%k") if row[0] == ended["tag"]]
    assert comments
    assert name.startswith(comments[0])


def test_logs_are_followed_while_it_runs(daemon, gate):
    script = f"echo one; while [ ! -e {gate.place} ]; do sleep 0.05; done; echo two"
    job = daemon.submit("sh", "-c", script)
    pieces = daemon.client().logs(job["id"], follow=True)
    assert next(pieces) == b"one\n"
    gate.open()
    assert b"".join(pieces) == b"two\n"


def test_refused_is_an_ending_in_slurms_own_words(daemon):
    ended = daemon.run("true", batchQueue="nowhere")
    assert told(ended) == ("FAILED", "LAUNCH_FAILED", None)
    assert "invalid partition specified: nowhere" in ended["reason"].lower()


def test_why_it_waits_and_why_it_never_will_run(daemon):
    client = daemon.client()
    down = daemon.in_status(daemon.submit("true", batchQueue="down")["id"], "QUEUED")
    big = daemon.in_status(daemon.submit("true", processorsPerNode=500)["id"], "QUEUED")
    until(lambda: "The partition is down" in client.why(down["id"])["why"])
    until(lambda: "It can never start as it is" in client.why(big["id"])["why"])


def test_hold_and_release(daemon, gate):
    client = daemon.client()
    blocker = gate.running(processorsPerNode=8, nodeCount=2)
    job = daemon.in_status(daemon.submit("true", processorsPerNode=8)["id"], "QUEUED")
    assert client.hold(job["id"])["status"] == "PAUSED"
    with pytest.raises(Conflict):
        client.hold(blocker["id"])
    gate.ends(blocker)
    assert client.show(job["id"])["status"] == "PAUSED"
    client.release(job["id"])
    assert daemon.ended(job["id"])["status"] == "FINISHED"


# once (T2)


def test_T2_a_controller_frozen_during_sbatch(daemon, cluster, gate):
    with cluster.frozen("slurmctld"):
        job = gate.submit()
        until(lambda: "Looking up" in daemon.client().show(job["id"])["reason"])
    ended = gate.ends(job)
    assert (told(ended), gate.ran) == (("FAILED", "EXIT_CODE", 7), 1)


def test_T2_sbatch_killed_while_nobody_answers(daemon, cluster, gate):
    with cluster.frozen("slurmctld"):
        job = gate.submit()
        pid = until(lambda: next((p for p in processes.pids() if processes.name(p) == "sbatch"), 0))
        processes.kill9(pid)
        until(lambda: "Looking up" in daemon.client().show(job["id"])["reason"])
    assert (told(gate.ends(job)), gate.ran) == (("FAILED", "EXIT_CODE", 7), 1)


def test_T2_a_daemon_killed_during_sbatch_adopts_the_job(daemon, cluster, gate):
    with cluster.frozen("slurmctld"):
        job = gate.submit()
        until(lambda: next((p for p in processes.pids() if processes.name(p) == "sbatch"), 0))
        daemon.kill9()
    daemon.start()
    assert (told(gate.ends(job)), gate.ran) == (("FAILED", "EXIT_CODE", 7), 1)


def test_T2_a_submission_that_comes_late_does_not_run(daemon, cluster, gate):
    """The first attempt's sbatch got through after all, and only when the second was handed over: as if every
    look had missed it."""
    job = gate.running()
    script = cluster.run("scontrol", "write", "batch_script", job["localId"], "-")
    cluster.run("sbatch", "-J", job["tag"], "-o", str(daemon.directory / "late"), input=script)
    gate.open()
    ended = daemon.ended(job["id"])
    until(lambda: all(row[2] in ("COMPLETED", "FAILED") for row in cluster.jobs() if row[1] == job["tag"]))
    assert (told(ended), gate.ran, ended["localId"]) == (("FAILED", "EXIT_CODE", 7), 1, job["localId"])


# outages (T4, T9)


@pytest.mark.parametrize("who", ["slurmctld", "munged"])
def test_T4_an_outage_changes_no_job_and_all_goes_on_after_it(daemon, cluster, gate, who):
    client = daemon.client()
    job = gate.running()
    with cluster.dead(who):
        until(lambda: "does not answer" in client.why(job["id"])["why"], 60)
        waiting = daemon.submit("sh", "-c", "exit 5")
        gate.open()
        assert client.show(job["id"])["status"] == "RUNNING"
    assert told(daemon.ended(job["id"], 90)) == ("FAILED", "EXIT_CODE", 7)
    assert told(daemon.ended(waiting["id"], 90)) == ("FAILED", "EXIT_CODE", 5)
    assert gate.ran == 1


def test_T6_a_kill_is_carried_out_when_the_controller_is_back(daemon, cluster, gate):
    job = gate.running()
    with cluster.dead("slurmctld"):
        answer = daemon.curl("-w", "%{http_code}", "-d", "action=kill", f"http://jobd/jobs/v2/{job['id']}")
        assert answer.stdout.endswith("202")
        assert daemon.client().show(job["id"])["status"] == "RUNNING"
    assert told(daemon.ended(job["id"], 60)) == ("STOPPED", "KILLED", 143)


def test_T8_it_ended_and_was_forgotten_while_the_daemon_was_down(daemon, cluster, gate):
    """Without accounting: only its script's record is left."""
    job = gate.running()
    daemon.kill9()
    gate.open()
    until(lambda: tag_is_gone(cluster, job["tag"]), 40)
    daemon.start()
    ended = daemon.ended(job["id"])
    assert told(ended) == ("FAILED", "EXIT_CODE", 7)
    assert "script's record" in ended["evidence"]


def test_T3_an_id_used_again_by_a_fresh_cluster(daemon, cluster, gate):
    """Its job is forgotten, and its number is somebody else's: nothing of that is ours."""
    job = gate.running()
    other = daemon.directory / "other"
    cluster.stop("slurmctld")
    for path in (cluster.directory / "state").iterdir():
        path.unlink() if path.is_file() else subprocess.run(["rm", "-r", str(path)], check=True)
    for pid in cluster.leftovers():
        processes.kill9(pid)
    cluster.start("slurmctld")
    for _ in range(int(job["localId"])):
        cluster.run("sbatch", "-o", "/dev/null", "--wrap", f"echo x >> {other}; sleep 60")
    taken = [row for row in cluster.jobs() if row[0] == job["localId"]]
    assert taken
    assert taken[0][1] == "wrap"
    daemon.curl("--max-time", "3", "-d", "action=kill", f"http://jobd/jobs/v2/{job['id']}")
    until(lambda: daemon.client().show(job["id"])["lastSeen"])
    assert daemon.client().show(job["id"])["status"] == "RUNNING"  # absent: no ending for a day
    states = {row[0]: row[2] for row in cluster.jobs()}
    assert states[job["localId"]] in ("RUNNING", "PENDING")
    cluster.run("scancel", "--name=wrap")


# endings (T5)


def test_killed_by_a_persons_own_scancel(daemon, cluster, gate):
    job = gate.running()
    cluster.run("scancel", job["localId"])
    ended = daemon.ended(job["id"])
    assert (ended["status"], ended["condition"]) == ("STOPPED", "KILLED")
    assert "not through jobd" in list(daemon.client().history(job["id"]))[-1]["description"]


def test_T6_kill_of_a_job_that_waits(daemon):
    job = daemon.in_status(daemon.submit("true", batchQueue="down")["id"], "QUEUED")
    assert daemon.client().kill(job["id"])["status"] == "STOPPED"


def test_time_limit(daemon, cluster, gate):
    job = gate.running(maxRunTime="00:05:00")
    cluster.run("scontrol", "update", f"jobid={job['localId']}", "endtime=now")
    ended = daemon.ended(job["id"], 60)
    assert (ended["status"], ended["condition"]) == ("FAILED", "TIME_LIMIT")


@pytest.mark.skipif(not slurm.PROCTRACK.endswith("cgroup"), reason="no control groups (v1) for Slurm here")
def test_memory_limit(daemon):
    hungry = "x = [bytearray(2**20) for _ in range(300)]"
    ended = daemon.run(
        "python3", "-c", hungry, memoryPerNode="60MB", environment={"PATH": os.environ["PATH"]}
    )
    assert (ended["status"], ended["condition"]) == ("FAILED", "MEMORY_LIMIT")


@pytest.mark.timeout(240)
def test_a_requeue_is_told_and_the_same_claim_goes_on(daemon, cluster, gate):
    job = gate.running()
    until(lambda: gate.ran)
    cluster.run("scontrol", "requeue", job["localId"])
    daemon.in_status(job["id"], "QUEUED")

    next_time, pause = 0.0, 3.0

    def runs_again() -> bool:
        """Without the two minutes that Slurm gives it, of which it may be told too early to hear; told more
        and more seldom, since whoever tells it again puts off when it schedules."""
        nonlocal next_time, pause
        if time.monotonic() > next_time:
            cluster.run("scontrol", "update", f"jobid={job['localId']}", "starttime=now", check=False)
            next_time, pause = time.monotonic() + pause, 2 * pause
        return gate.ran == 2

    until(runs_again, 150)
    again = daemon.in_status(job["id"], "RUNNING", 60)
    assert again["details"]["requeues"] == 1
    assert told(gate.ends(job)) == ("FAILED", "EXIT_CODE", 7)


@pytest.mark.parametrize(("queue", "expected"), [("low", "QUEUED"), ("cancelled", "FAILED")])
def test_preemption(daemon, cluster, gate, queue, expected):
    job = gate.running(batchQueue=queue, processorsPerNode=8, nodeCount=2)
    first = daemon.run("true", batchQueue="high", processorsPerNode=8)
    assert first["status"] == "FINISHED"
    seen = daemon.in_status(job["id"], expected, 30)
    assert seen["condition"] == (None if expected == "QUEUED" else "PREEMPTED")


def test_a_node_that_dies(daemon, cluster, gate):
    job = gate.running()
    node = job["details"]["nodes"]
    cluster.kill9(node)
    try:
        daemon.in_status(job["id"], "QUEUED", 60)  # JobRequeue=1
        assert daemon.client().kill(job["id"])["status"] == "STOPPED"
    finally:
        cluster.start(node)
        cluster.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)


def test_doctor_says_what_is_worse_than_it_could_be(daemon, cluster):
    said = daemon.jobctl("doctor")
    assert "slurm-wlm 22.05" in said.stdout
    assert "no accounting" in said.stdout
    assert "the controller of test answers" in said.stdout
    with cluster.frozen("slurmctld"):
        sick = daemon.jobctl("doctor")
    assert sick.returncode == 1
    assert "the controller does not answer" in sick.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("{sbach: /usr/bin/sbatch}", "options.sbach: there is no such option"),
        ("{sbatch: bin/sbatch}", "options.sbatch"),
        ("{timeouts: {squeue: 0}}", "options.timeouts.squeue"),
        ("{accounting: maybe}", "options.accounting"),
    ],
)
def test_wrong_options_are_refused_with_what_would_be_right(short_dir, options, words):
    daemon = RunningDaemon(short_dir, f"systems: [{{id: c, backend: slurm, options: {options}}}]\n")
    process = daemon.spawn()
    assert process.wait(timeout=30) == 78
    assert words in daemon.logged()


def test_wrong_queue_options_are_refused(short_dir):
    queues = "[{name: debug, options: {acount: lab}}]"
    daemon = RunningDaemon(short_dir, f"systems: [{{id: c, backend: slurm, queues: {queues}}}]\n")
    assert daemon.spawn().wait(timeout=30) == 78
    assert "queue debug: options.acount: there is no such option (expected one of account" in daemon.logged()


def test_signals_do_not_end_the_daemon_while_it_waits(daemon, cluster):
    with cluster.frozen("slurmctld"):
        daemon.submit("true")
        os.kill(daemon.process.pid, signal.SIGHUP)
        until(lambda: "was read again" in daemon.logged())


# files


def test_inputs_are_there_before_it_runs_and_outputs_go_to_the_archive(daemon):
    source, archive = daemon.directory / "data.csv", daemon.directory / "archive"
    source.write_text("1,2\n")
    script = "cat data.csv; echo out > out.txt; exit 3"
    job = add_job(
        daemon,
        *("sh", "-c", script),
        staging=(item(source, "data.csv"),),
        archive=archive,
        system="cluster",
        queue="debug",
        request={"name": "test", "command": ["sh"]},
    )
    ended = daemon.ended(job["id"], 90)
    assert told(ended) == ("FAILED", "EXIT_CODE", 3)
    assert (archive / "out.txt").read_text() == "out\n"
    log = f"test-{job['id']}.out"
    names = {path.name for path in archive.iterdir()}
    assert names == {".jobd", "out.txt", log} | (names & {log.replace(".out", ".err")})
    assert b"".join(daemon.client().logs(job["id"])) == b"1,2\n"
    assert not Path(ended["workPath"]).exists()
