"""Jobs of several users through the system's daemon: each as whoever submitted it, and nothing of one user's,
of root's or of the daemon's for another. Real users, in a private mount namespace."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from jobd.client import Client
from jobd.errors import Forbidden, NotFound
from tests import processes
from tests.daemon import until
from tests.people import LAB, SystemDaemon, User, daemon_with, needs_people

pytestmark = needs_people

daemon = daemon_with("systems: [{id: local, slots: {processors: 8}, killGrace: 0.5}]")
WHO = 'echo "$(id -u) $(id -g) $(id -G) $HOME $USER $LOGNAME $(pwd) $(umask)"'


def output(daemon: SystemDaemon, user: User, job: dict[str, Any], stream: str = "stdout") -> str:
    text: str = daemon.as_user(
        user, lambda client: b"".join(client.logs(job["id"], stream)).decode(errors="replace")
    )
    return text


def test_a_job_is_its_owners_through_and_through(daemon, lab):
    job = daemon.run_as(lab.alice, "/bin/sh", "-c", WHO)
    assert (job["status"], job["owner"]) == ("FINISHED", "alice")
    uid, gid, *groups, home, user, login, where, umask = output(daemon, lab.alice, job).split()
    assert (int(uid), int(gid), {*map(int, groups)}) == (lab.alice.uid, lab.alice.uid, {lab.alice.uid, LAB})
    assert (home, user, login, umask) == (str(lab.alice.home), "alice", "alice", "0022")
    workspace = Path(where)
    assert workspace.parent == lab.alice.home / "jobd"
    for path in (workspace, *workspace.iterdir()):
        assert path.stat().st_uid == lab.alice.uid
    assert workspace.stat().st_mode & 0o777 == 0o700


def test_nothing_of_the_daemon_leaks_into_a_job(lab):
    """Descriptors, variables, ignored and blocked signals, the sparing by the OOM killer."""
    script = "ls -l /proc/self/fd; env; grep Sig /proc/self/status; cat /proc/self/oom_score_adj"
    with SystemDaemon(lab, name="other", NOTIFY_SOCKET="/nowhere", SECRET="of the daemon") as daemon:
        job = daemon.run_as(lab.bob, "/bin/sh", "-c", script)
        said = output(daemon, lab.bob, job)
    assert "of the daemon" not in said
    assert "NOTIFY_SOCKET" not in said
    links = [line for line in said.splitlines() if " -> " in line]
    assert len([line for line in links if "/proc/" not in line.partition(" -> ")[2]]) == 3, said
    signals = dict(
        line.split(":\t") for line in said.splitlines() if line.startswith("Sig") and ":\t" in line
    )
    assert int(signals["SigBlk"], 16) == int(signals["SigIgn"], 16) == 0
    assert int(said.splitlines()[-1]) >= 0


def test_a_directory_that_only_its_owner_may_enter(daemon, lab):
    """Entered as them: root's rights, or those of root's group, are neither needed nor used."""
    private = lab.bob.home / "private"
    lab.bob.call(lambda: private.mkdir(mode=0o700))
    job = daemon.run_as(lab.bob, "pwd", directory=str(private))
    assert output(daemon, lab.bob, job).strip() == str(private)
    refused = daemon.run_as(lab.alice, "pwd", directory=str(private))
    assert refused["condition"] == "LAUNCH_FAILED"
    assert "Permission denied" in refused["message"]


def test_a_directory_swapped_for_a_link_leads_nowhere_that_its_owner_may_not_go(daemon, lab):
    inside = lab.alice.home / "swapped"
    lab.alice.call(lambda: inside.symlink_to("/root"))
    job = daemon.run_as(lab.alice, "/bin/sh", "-c", "pwd; touch here", directory=str(inside))
    assert job["condition"] == "LAUNCH_FAILED"


@pytest.mark.parametrize("trick", ["link", "fifo", "hard link"])
def test_a_trick_in_place_of_the_log_makes_root_write_nothing(daemon, lab, trick):
    target = lab.directory(f"target-{trick.replace(' ', '-')}") / "file"
    target.write_text("root's")
    blocker = daemon.submit_as(lab.alice, "sleep", "60", processorsPerNode=8)
    daemon.in_status(blocker["id"], "RUNNING")
    job = daemon.submit_as(lab.alice, "echo", "written")

    def place() -> None:
        workspace = Path(job["workPath"])
        workspace.mkdir(parents=True)
        log = workspace / f"test-{job['id']}.out"
        if trick == "link":
            log.symlink_to(target)
        elif trick == "fifo":
            os.mkfifo(log)
        else:
            other = workspace / "other"
            other.write_text("")
            log.hardlink_to(other)

    lab.alice.call(place)
    daemon.client().kill(blocker["id"])
    ended = daemon.ended(job["id"])
    assert ended["condition"] == "LAUNCH_FAILED"
    assert "log" in ended["message"]
    assert target.read_text() == "root's"


def test_outputs_are_read_as_their_owner(daemon, lab):
    """A link out of the job's directory is not followed, whoever may read what it points to; an unreadable
    file is the owner's affair, though root could read it."""
    script = "ln -s /etc/shadow shadow; echo mine > mine; echo no > no; chmod 0 no; mkfifo fifo"
    job = daemon.run_as(lab.alice, "/bin/sh", "-c", script)

    def media(name: str) -> bytes:
        answer = daemon.curl(f"http://localhost/jobs/v2/{job['id']}/outputs/media/{name}")
        return answer.stdout.encode()

    assert media("mine") == b"mine\n"
    for name in ("shadow", "no", "fifo"):
        assert b'"status":"error"' in media(name).replace(b" ", b"")


