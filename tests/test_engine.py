"""The engine against a system that misbehaves: nothing is lost, nothing is handed over twice, nothing is
guessed."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from jobd.errors import Conflict, Unavailable
from tests.clumsy import System
from tests.daemon import RunningDaemon, until


@pytest.fixture
def system(short_dir: Path) -> System:
    return System(short_dir / "system")


@pytest.fixture
def daemon(short_dir: Path, system: System) -> Iterator[RunningDaemon]:
    with RunningDaemon(short_dir, system.configuration()) as running:
        yield running
        system.is_in_mood()
        system.says("ENDED 0")


def test_a_life_as_reported(daemon, system):
    job = daemon.submit("x")
    queued = daemon.in_status(job["id"], "QUEUED")
    assert queued["localId"].startswith("c-")
    system.says("RUNNING")
    assert daemon.in_status(job["id"], "RUNNING")["startTime"]
    system.says("ENDED 3")
    ended = daemon.ended(job["id"])
    assert (ended["status"], ended["exitCode"], ended["condition"], ended["evidence"]) == (
        "FAILED",
        3,
        "EXIT_CODE",
        "clumsy",
    )
    told = [event["status"] for event in daemon.client().history(job["id"])]
    assert told == ["PENDING", "SUBMITTING", "QUEUED", "RUNNING", "FAILED"]


def test_a_requeue_is_told_and_counted(daemon, system):
    job = daemon.submit("x")
    daemon.in_status(job["id"], "QUEUED")
    system.says("RUNNING")
    daemon.in_status(job["id"], "RUNNING")
    system.says("QUEUED")
    assert daemon.in_status(job["id"], "QUEUED")["details"]["requeues"] == 1


def test_refused_is_an_ending_in_the_systems_own_words(daemon, system):
    system.is_in_mood("refuses")
    ended = daemon.run("x")
    assert (ended["status"], ended["condition"]) == ("FAILED", "LAUNCH_FAILED")
    assert "no such partition: moon" in ended["reason"]


def test_T2_taken_but_denied_is_found_not_repeated(daemon, system):
    system.is_in_mood("takes and denies")
    job = daemon.submit("x")
    until(lambda: system.calls("find"))
    assert daemon.client().show(job["id"])["status"] == "SUBMITTING"
    system.is_in_mood()
    daemon.in_status(job["id"], "QUEUED")
    assert system.submitted() == [job["id"]]


def test_T2_never_taken_is_handed_over_again_after_clean_looks(daemon, system):
    system.is_in_mood("down")
    job = daemon.submit("x")
    until(lambda: system.calls("find"))
    assert system.submitted() == []
    system.is_in_mood()
    again = daemon.in_status(job["id"], "QUEUED")
    assert system.submitted() == [job["id"]]
    assert again["attempt"] == 2
    assert system.calls("find") >= 3


def test_T2_a_backend_with_a_bug_neither_loses_nor_repeats(daemon, system):
    system.is_in_mood("crashes")
    job = daemon.submit("x")
    daemon.in_status(job["id"], "QUEUED")
    assert system.submitted() == [job["id"]]


def test_T2_a_daemon_killed_in_the_middle_of_a_hand_over_adopts_the_job(daemon, system):
    system.is_in_mood("takes and denies")
    job = daemon.submit("x")
    until(system.submitted)
    daemon.kill9()
    system.is_in_mood()
    daemon.start()
    daemon.in_status(job["id"], "QUEUED")
    assert system.submitted() == [job["id"]]


def test_T4_a_failed_poll_changes_no_job(daemon, system):
    job = daemon.submit("x")
    daemon.in_status(job["id"], "QUEUED")
    system.is_in_mood("down")
    before = system.calls("poll")
    until(lambda: system.calls("poll") > before + 2)
    assert daemon.client().show(job["id"])["status"] == "QUEUED"
    assert "controller" in str(daemon.client().why(job["id"]))


def test_T4_absence_is_no_ending(daemon, system):
    job = daemon.submit("x")
    daemon.in_status(job["id"], "QUEUED")
    system.is_in_mood("forgets")
    before = system.calls("poll")
    until(lambda: system.calls("poll") > before + 3)
    assert daemon.client().show(job["id"])["status"] == "QUEUED"
    system.is_in_mood()
    system.says("ENDED 0")
    assert daemon.ended(job["id"])["status"] == "FINISHED"


def test_T4_lost_after_the_deadline_and_corrected_by_late_evidence(short_dir, system):
    with RunningDaemon(short_dir, system.configuration(lostAfter=1)) as daemon:
        job = daemon.submit("x")
        daemon.in_status(job["id"], "QUEUED")
        system.is_in_mood("forgets")
        lost = daemon.ended(job["id"])
        assert (lost["status"], lost["condition"], lost["evidence"]) == ("FAILED", "LOST", "absence")
        system.says("ENDED 0")
        system.is_in_mood()
        corrected = daemon.in_status(job["id"], "FINISHED")
        assert (corrected["condition"], corrected["exitCode"]) == ("NORMAL", 0)
        assert "CORRECTED" in [event["status"] for event in daemon.client().history(job["id"])]


def test_T4_an_outage_does_not_count_towards_lost(short_dir, system):
    with RunningDaemon(short_dir, system.configuration(lostAfter=2)) as daemon:
        job = daemon.submit("x")
        daemon.in_status(job["id"], "QUEUED")
        system.is_in_mood("down")
        before = system.calls("poll")
        until(lambda: system.calls("poll") > before + 40)  # four seconds and more of failed answers
        system.is_in_mood("forgets")
        before = system.calls("poll")
        until(lambda: system.calls("poll") > before + 3)
        assert daemon.client().show(job["id"])["status"] == "QUEUED"
        system.is_in_mood()
        system.says("ENDED 0")
        daemon.ended(job["id"])


def test_T6_stopped_only_when_the_system_says_so(short_dir, system):
    with RunningDaemon(short_dir, "killWait: 1\n" + system.configuration()) as daemon:
        job = daemon.submit("x")
        daemon.in_status(job["id"], "QUEUED")
        system.is_in_mood("ignores kills")
        answer = daemon.curl("-w", "%{http_code}", "-d", "action=kill", f"http://jobd/jobs/v2/{job['id']}")
        assert answer.stdout.endswith("202")
        assert daemon.client().show(job["id"])["status"] == "QUEUED"
        system.is_in_mood()
        stopped = daemon.ended(job["id"])
        assert (stopped["status"], stopped["condition"]) == ("STOPPED", "KILLED")


def test_T6_a_kill_is_carried_out_when_the_system_is_back_and_over_a_restart(short_dir, system):
    with RunningDaemon(short_dir, "killWait: 0.5\n" + system.configuration()) as daemon:
        job = daemon.submit("x")
        daemon.in_status(job["id"], "QUEUED")
        system.is_in_mood("down")
        daemon.curl("-d", "action=stop", f"http://jobd/jobs/v2/{job['id']}")
        daemon.kill9()
        daemon.start()
        system.is_in_mood()
        assert daemon.ended(job["id"])["status"] == "STOPPED"


def test_T7_a_kill_during_the_hand_over_reaches_the_job_that_comes_out(short_dir, system):
    with RunningDaemon(short_dir, "killWait: 0.5\n" + system.configuration()) as daemon:
        system.is_in_mood("takes and denies")
        job = daemon.submit("x")
        until(system.submitted)
        daemon.curl("-d", "action=stop", f"http://jobd/jobs/v2/{job['id']}")
        system.is_in_mood()
        assert daemon.ended(job["id"])["status"] == "STOPPED"
        assert system.calls("kill") >= 1


def test_T7_a_kill_of_what_was_never_taken_submits_nothing(short_dir, system):
    with RunningDaemon(short_dir, "killWait: 0.5\n" + system.configuration()) as daemon:
        system.is_in_mood("down")
        job = daemon.submit("x")
        until(lambda: system.calls("find"))
        daemon.curl("-d", "action=stop", f"http://jobd/jobs/v2/{job['id']}")
        system.is_in_mood()
        assert daemon.ended(job["id"])["status"] == "STOPPED"
        assert system.submitted() == []


def test_T9_one_poll_for_all_jobs(daemon, system):
    jobs = [daemon.submit("x") for _ in range(20)]
    for job in jobs:
        daemon.in_status(job["id"], "QUEUED")
    before = system.calls("poll")
    system.says("ENDED 0")
    for job in jobs:
        daemon.ended(job["id"])
    assert system.calls("poll") - before < 20


def test_T9_a_system_that_is_down_is_not_asked_once_for_each_job(daemon, system):
    taken = daemon.submit("x")
    daemon.in_status(taken["id"], "QUEUED")
    system.is_in_mood("unreachable")
    waiting = [daemon.submit("x") for _ in range(20)]
    until(lambda: "nobody answers there" in str(daemon.client().why(taken["id"])))
    before = sum(map(system.calls, ("submit", "find", "poll")))
    with pytest.raises(Unavailable):
        daemon.client(patience=0).hold(taken["id"])
    until(lambda: sum(map(system.calls, ("submit", "find", "poll"))) > before)
    assert sum(map(system.calls, ("submit", "find", "poll"))) < 15
    system.is_in_mood()
    for job in waiting:
        daemon.in_status(job["id"], "QUEUED")
    assert sorted(system.submitted()) == sorted(job["id"] for job in [taken, *waiting])


def test_hold_and_release_of_what_the_system_has(daemon, system):
    client = daemon.client()
    job = daemon.submit("x")
    daemon.in_status(job["id"], "QUEUED")
    assert client.hold(job["id"])["status"] == "PAUSED"
    assert client.release(job["id"])["status"] == "QUEUED"
    system.says("RUNNING")
    daemon.in_status(job["id"], "RUNNING")
    with pytest.raises(Conflict):
        client.hold(job["id"])


def test_resolve_by_a_person(daemon, system):
    client = daemon.client()
    system.is_in_mood("down")
    job = daemon.submit("x")
    until(lambda: system.calls("find"))
    resolved = client.resolve(job["id"], local_id="c-42")
    assert (resolved["status"], resolved["localId"]) == ("QUEUED", "c-42")
    with pytest.raises(Conflict):
        client.resolve(job["id"], never_submitted=True)


def test_a_reload_is_all_or_nothing(daemon, system):
    job = daemon.submit("x")
    daemon.in_status(job["id"], "QUEUED")
    good = daemon.config.read_text()
    for wrong, words in [
        ("systems: [{id: other}]\n", "active jobs on clumsy"),
        (good + "nonsense: 1\n", "nonsense"),
        (good.replace("directory:", "dir:"), "options.directory is missing"),
        (good.replace("Clumsy\n", "Nobody\n"), "no backend"),
        (good + f"stateDir: {daemon.directory}/elsewhere\n", ""),
    ]:
        daemon.config.write_text(wrong)
        before = daemon.logged().count("stays as it was")
        daemon.hangup()
        if words:
            until(lambda before=before: daemon.logged().count("stays as it was") > before)
            assert words in daemon.logged()
    daemon.config.write_text(good + "  - id: second\n    description: new\n")
    daemon.hangup()
    until(lambda: len(daemon.client().systems()) == 2)
    system.says("ENDED 0")
    assert daemon.ended(job["id"])["status"] == "FINISHED"


def test_a_backend_whose_find_has_a_bug_is_asked_again(daemon, system):
    system.is_in_mood("takes and denies", "finds badly")
    job = daemon.submit("x")
    before = system.calls("find")
    until(lambda: system.calls("find") > before + 1)
    system.is_in_mood()
    daemon.in_status(job["id"], "QUEUED")
    assert system.submitted() == [job["id"]]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise RuntimeError('on import')", "on import"),
        ("def f(:", "invalid syntax"),
        ("Backend = 3", "not a subclass"),
    ],
)
def test_a_backend_that_cannot_be_loaded_is_one_line(short_dir, source, words):
    (short_dir / "broken.py").write_text(source)
    config = "systems: [{id: x, backend: broken.Backend}]\n"
    daemon = RunningDaemon(short_dir, config, PYTHONPATH=f"{short_dir}:{Path(__file__).parent.parent}")
    for verb in ([], ["check-config"]):
        command = [sys.executable, "-m", "jobd.daemon", *verb]
        answer = subprocess.run(
            command, env=daemon.environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert answer.returncode == 78
        assert words in answer.stderr
        assert len(answer.stderr.splitlines()) == 1


def test_T9_what_is_never_taken_is_tried_less_and_less_often(daemon, system):
    """A system that refuses nothing and takes nothing must not be hammered."""
    system.is_in_mood("loses")
    job = daemon.submit("x")
    until(lambda: daemon.client().show(job["id"])["attempt"] >= 3)
    told = daemon.client().history(job["id"])
    handed = [event["created"] for event in told if event["status"] == "SUBMITTING"]
    pauses = [seconds(later) - seconds(sooner) for sooner, later in itertools.pairwise(handed)]
    assert pauses[1] > pauses[0] > 1
    system.is_in_mood()
    daemon.in_status(job["id"], "QUEUED")


def test_T2_a_reload_in_the_middle_of_a_hand_over_does_not_begin_it_again(daemon, system):
    system.is_in_mood("hangs")
    job = daemon.submit("x")
    until(lambda: system.calls("submit"))
    daemon.config.write_text(daemon.config.read_text() + "    description: another\n    concurrency: 2\n")
    daemon.hangup()
    until(lambda: "was read again" in daemon.logged())
    second = daemon.submit("y")
    system.is_in_mood()
    for one in (job, second):
        assert daemon.in_status(one["id"], "QUEUED")["attempt"] == 1
    assert sorted(system.submitted()) == sorted([job["id"], second["id"]])


def test_a_kill_that_jobd_was_not_asked_for_is_nobodys(daemon, system):
    job = daemon.submit("x")
    daemon.in_status(job["id"], "QUEUED")
    system.says("KILLED")
    assert daemon.ended(job["id"])["condition"] == "KILLED"
    last = list(daemon.client().history(job["id"]))[-1]
    assert (last["createdBy"], last["description"]) == ("jobd", "Killed, and not through jobd.")


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
