"""Staging and archiving by a real daemon: what a job gets, what it leaves, and what becomes of both whatever
is killed, and whenever."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import pytest

from jobd.errors import NotFound
from tests import processes, web
from tests.clumsy import System
from tests.daemon import RunningDaemon, until
from tests.test_backup import backed_up, restored
from tests.test_crash import seed  # noqa: F401
from tests.test_staging import sha
from tests.transfers import CONFIG, add_job, item, outputs_of, staged_of

Job = dict[str, Any]


@pytest.fixture
def daemon(short_dir: Path) -> Iterator[RunningDaemon]:
    with RunningDaemon(short_dir, CONFIG) as running:
        yield running


@pytest.fixture
def server() -> Iterator[web.Server]:
    with web.server() as running:
        yield running


@pytest.fixture
def archive(short_dir: Path) -> Path:
    return short_dir / "archive/of-the-job"


def told(daemon: RunningDaemon, job: Job) -> list[str]:
    return [event["status"] for event in daemon.client().history(job["id"])]


def runners(daemon: RunningDaemon) -> list[int]:
    """The runner of that daemon, and its forks, which do the errands."""
    assert daemon.process is not None
    own = [pid for pid in processes.pids() if processes.name(pid) == "jobd-runner"]
    first = [pid for pid in own if processes.parent(pid) == daemon.process.pid]
    return first + [pid for pid in own if processes.parent(pid) in first]


def errand(daemon: RunningDaemon) -> int:
    """The fork that is under way."""
    return until(lambda: next(iter(runners(daemon)[1:]), 0), what="an errand is under way")


# ---- staging


def test_a_job_finds_its_inputs_where_it_runs(daemon, server, short_dir):
    (short_dir / "data.csv").write_text("1,2\n")
    plan = (item(short_dir / "data.csv", "data.csv"), item(server.page("/f", web.whole), "from-afar"))
    job = add_job(daemon, "sh", "-c", "cat data.csv; wc -c < from-afar", staging=plan)
    ended = daemon.ended(job["id"])
    assert (ended["status"], ended["exitCode"]) == ("FINISHED", 0)
    assert b"".join(daemon.client().logs(job["id"])).split() == [b"1,2", b"1048576"]
    assert told(daemon, job)[:3] == ["PENDING", "STAGING_INPUTS", "STAGED"]
    found = {one.name: (one.size, one.sha256) for one in staged_of(daemon, job["id"])}
    assert found == {"data.csv": (4, sha(b"1,2\n")), "from-afar": (len(web.CONTENT), sha(web.CONTENT))}


def test_what_cannot_be_staged_ends_the_job_and_says_which_and_why(daemon, short_dir):
    (short_dir / "there").write_text("x")
    plan = (item(short_dir / "there", "a"), item(short_dir / "not-there", "b"))
    ended = daemon.ended(add_job(daemon, staging=plan)["id"])
    assert (ended["status"], ended["condition"], ended["exitCode"]) == ("FAILED", "STAGING_FAILED", None)
    assert ended["message"] == f"input dataset ({short_dir}/not-there): there is no such file or directory"
    assert "not-there" in daemon.client().why(ended["id"])["why"]
    assert not Path(ended["workPath"]).exists(), "copies that nobody needs are not left behind"
    assert staged_of(daemon, ended["id"]) == []


def test_a_content_that_is_not_the_expected_one_ends_the_job(daemon, short_dir):
    (short_dir / "data").write_text("new")
    ended = daemon.ended(add_job(daemon, staging=(item(short_dir / "data", sha256=sha(b"old")),))["id"])
    assert ended["condition"] == "STAGING_FAILED"
    assert "input dataset" in ended["message"]
    assert sha(b"old") in ended["message"]


@pytest.fixture
def dripping(daemon: RunningDaemon, server: web.Server) -> Job:
    """A job whose input comes for ever, a byte at a time."""
    job = add_job(daemon, staging=(item(server.page("/drips", web.drips)),))
    return daemon.in_status(job["id"], "STAGING_INPUTS")


def test_how_far_staging_is_can_be_seen(daemon, dripping):
    why = until(lambda: "so far" in daemon.client().why(dripping["id"])["why"] and "said")
    assert why
    progress = daemon.client().show(dripping["id"])["details"]["progress"]
    assert progress["bytes"] > 0
    assert "dataset" in progress["doing"]


def test_a_kill_ends_staging(daemon, dripping):
    pid = errand(daemon)
    killed = daemon.client().kill(dripping["id"])
    assert (killed["status"], killed["condition"]) == ("STOPPED", "KILLED")
    assert processes.gone(pid)
    assert not Path(killed["workPath"]).exists()
    assert told(daemon, killed)[-2:] == ["KILL_ASKED", "STOPPED"]


def test_a_delete_ends_staging_and_hides(daemon, dripping):
    daemon.client().delete(dripping["id"])
    with pytest.raises(NotFound):
        daemon.client().show(dripping["id"])


def test_a_kill_is_carried_out_by_the_next_daemon(daemon, dripping):
    daemon.process.send_signal(signal.SIGSTOP)  # so that nobody carries it out
    daemon.kill9()
    import sqlite3

    with sqlite3.connect(daemon.state / "jobd.db") as sql:
        sql.execute("UPDATE job SET kill_asked = 1, kill_asked_by = 'me' WHERE id = ?", (dripping["id"],))
    sql.close()
    daemon.start()
    assert daemon.ended(dripping["id"])["condition"] == "KILLED"


def test_T2_what_waited_for_inputs_at_a_backup_is_held(daemon, dripping, server):
    """It may have run since."""
    file = backed_up(daemon)
    assert "1 job" in restored(daemon, file)
    held = daemon.client().show(dripping["id"])
    assert (held["status"], "it may have run" in held["reason"]) == ("PAUSED", True)
    server.page("/drips", web.whole)
    daemon.client().release(dripping["id"])
    assert daemon.ended(dripping["id"])["status"] == "FINISHED"


def test_a_killed_errand_is_begun_again(daemon, short_dir, server):
    server.page("/slow", lambda visit: web.whole(visit) if visit.number else web.drips(visit))
    job = add_job(daemon, "cmp", "data", str(short_dir / "whole"), staging=(item(server.url("/slow")),))
    (short_dir / "whole").write_bytes(web.CONTENT)
    until(lambda: server.visits, what="it is under way")
    os.kill(errand(daemon), signal.SIGKILL)
    trouble = until(lambda: "tried again" in daemon.client().why(job["id"])["why"])
    assert trouble
    assert daemon.ended(job["id"])["exitCode"] == 0


def test_a_daemon_that_ends_takes_its_errands_along(daemon, dripping):
    pid = errand(daemon)
    assert daemon.stop() == 0
    until(lambda: processes.gone(pid), 5, "the errand ends with its daemon")
    daemon.start()
    pid = errand(daemon)
    daemon.kill9()
    until(lambda: processes.gone(pid), 5, "the errand ends with its daemon, however that ends")
    daemon.start()
    errand(daemon)
    daemon.client().kill(dripping["id"])


def test_so_many_at_a_time_and_so_many_of_one_user(daemon, server):
    url = server.page("/drips", web.drips)
    jobs = [add_job(daemon, staging=(item(url),)) for _ in range(5)]
    until(lambda: sum(path == "/drips" for path, _ in server.visits) == 3, what="three are under way")
    Event().wait(0.5)  # sweeps go by
    statuses = [daemon.client().show(job["id"])["status"] for job in jobs]
    assert statuses == ["STAGING_INPUTS"] * 5
    assert sum(path == "/drips" for path, _ in server.visits) == 3
    assert "its turn" in daemon.client().show(jobs[4]["id"])["message"]
    assert daemon.client().kill(jobs[4]["id"])["status"] == "STOPPED", "though nobody is at it"
    assert daemon.client().kill(jobs[0]["id"])["status"] == "STOPPED"
    until(lambda: sum(path == "/drips" for path, _ in server.visits) == 4, what="the next one has its turn")
    for job in jobs:
        daemon.client().kill(job["id"])


# ---- archiving

SCRIPT = "echo out > out.txt; mkdir plots; echo svg > plots/a.svg; echo log; exit "


def test_what_a_job_has_made_goes_to_its_archive(daemon, archive, short_dir):
    (short_dir / "data.csv").write_text("input")
    plan = (item(short_dir / "data.csv", "data.csv"),)
    job = add_job(daemon, "sh", "-c", SCRIPT + "0", staging=plan, archive=archive)
    ended = daemon.ended(job["id"])
    assert (ended["status"], ended["exitCode"], ended["condition"]) == ("FINISHED", 0, "NORMAL")
    assert told(daemon, job)[-3:] == ["CLEANING_UP", "ARCHIVING", "FINISHED"]
    assert 'jobd_ended_total{condition="NORMAL"} 1' in daemon.curl("http://localhost/metrics").stdout
    log = f"test-{job['id']}.out"
    assert {path.name for path in archive.iterdir()} == {
        ".jobd", "out.txt", "plots", log, log.replace(".out", ".err"),
    }  # fmt: skip
    assert not Path(ended["workPath"]).exists()
    found = {one.path: one.sha256 for one in outputs_of(daemon, job["id"])}
    assert found["plots/a.svg"] == sha(b"svg\n")
    client = daemon.client()
    names = {path.name for path in archive.iterdir()} - {".jobd"}
    assert {entry["name"] for entry in client.outputs(job["id"])} == names
    assert b"".join(client.logs(job["id"])) == b"log\n"
    assert b"".join(client.download(job["id"], "plots/a.svg")) == b"svg\n"


def test_names_that_are_no_utf8(daemon, archive, short_dir):
    (short_dir / "source").mkdir()
    (short_dir / os.fsdecode(b"source/in-\xff")).write_text("in")
    script = "cat data/*; echo out > \"$(printf 'out-\\377')\""
    plan = (item(short_dir / "source"),)
    ended = daemon.ended(add_job(daemon, "sh", "-c", script, staging=plan, archive=archive)["id"])
    assert (ended["status"], ended["exitCode"]) == ("FINISHED", 0), ended
    assert os.fsdecode(b"data/in-\xff") in {one.name for one in staged_of(daemon, ended["id"])}
    assert os.fsdecode(b"out-\xff") in {one.path for one in outputs_of(daemon, ended["id"])}
    assert (archive / os.fsdecode(b"out-\xff")).read_text() == "out\n"
    os.mkfifo(short_dir / os.fsdecode(b"source/pipe-\xff"))
    failed = daemon.ended(add_job(daemon, staging=plan)["id"])
    assert "\\udcff' in it is a FIFO" in failed["message"]


def test_failed_runs_are_archived_too_unless_that_is_not_wanted(daemon, archive):
    job = daemon.ended(add_job(daemon, "sh", "-c", SCRIPT + "3", archive=archive)["id"])
    assert (job["status"], job["exitCode"], job["condition"]) == ("FAILED", 3, "EXIT_CODE")
    assert (archive / "out.txt").exists()
    request = {"name": "test", "command": ["x"], "archiveOnAppError": False}
    other = archive.with_name("other")
    job = daemon.ended(add_job(daemon, "sh", "-c", SCRIPT + "3", archive=other, request=request)["id"])
    assert (job["status"], job["condition"]) == ("FAILED", "EXIT_CODE")
    assert not other.exists()
    assert (Path(job["workPath"]) / "out.txt").exists()


def test_a_killed_job_keeps_its_work_directory(daemon, archive):
    job = add_job(daemon, "sh", "-c", "echo x > out.txt; sleep 600", archive=archive)
    until(lambda: (Path(job["workPath"]) / "out.txt").exists())
    killed = daemon.client().kill(job["id"])
    assert (killed["status"], killed["condition"]) == ("STOPPED", "KILLED")
    assert "out.txt" in {entry["name"] for entry in daemon.client().outputs(job["id"])}


def test_what_cannot_be_archived_stays_and_is_said(daemon, archive):
    archive.mkdir(parents=True)
    (archive / "out.txt").write_text("another's")
    job = daemon.ended(add_job(daemon, "sh", "-c", SCRIPT + "0", archive=archive)["id"])
    assert (job["status"], job["condition"], job["exitCode"]) == ("FAILED", "ARCHIVING_FAILED", 0)
    assert "there is another 'out.txt' in the archive" in job["message"]
    assert "its exit code is 0" in daemon.client().why(job["id"])["why"]
    assert (archive / "out.txt").read_text() == "another's"
    assert os.listdir(archive) == ["out.txt"]
    assert b"".join(daemon.client().download(job["id"], "out.txt")) == b"out\n"
    assert b"".join(daemon.client().logs(job["id"])) == b"log\n"


def stop_errand(daemon: RunningDaemon) -> int:
    pid = errand(daemon)
    os.kill(pid, signal.SIGSTOP)
    return pid


BIG = "head -c 30000000 /dev/urandom > big; sha256sum big | cut -c1-64; exit 0"


def archiving(daemon: RunningDaemon, archive: Path) -> tuple[Job, int]:
    """A job whose outputs are just being archived, and the errand, which is stopped."""
    job = add_job(daemon, "sh", "-c", BIG, archive=archive)
    daemon.in_status(job["id"], "ARCHIVING")
    return job, stop_errand(daemon)


def test_a_delete_while_archiving_hides_at_once_and_that_goes_on(daemon, archive):
    job, pid = archiving(daemon, archive)
    daemon.client().delete(job["id"])
    with pytest.raises(NotFound):
        daemon.client().show(job["id"])
    os.kill(pid, signal.SIGCONT)
    until(lambda: (archive / "big").exists(), what="it is archived")
    restored = until(lambda: daemon.client().restore(job["id"]))
    assert daemon.ended(restored["id"])["status"] == "FINISHED"


def test_a_kill_while_archiving_changes_nothing(daemon, archive):
    job, pid = archiving(daemon, archive)
    os.kill(pid, signal.SIGCONT)
    daemon.client().kill(job["id"])
    assert daemon.ended(job["id"])["condition"] == "NORMAL"
    assert "KILL_ASKED" not in told(daemon, job)


def test_outputs_and_logs_are_served_at_every_moment(daemon, archive):
    job, pid = archiving(daemon, archive)
    digest = b"".join(daemon.client().logs(job["id"])).decode().strip()
    assert hashlib.sha256(b"".join(daemon.client().download(job["id"], "big"))).hexdigest() == digest
    os.kill(pid, signal.SIGCONT)
    while daemon.client().show(job["id"])["status"] == "ARCHIVING":
        assert b"".join(daemon.client().logs(job["id"])).decode().strip() == digest
        assert len(b"".join(daemon.client().download(job["id"], "big"))) == 30_000_000
    assert hashlib.sha256((archive / "big").read_bytes()).hexdigest() == digest


def test_any_backend_will_do(short_dir, archive):
    """As long as this machine sees the directory: here a system that has only its word for how jobs are."""
    system = System(short_dir / "system")
    (short_dir / "data").write_text("in")
    with RunningDaemon(short_dir, system.configuration()) as daemon:
        plan = (item(short_dir / "data"),)
        job = add_job(daemon, "x", staging=plan, archive=archive, system="clumsy")
        job = until(lambda: system.submitted() and daemon.client().show(job["id"]))
        work = Path(job["workPath"])
        assert (work / "data").read_text() == "in"
        system.says("RUNNING")
        daemon.in_status(job["id"], "RUNNING")
        (work / "out").write_text("out")
        system.says("ENDED 3")
        ended = daemon.ended(job["id"])
        assert (ended["status"], ended["exitCode"]) == ("FAILED", 3)
        assert {path.name for path in archive.iterdir()} == {".jobd", "out"}
        assert not work.exists()


# ---- retention


def hidden(daemon: RunningDaemon, archive: Path) -> Job:
    """A job with outputs in its archive, deleted."""
    job = daemon.ended(add_job(daemon, "sh", "-c", SCRIPT + "0", archive=archive)["id"])
    daemon.client().delete(job["id"])
    return job


def test_files_of_deleted_jobs_are_never_removed_unless_that_is_wanted(daemon, archive):
    job = hidden(daemon, archive)
    (row,) = daemon.client().purges()
    assert (row["id"], row["due"], row["directories"]) == (job["id"], None, [str(archive)])
    said = daemon.jobctl("purge", "--preview")
    assert said.returncode == 0
    assert [job["id"], "never"] == [word for word in said.stdout.split() if word in (job["id"], "never")]
    assert daemon.jobctl("purge").returncode == 2


def test_files_of_deleted_jobs_are_removed_in_time_and_restore_says_so(short_dir, archive):
    with RunningDaemon(short_dir, CONFIG + "purgeAfter: 1\n") as daemon:
        merged = short_dir / "used"
        merged.mkdir()
        (merged / "theirs").write_text("theirs")
        other = archive.with_name("kept")
        kept = daemon.ended(add_job(daemon, "sh", "-c", SCRIPT + "0", archive=other)["id"])
        given = short_dir / "given"
        given.mkdir()
        command = daemon.run("sh", "-c", "echo x > out.txt", directory=str(given))
        daemon.client().delete(command["id"])
        jobs = [hidden(daemon, archive), hidden(daemon, merged), command]
        until(lambda: not list(daemon.client().purges()), what="all are purged")
        assert not archive.exists()
        assert not Path(command["outputPath"]).exists()
        assert (given / "out.txt").exists(), "a directory that was given is only entered"
        assert (merged / "out.txt").exists(), "it is not jobd's own"
        assert (merged / "theirs").exists()
        for job in jobs:
            restored = daemon.client().restore(job["id"])
            assert restored["purged"]
            words = [event["description"] for event in daemon.client().history(job["id"])]
            assert "Its files are gone" in words[-1]
            with pytest.raises(NotFound, match="are gone: they were removed on"):
                list(daemon.client().outputs(job["id"]))
            with pytest.raises(NotFound, match="are gone"):
                list(daemon.client().logs(job["id"]))
        assert str(merged) in words_of(daemon, jobs[1], "PURGED")
        assert daemon.client().show(kept["id"])["purged"] is None
        assert (other / "out.txt").exists()
        daemon.client().delete(jobs[0]["id"])
        said = daemon.jobctl("restore", jobs[0]["id"])
        assert "files are gone" in said.stdout + said.stderr


def words_of(daemon: RunningDaemon, job: Job, status: str) -> str:
    events = daemon.client().history(job["id"])
    return next(event["description"] for event in events if event["status"] == status)


# ---- whatever is killed, and whenever

PRODUCE = """
for i in 1 2 3 4 5 6 7 8; do mkdir -p d$i; cat data/f$i > d$i/copy; echo $i >> d$i/copy; done; rm data/f1;
exit 3
"""


@pytest.mark.slow
def test_no_half_file_is_seen_and_none_is_lost(daemon, server, short_dir, seed):  # noqa: F811
    """The daemon and its errands die at random moments of staging, running and archiving."""
    random = Random(seed)
    source = short_dir / "source"
    source.mkdir()
    contents = {f"f{i}": random.randbytes(3_000_000) for i in range(1, 9)}
    for name, content in contents.items():
        (source / name).write_bytes(content)
    url = server.page("/afar", web.breaks_off)
    archives = [short_dir / f"archive-{number}" for number in range(6)]
    plan = (item(source, "data"), item(url, "afar"))
    jobs = [add_job(daemon, "sh", "-c", PRODUCE, staging=plan, archive=place) for place in archives]
    for _ in range(14):
        Event().wait(random.random() * 0.8)
        if random.random() < 0.5:
            for pid in runners(daemon)[random.randrange(2) :]:
                processes.kill9(pid)
        else:
            daemon.kill9()
            daemon.start()
    expected = {f"d{i}/copy": sha(contents[f"f{i}"] + f"{i}\n".encode()) for i in range(1, 9)}
    for job, place in zip(jobs, archives, strict=True):
        ended = daemon.ended(job["id"], 120)
        assert (ended["exitCode"], ended["condition"], ended["status"]) == (3, "EXIT_CODE", "FAILED"), ended
        assert {
            f"{path.parent.name}/{path.name}": sha(path.read_bytes()) for path in place.glob("d*/*")
        } == expected
        recorded = {one.path: one.sha256 for one in outputs_of(daemon, job["id"])}
        assert {path: digest for path, digest in recorded.items() if path.startswith("d")} == expected
        assert not Path(ended["workPath"]).exists()
    assert [name for name in os.listdir(short_dir) if name.startswith(".jobd")] == []
    assert {path.name: sha(path.read_bytes()) for path in source.iterdir()} == {
        name: sha(content) for name, content in contents.items()
    }