def test_a_log_is_followed_while_it_grows(daemon, lab):
    job = daemon.submit_as(lab.bob, "/bin/sh", "-c", "echo one; sleep 0.5; echo two")
    lines = daemon.as_user(lab.bob, lambda client: b"".join(client.logs(job["id"], follow=True)).decode())
    assert lines == "one\ntwo\n"


def test_others_see_and_touch_nothing(daemon, lab):
    job = daemon.submit_as(lab.alice, "sleep", "60")

    def attempt(client: Client) -> list[str]:
        answers = []
        for deed in (client.show, client.kill, client.delete, client.resubmit, client.hold, client.why):
            try:
                deed(job["id"])
            except NotFound:
                answers.append("404")
        return answers

    assert daemon.as_user(lab.bob, attempt) == ["404"] * 6
    owners = daemon.as_user(lab.bob, lambda client: [one["owner"] for one in client.list()])
    assert set(owners) <= {"bob"}
    assert daemon.as_user(lab.alice, lambda client: client.kill(job["id"])["status"]) == "STOPPED"


def test_root_is_not_served_unless_it_says_so(daemon, lab):
    with pytest.raises(Forbidden, match="uid from 1000 on"):
        daemon.submit("true")
    daemon.config.write_text("alsoUsers: [root]\n" + daemon.config.read_text())
    daemon.hangup()
    try:
        until(lambda: "read again" in daemon.logged(), what="the reload")
        assert daemon.run("id", "-u")["owner"] == "root"
    finally:
        daemon.config.write_text(daemon.config.read_text().partition("\n")[2])
        daemon.hangup()


def test_the_owner_can_not_end_the_supervisor(daemon, lab):
    job = daemon.submit_as(lab.alice, "sleep", "60")
    record = processes.record(daemon, daemon.in_status(job["id"], "RUNNING"))

    def attack() -> str:
        try:
            os.kill(record["supervisor"], signal.SIGKILL)
        except PermissionError:
            return "refused"
        return "killed"

    assert lab.alice.call(attack) == "refused"
    assert daemon.client().kill(job["id"])["status"] == "STOPPED"


def test_whoever_leaves_session_and_group_is_still_ended(daemon, lab):
    script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; (env -i sleep 3600 &) ; sleep 3600' & wait"
    job = daemon.submit_as(lab.alice, "/bin/sh", "-c", script)
    until(lambda: len(of_user(lab.alice)) >= 3, what="the tree is there")
    assert daemon.client().kill(job["id"])["status"] == "STOPPED"
    assert of_user(lab.alice) == []


def of_user(user: User) -> list[int]:
    found = []
    for pid in processes.pids():
        try:
            if os.stat(f"/proc/{pid}").st_uid == user.uid and not processes.gone(pid):
                found.append(pid)
        except FileNotFoundError:
            continue
    return found


def test_the_umask_is_the_one_that_was_asked_for(daemon, lab):
    job = daemon.run_as(lab.alice, "/bin/sh", "-c", "umask; touch made", umask="0077")
    assert output(daemon, lab.alice, job).strip() == "0077"
    assert (Path(job["workPath"]) / "made").stat().st_mode & 0o777 == 0o600


def test_a_user_whom_the_database_does_not_know_just_now_is_waited_for(lab):
    """A network's may be away for a while: that is no reason to fail a job."""
    with SystemDaemon(lab, "systems: [{id: local, slots: {processors: 1}}]", name="forgetful") as daemon:
        blocker = daemon.submit_as(lab.alice, "sleep", "60")
        daemon.in_status(blocker["id"], "RUNNING")
        job = daemon.submit_as(lab.bob, "true")
        passwd = lab.root / "passwd"
        before = passwd.read_text()
        passwd.write_text("".join(line for line in before.splitlines(True) if not line.startswith("bob:")))
        try:
            daemon.client().kill(blocker["id"])
            until(lambda: "no user bob" in daemon.client().why(job["id"])["why"], what="it says why it waits")
            assert daemon.client().show(job["id"])["status"] not in ("FAILED", "STOPPED")
        finally:
            passwd.write_text(before)
        assert daemon.ended(job["id"])["status"] == "FINISHED"
