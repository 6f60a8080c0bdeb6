"""Staging, archiving and purging for several users through the system's daemon: as the job's owner, with no
more rights than theirs, whatever they put in the way."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests import processes, web
from tests.daemon import until
from tests.people import SystemDaemon, User, daemon_with, needs_people
from tests.test_transfers import errand
from tests.transfers import CONFIG, add_job, item

pytestmark = needs_people

daemon = daemon_with(CONFIG)


def job_of(daemon: SystemDaemon, user: User, *command: str, **facts: Any) -> dict[str, Any]:
    return add_job(daemon, *command, owner=user.name, place=user.home / "jobd", **facts)


def owners(place: Path) -> set[int]:
    return {path.lstat().st_uid for path in (place, *place.rglob("*"))}


def test_inputs_and_outputs_are_their_owners_through_and_through(daemon, lab):
    alice = lab.alice
    alice.call(lambda: (alice.home / "data").write_text("mine"))
    plan = (item(alice.home / "data"),)
    archive = alice.home / "archive/one"
    made = daemon.ended(job_of(daemon, alice, "sh", "-c", "cp data out", staging=plan, archive=archive)["id"])
    assert (made["status"], made["exitCode"]) == ("FINISHED", 0)
    assert owners(alice.home / "archive") == {alice.uid}
    assert (archive / "out").read_text() == "mine"
    assert archive.stat().st_mode & 0o777 == 0o700
    assert not Path(made["workPath"]).exists()
    listed = daemon.as_user(alice, lambda client: [entry["name"] for entry in client.outputs(made["id"])])
    assert "out" in listed


@pytest.mark.parametrize("trick", ["bob's", "root's", "a link to root's", "a directory with root's in it"])
def test_what_she_may_not_read_is_not_staged(daemon, lab, trick):
    alice, bob = lab.alice, lab.bob
    secret = lab.directory(f"secret-{trick[-4]}{len(trick)}") / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    source = alice.home / f"source-{len(trick)}"
    if trick == "bob's":
        source = bob.home / "private"
        bob.call(lambda: source.write_text("bob's"))
    elif trick == "root's":
        source = secret
    elif trick == "a link to root's":
        alice.call(lambda: source.symlink_to(secret))
    else:
        alice.call(source.mkdir)
        (source / "inner").write_text("root's")
        (source / "inner").chmod(0o600)
    ended = daemon.ended(job_of(daemon, alice, "cat", "data", staging=(item(source),))["id"])
    assert (ended["status"], ended["condition"]) == ("FAILED", "STAGING_FAILED")
    assert ended["message"].startswith(f"input dataset ({source}): ")
    assert "may not be read" in ended["message"]


def test_a_work_directory_that_is_a_link_leads_nowhere(daemon, lab):
    """Put there before it is staged: nothing is made where the link leads with more rights than hers."""
    alice = lab.alice
    alice.call(lambda: (alice.home / "data").write_text("mine"))
    alice.call(lambda: (alice.home / "elsewhere").mkdir())
    alice.call(lambda: (alice.home / "elsewhere/kept").write_text("kept"))
    for target in (Path("/root"), lab.bob.home, alice.home / "elsewhere"):
        place = alice.home / f"trap-{target.name}"
        alice.call(lambda place=place, target=target: place.symlink_to(target))
        job = add_job(daemon, "true", owner="alice", place=place, staging=(item(alice.home / "data"),))
        ended = daemon.ended(job["id"])
        if target == alice.home / "elsewhere":  # it is hers, and she may have it there
            assert ended["status"] == "FINISHED"
        else:
            assert ended["condition"] == "STAGING_FAILED"
            assert not list(target.glob("job-*"))
    assert (alice.home / "elsewhere/kept").read_text() == "kept"


def test_where_she_may_not_write_nothing_is_archived(daemon, lab):
    for place in (Path("/root/archive"), lab.bob.home / "archive"):
        ended = daemon.ended(job_of(daemon, lab.alice, "sh", "-c", "echo x > out", archive=place)["id"])
        assert (ended["status"], ended["condition"], ended["exitCode"]) == ("FAILED", "ARCHIVING_FAILED", 0)
        assert "Permission denied" in ended["message"]
        assert not place.exists()
        assert (Path(ended["workPath"]) / "out").read_text() == "x\n"


def test_a_link_among_the_outputs_is_archived_as_a_link(daemon, lab):
    archive = lab.alice.home / "archive/link"
    script = "ln -s /etc/shadow shadow; ln -s /root root; echo x > out"
    ended = daemon.ended(job_of(daemon, lab.alice, "sh", "-c", script, archive=archive)["id"])
    assert ended["status"] == "FINISHED"
    assert os.readlink(archive / "shadow") == "/etc/shadow"
    assert os.readlink(archive / "root") == "/root"


def test_directories_that_even_she_may_not_write_to(daemon, lab):
    """Such as those of a cache that a program has locked: archived, and removed, all the same."""
    alice = lab.alice
    script = (
        "mkdir -p cache/deep; echo x > cache/deep/file; chmod 0444 cache/*/file; chmod 0555 cache/deep cache"
    )
    for name in ("fresh", "used"):
        archive = alice.home / "archive" / name
        if name == "used":
            alice.call(lambda archive=archive: (archive / "cache").mkdir(parents=True))
            alice.call(lambda archive=archive: (archive / "theirs").touch())
        ended = daemon.ended(job_of(daemon, alice, "sh", "-c", script, archive=archive)["id"])
        assert (ended["status"], ended["message"]) == ("FINISHED", None)
        assert (archive / "cache/deep/file").read_text() == "x\n"
        assert (archive / "cache/deep").stat().st_mode & 0o777 == 0o555
        assert not Path(ended["workPath"]).exists()


def test_a_directory_swapped_for_a_link_before_it_is_removed(daemon, lab):
    """The archive she was given becomes a link to bob's: purging goes by the mark, as her."""
    alice, bob = lab.alice, lab.bob
    archive = alice.home / "archive/swapped"
    job = daemon.ended(job_of(daemon, alice, "sh", "-c", "echo x > out", archive=archive)["id"])
    bob.call(lambda: (bob.home / "his").mkdir())
    bob.call(lambda: (bob.home / "his/.jobd").write_text(f"{job['id']}\n"))
    bob.call(lambda: (bob.home / "his/file").write_text("his"))
    bob.home.chmod(0o755)
    alice.call(lambda: os.rename(archive, archive.with_name("away")))
    alice.call(lambda: archive.symlink_to(bob.home / "his"))
    daemon.as_user(alice, lambda client: client.delete(job["id"]) and None)
    daemon.config.write_text(CONFIG + "purgeAfter: 1\n")
    daemon.hangup()
    try:
        until(lambda: "stay for now" in daemon.logged(), what="it was tried")
        assert (bob.home / "his/file").read_text() == "his"
    finally:
        daemon.config.write_text(CONFIG)
        daemon.hangup()


