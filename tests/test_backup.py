"""Backup while the daemon runs, and restore: whole or not at all, nothing overwritten, nothing run twice."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jobd.store.store import lock
from tests.clumsy import System
from tests.daemon import RunningDaemon, until

ONE_SLOT = "systems: [{id: local, slots: {processors: 1}}]\n"


def jobd(daemon: RunningDaemon, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobd.daemon", *map(str, words)]
    environment, place = daemon.environment, daemon.directory
    return subprocess.run(
        command, env=environment, cwd=place, capture_output=True, text=True, timeout=60, check=False
    )


def backed_up(daemon: RunningDaemon, name: str = "a copy?#.db") -> Path:
    file = daemon.directory / name
    done = jobd(daemon, "backup", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return file


def restored(daemon: RunningDaemon, file: Path) -> str:
    daemon.stop()
    done = jobd(daemon, "restore", file)
    assert done.returncode == 0, done.stderr
    daemon.start()
    return done.stdout


def test_a_backup_is_one_consistent_file_for_its_owner_alone(daemon: RunningDaemon) -> None:
    """Made again and again while jobs come and go."""
    client, seen = daemon.client(), []
    for _ in range(5):
        client.submit_many([{"name": "x", "command": ["true"]}] * 20)
        file = backed_up(daemon)
        with sqlite3.connect(file) as sql:
            assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert sql.execute("PRAGMA journal_mode").fetchone() == ("delete",)
            (jobs,) = sql.execute("SELECT count(*) FROM job").fetchone()
            (told,) = sql.execute("SELECT count(*) FROM history WHERE status = 'PENDING'").fetchone()
        assert jobs == told
        seen.append(jobs)
    assert seen == [20, 40, 60, 80, 100], "all that was acknowledged before"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not [name for name in os.listdir(daemon.directory) if name.startswith(".a copy")]


def test_a_backup_that_cannot_be_written_leaves_the_last_one(daemon: RunningDaemon) -> None:
    file = backed_up(daemon)
    before = file.read_bytes()
    assert jobd(daemon, "backup", daemon.directory / "none" / "x").returncode == 73
    assert file.read_bytes() == before


def test_a_backup_without_a_daemon_or_without_a_store(daemon: RunningDaemon, tmp_path: Path) -> None:
    job = daemon.run("true")
    daemon.stop()
    file = backed_up(daemon)
    with sqlite3.connect(file) as sql:
        assert sql.execute("SELECT id FROM job").fetchall() == [(job["id"],)]
    daemon.environment["JOBD_STATE_DIR"] = str(tmp_path)
    done = jobd(daemon, "backup", file)
    daemon.environment["JOBD_STATE_DIR"] = str(daemon.state)
    assert (done.returncode, "there is no store" in done.stderr) == (78, True)


def test_what_was_there_comes_back_and_what_is_replaced_is_kept(daemon: RunningDaemon) -> None:
    before = daemon.run("sh", "-c", "echo before; exit 3")
    file = backed_up(daemon)
    after = daemon.run("true")
    told = restored(daemon, file)
    client = daemon.client()
    assert [job["id"] for job in client.list()] == [before["id"]]
    assert client.show(before["id"])["exitCode"] == 3
    assert b"".join(client.logs(before["id"])) == b"before\n"
    (kept,) = daemon.state.glob("jobd.db.replaced-*")
    assert str(kept) in told
    with sqlite3.connect(kept) as sql:
        assert {one for (one,) in sql.execute("SELECT id FROM job")} == {before["id"], after["id"]}
    assert stat.S_IMODE((daemon.state / "jobd.db").stat().st_mode) == 0o600
    assert daemon.run("true")["status"] == "FINISHED"


def test_a_restore_beside_a_running_daemon_is_refused(daemon: RunningDaemon) -> None:
    file = backed_up(daemon)
    done = jobd(daemon, "restore", file)
    assert (done.returncode, "another jobd holds" in done.stderr) == (75, True)


@pytest.mark.parametrize("kind", ["newer", "foreign", "text", "damaged", "none"])
def test_what_is_not_to_be_restored_is_refused_and_nothing_is_touched(
    daemon: RunningDaemon, kind: str
) -> None:
    daemon.client().submit_many([{"name": "x" * 60, "command": ["true"] * 50}] * 100)
    file = backed_up(daemon)
    daemon.stop()
    spoil(file, kind)
    before = (daemon.state / "jobd.db").read_bytes()
    done = jobd(daemon, "restore", file)
    assert done.returncode == 78
    words = {"newer": "newer than this jobd", "damaged": "damaged", "none": "there is no file"}
    assert words.get(kind, "not a backup of jobd's") in done.stderr
    assert str(file) in done.stderr
    assert (daemon.state / "jobd.db").read_bytes() == before
    assert sorted(daemon.state.glob("*jobd.db*")) == [daemon.state / "jobd.db"]


def spoil(file: Path, kind: str) -> None:
    match kind:
        case "newer":
            with sqlite3.connect(file) as sql:
                sql.execute("INSERT INTO schema_migration (name, applied) VALUES ('9999_x', '2099-01-01')")
        case "foreign":
            with sqlite3.connect(file) as sql:
                sql.execute("PRAGMA application_id = 7")
        case "text":
            file.write_text("my notes\n" * 1000)
        case "damaged":
            content = bytearray(file.read_bytes())
            content[4096 * 8 : 4096 * 12] = b"\xff" * 4096 * 4
            file.write_bytes(content)
        case _:
            file.unlink()


# nothing runs twice


def test_T2_what_waited_at_the_backup_is_held_and_runs_only_if_a_person_says_so(short_dir: Path) -> None:
    with RunningDaemon(short_dir, ONE_SLOT) as daemon:
        client = daemon.client()
        blocker = daemon.submit("sleep", "1000")
        daemon.in_status(blocker["id"], "RUNNING")
        names = ("ran", "waits", "paused")
        ran, waits, paused = (daemon.submit("sh", "-c", f"echo run >> {short_dir}/{one}") for one in names)
        client.hold(paused["id"])
        daemon.in_status(ran["id"], "STAGED")
        file = backed_up(daemon)
        client.kill(blocker["id"])
        for job in (ran, waits):
            daemon.ended(job["id"])
        client.release(paused["id"])
        daemon.ended(paused["id"])
        told = restored(daemon, file)
        assert "3 jobs" in told
        blocked = until(lambda: client.show(blocker["id"])["endTime"] and client.show(blocker["id"]))
        assert (blocked["status"], blocked["condition"]) in (("STOPPED", "KILLED"), ("FAILED", "LOST"))
        assert daemon.run("true")["status"] == "FINISHED", "there is a free slot, and nobody takes it"
        for job in (ran, waits, paused):
            shown = client.show(job["id"])
            assert (shown["status"], "it may have run" in shown["reason"]) == ("PAUSED", True)
            assert "STORE_RESTORED" in [event["status"] for event in client.history(job["id"])]
        client.release(waits["id"])
        assert "restored" not in daemon.ended(waits["id"])["details"]
        killed = client.kill(paused["id"])
        assert (killed["status"], killed["evidence"]) == ("STOPPED", "not known to have been handed over")
        runs = {one: (short_dir / one).read_text().count("run") for one in names}
        assert runs == {"ran": 1, "waits": 2, "paused": 1}


def test_T2_what_was_being_handed_over_is_found_or_held_never_handed_over_again(short_dir: Path) -> None:
    system = System(short_dir / "system")
    with RunningDaemon(short_dir, system.configuration()) as daemon:
        client = daemon.client()
        system.is_in_mood("takes and denies")
        known, forgotten = daemon.submit("x"), daemon.submit("y")
        until(lambda: len(system.submitted()) == 2)
        file = backed_up(daemon)
        system.is_in_mood()
        for job in (known, forgotten):
            daemon.in_status(job["id"], "QUEUED")
        (system.directory / "jobs" / client.show(forgotten["id"])["tag"]).unlink()
        restored(daemon, file)
        daemon.in_status(known["id"], "QUEUED")
        held = daemon.in_status(forgotten["id"], "PAUSED")
        assert "clumsy knows nothing of it" in held["reason"]
        assert sorted(system.submitted()) == sorted([known["id"], forgotten["id"]])
        client.release(forgotten["id"])
        daemon.in_status(forgotten["id"], "QUEUED")
        assert system.submitted().count(forgotten["id"]) == 2, "as a person has said"
        system.says("ENDED 0")
        daemon.ended(known["id"])


def test_T8_what_runs_over_a_restore_runs_on_and_what_is_unknown_is_named(short_dir: Path) -> None:
    with RunningDaemon(short_dir) as daemon:
        gate = short_dir / "gate"
        runs = daemon.submit("sh", "-c", f"until [ -e {gate} ]; do sleep 0.05; done; exit 7")
        daemon.in_status(runs["id"], "RUNNING")
        file = backed_up(daemon)
        later = daemon.submit("sh", "-c", f"until [ -e {gate} ]; do sleep 0.05; done")
        tag = daemon.in_status(later["id"], "RUNNING")["tag"]
        assert tag in restored(daemon, file)
        assert daemon.client().show(runs["id"])["status"] == "RUNNING"
        gate.touch()
        assert daemon.ended(runs["id"])["exitCode"] == 7


def test_a_restore_over_a_damaged_store_keeps_that_too(short_dir: Path) -> None:
    with RunningDaemon(short_dir) as daemon:
        job = daemon.run("true")
        file = backed_up(daemon)
        daemon.stop()
        (daemon.state / "jobd.db").write_bytes(b"garbage" * 1000)
        (daemon.state / "jobd.db-wal").write_bytes(b"more garbage")
        assert jobd(daemon, "restore", file).returncode == 0
        (kept,) = daemon.state.glob("jobd.db.replaced-*[0-9]")
        assert kept.read_bytes() == b"garbage" * 1000
        daemon.start()
        assert daemon.client().show(job["id"])["status"] == "FINISHED"


def test_a_restore_into_an_empty_place(short_dir: Path, daemon: RunningDaemon) -> None:
    """On another machine, say."""
    job = daemon.run("true")
    file = backed_up(daemon)
    other = short_dir / "other"
    other.mkdir()
    with_it = RunningDaemon(other)
    assert jobd(with_it, "restore", file).returncode == 0
    os.close(lock(with_it.state, {}))
    with with_it:
        assert with_it.client().show(job["id"])["status"] == "FINISHED"
