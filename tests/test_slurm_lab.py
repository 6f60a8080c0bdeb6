"""A lab's daemon in front of a Slurm with accounting: several people, many jobs, and a daemon that dies."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import pytest

from jobd.status import ACTIVE
from tests import slurm
from tests.daemon import ENDINGS, RunningDaemon, until
from tests.people import Machine, SystemDaemon
from tests.slurm import Cluster

Job = dict[str, Any]

pytestmark = pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or "-")


@pytest.fixture(scope="module")
def cluster(lab: Machine) -> Iterator[Cluster]:
    with Cluster(accounting=True, machine=lab, MinJobAge=5, MessageTimeout=3, cpus=64) as one:
        yield one


PROGRAMS = ("sbatch", "squeue", "sacct", "scontrol", "scancel")


def configuration(cluster: Cluster, *, counted: Path | None = None, more: str = "") -> str:
    """`counted`: where each command leaves a line with its name."""
    options = f"conf: {cluster.conf}"
    if counted:
        for name in PROGRAMS:
            wrapper = counted / name
            wrapper.write_text(f'#!/bin/sh\necho {name} >> {counted}/calls\nexec /usr/bin/{name} "$@"\n')
            wrapper.chmod(0o755)
            options += f", {name}: {wrapper}"
        (counted / "calls").touch()
        (counted / "calls").chmod(0o666)
    return (
        f"{more}systems:\n  - id: cluster\n    backend: slurm\n    pollInterval: 2\n"
        f"    options: {{{options}}}\n    queues: [{{name: debug}}]\n"
    )


@pytest.fixture
def daemon(cluster: Cluster, lab: Machine) -> Iterator[SystemDaemon]:
    name = f"daemon-{time.monotonic_ns()}"
    with SystemDaemon(lab, configuration(cluster, more="alsoUsers: [root]\n"), name) as running:
        yield running


def waits_for(gate: Path, code: int = 7) -> tuple[str, ...]:
    return "/bin/sh", "-c", f"while [ ! -e {gate} ]; do sleep 0.1; done; exit {code}"


def is_forgotten(cluster: Cluster, job: Job) -> bool:
    return all(row[1] != job["tag"] for row in cluster.jobs())


# as the person


def test_a_job_is_its_owners_through_and_through(daemon, cluster, lab):
    job = daemon.submit_as(lab.alice, "/bin/sh", "-c", "id -un; id -gn; pwd; umask; sleep 0.1")
    ended = daemon.ended(job["id"])
    assert ended["status"] == "FINISHED"
    said = daemon.as_user(lab.alice, lambda client: b"".join(client.logs(job["id"])).decode()).split()
    assert said == ["alice", "alice", ended["workPath"], "0022"]
    workspace = Path(ended["workPath"])
    assert workspace.parent == lab.alice.home / "jobd"
    for path in (workspace, *workspace.rglob("*")):
        assert path.lstat().st_uid == lab.alice.uid
    assert workspace.stat().st_mode & 0o777 == 0o700
    assert [row[4] for row in cluster.jobs() if row[1] == ended["tag"]] == ["alice"]


def test_T3_a_job_of_somebody_else_under_the_same_name_is_not_ours(daemon, cluster, lab):
    gate = lab.alice.home / "gate"
    job = daemon.submit_as(lab.alice, *waits_for(gate))
    running = daemon.in_status(job["id"], "RUNNING")
    cluster.run("sbatch", "-J", running["tag"], "-o", "/dev/null", "--wrap", "sleep 300", user="bob")
    failed = cluster.run(
        "sbatch", "--parsable", "-J", running["tag"], "-o", "/dev/null", "--wrap", "exit 9", user="bob"
    )
    until(lambda: any(row[0] == failed.strip() and row[2] == "FAILED" for row in cluster.jobs()))
    seen = daemon.client().show(job["id"])
    until(lambda: daemon.client().show(job["id"])["lastSeen"] != seen["lastSeen"])
    assert daemon.client().show(job["id"])["status"] == "RUNNING"
    assert daemon.as_user(lab.alice, lambda client: client.kill(job["id"]))["status"] == "STOPPED"
    assert [row[2] for row in cluster.jobs() if row[4] == "bob" and row[2] == "RUNNING"] == ["RUNNING"]
    cluster.run("scancel", "-u", "bob")


def test_a_home_that_cannot_be_written_is_its_owners_trouble(daemon, lab):
    lab.bob.home.chmod(0o500)
    try:
        ended = daemon.run_as(lab.bob, "true")
    finally:
        lab.bob.home.chmod(0o700)
    assert (ended["condition"], ended["status"]) == ("LAUNCH_FAILED", "FAILED")
    assert "Permission denied" in ended["reason"]


def test_a_record_that_leads_elsewhere_is_not_read(daemon, cluster, lab):
    """alice puts a link to a file of root's in the place of her record: nobody reads it for her."""
    secret = lab.directory("secret") / "exit"
    secret.write_text("id=1\ncode=42\ntime=1\n")
    script = (
        'd=$(echo "$JOBD_OUTPUTS"/.jobd-*); (sleep 0.5; ln -sf ' + str(secret) + ' "$d/exit") & wait; exit 3'
    )
    ended = daemon.run_as(lab.alice, "/bin/sh", "-c", script)
    assert ended["exitCode"] == 3