def test_errands_run_as_the_owner_who_can_end_them(daemon, lab):
    with web.server() as server:
        server.page("/slow", lambda visit: web.whole(visit) if visit.number else web.drips(visit))
        job = job_of(daemon, lab.bob, "wc", "-c", "data", staging=(item(server.url("/slow")),))
        until(lambda: server.visits, what="it is under way")
        pid = errand(daemon)
        status = Path(f"/proc/{pid}/status").read_text()
        assert f"Uid:\t{lab.bob.uid}\t{lab.bob.uid}\t{lab.bob.uid}\t{lab.bob.uid}" in status
        lab.bob.call(lambda: os.kill(pid, signal.SIGKILL))
        until(lambda: processes.gone(pid), what="it is ended")
        assert daemon.ended(job["id"])["exitCode"] == 0


def test_inputs_from_afar_with_all_that_can_happen_to_them(daemon, lab):
    """Whatever that takes of Python's library is there before a process becomes somebody who may not be able
    to read it."""
    with web.server() as server:
        pages = (web.breaks_off, web.to(server.page("/whole", web.whole)), web.busy_at_first)
        plan = tuple(item(server.page(f"/{at}", page), f"data-{at}") for at, page in enumerate(pages))
        ended = daemon.ended(job_of(daemon, lab.alice, "cmp", "data-0", "data-1", staging=plan)["id"])
        assert ended["exitCode"] == 0
        for page, words in (web.missing, "404 Not Found"), (web.to("ftp://x/"), "neither http nor https"):
            plan = (item(server.page("/wrong", page)),)
            assert words in daemon.ended(job_of(daemon, lab.alice, "true", staging=plan)["id"])["message"]
    for url, words in (
        ("http://no.such.host.invalid/", "cannot be reached"),
        ("https://127.0.0.1:1/", "refused"),
    ):
        ended = daemon.ended(job_of(daemon, lab.alice, "true", staging=(item(url),))["id"], 60)
        assert words in ended["message"]