def test_refused_as_slurm_refuses_that_person(cluster, lab):
    config = configuration(cluster).replace("{name: debug}", "{name: roots}")
    with SystemDaemon(lab, config, "roots") as daemon:
        ended = daemon.run_as(lab.alice, "true")
        assert (ended["condition"], ended["status"]) == ("LAUNCH_FAILED", "FAILED")
        assert "not permitted to use this partition" in ended["reason"]


# accounts


def test_T8_forgotten_by_the_controller_and_known_by_the_accounts(daemon, cluster, lab):
    gate = lab.alice.home / "gate-8"
    job = daemon.in_status(daemon.submit_as(lab.alice, *waits_for(gate, 137))["id"], "RUNNING")
    killed = daemon.in_status(daemon.submit_as(lab.bob, "/bin/sleep", "300")["id"], "RUNNING")
    daemon.kill9()
    lab.alice.call(lambda: gate.touch())
    cluster.run("scancel", killed["localId"])
    until(lambda: is_forgotten(cluster, job) and is_forgotten(cluster, killed), 40)
    daemon.start()
    ended, stopped = daemon.ended(job["id"]), daemon.ended(killed["id"])
    assert (ended["condition"], ended["exitCode"]) == ("EXIT_CODE", 137)
    assert ended["evidence"] == "accounting and the script's record"
    assert (stopped["status"], stopped["condition"]) == ("STOPPED", "KILLED")


def test_T4_accounts_that_do_not_answer_end_nothing(daemon, cluster, lab):
    gate = lab.alice.home / "gate-4"
    job = daemon.in_status(daemon.submit_as(lab.alice, *waits_for(gate))["id"], "RUNNING")
    daemon.kill9()
    lab.alice.call(lambda: gate.touch())
    until(lambda: is_forgotten(cluster, job), 40)
    with cluster.dead("slurmdbd"):
        daemon.start()
        fresh = daemon.run_as(lab.bob, "/bin/sh", "-c", "exit 4")
        assert fresh["exitCode"] == 4
        assert daemon.client().show(job["id"])["status"] == "RUNNING"
    ended = daemon.ended(job["id"], 150)
    assert (ended["condition"], ended["exitCode"]) == ("EXIT_CODE", 7)


# many


@pytest.mark.slow
def test_T9_a_thousand_jobs_of_three_people_take_few_commands(cluster, lab):
    counted = lab.directory("counted")
    counted.chmod(0o777)
    config = configuration(cluster, counted=counted, more="alsoUsers: [root]\n")
    with SystemDaemon(lab, config, "thousand") as daemon:
        request = {"name": "n", "command": ["/bin/sh", "-c", "exit 3"], "environment": {"PATH": "/bin"}}
        for user in (lab.alice, lab.bob):
            daemon.as_user(user, lambda client: len(client.submit_many([request] * 333)))
        daemon.client().submit_many([request] * 334)
        began = time.monotonic()
        everybodys = {"owner.in": "alice,bob,root"}
        active = {**everybodys, "status.in": ",".join(ACTIVE)}
        until(lambda: not list(daemon.client().list(active, fields=["id"])), 240)
        minutes = (time.monotonic() - began) / 60
        jobs = list(daemon.client().list(everybodys, fields=["status", "exitCode", "owner", "attempt"]))
        calls = Counter((counted / "calls").read_text().split())
    assert Counter((job["owner"], job["exitCode"]) for job in jobs) == {
        ("alice", 3): 333,
        ("bob", 3): 333,
        ("root", 3): 334,
    }
    print(f"{dict(calls)} in {minutes:.1f} minutes")
    assert calls["sbatch"] == 1000
    assert calls["squeue"] <= 130 * minutes + 10
    assert calls["sacct"] <= calls["squeue"]


@pytest.mark.slow
def test_T2_a_daemon_killed_at_fifty_moments_loses_and_repeats_nothing(cluster, lab):
    seed = int(os.environ.get("JOBD_TEST_SEED") or int.from_bytes(os.urandom(4)))
    print(f"JOBD_TEST_SEED={seed}")
    random = Random(seed)
    with SystemDaemon(lab, configuration(cluster, more="alsoUsers: [root]\n"), "fifty") as daemon:
        marks = daemon.directory / "marks"
        marks.mkdir()
        codes = _submit_while_it_dies(daemon, marks, random)
        jobs = until(lambda: _all_over(daemon, len(codes)), 120)
    assert {job["id"]: job["exitCode"] for job in jobs} == codes
    ran = {job_id: (marks / job_id).read_text().count("x") for job_id in codes}
    assert ran == dict.fromkeys(codes, 1)


def _submit_while_it_dies(daemon: RunningDaemon, marks: Path, random: Random) -> dict[str, int]:
    """Four jobs between any two of fifty deaths. Returns the exit codes that they must have."""
    codes: dict[str, int] = {}
    for _ in range(50):
        code = random.choice([0, 1, 7, 137, 200])
        script = f'echo x >> {marks}/"$JOBD_JOB_ID"; exit {code}'
        request = {"name": "n", "command": ["/bin/sh", "-c", script], "environment": {"PATH": "/bin"}}
        codes |= {job["id"]: code for job in daemon.client().submit_many([request] * 4)}
        Event().wait(random.random() * 0.4)
        daemon.kill9()
        daemon.start()
    return codes


def _all_over(daemon: RunningDaemon, number: int) -> list[Job]:
    jobs = list(daemon.client().list(fields=["status", "exitCode", "attempt"]))
    return jobs if len(jobs) == number and all(job["status"] in ENDINGS for job in jobs) else []
