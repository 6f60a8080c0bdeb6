"""Alice against a root daemon, beyond what test_people.py and test_callers.py have of her: races, floods, and
what she puts into a job's environment and arguments."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

import pytest

from tests.people import SystemDaemon, User, daemon_with, needs_people

pytestmark = needs_people

CONFIG = "idleTimeout: 5\nsystems: [{id: local, slots: {processors: 8}, killGrace: 0.5}]"
daemon = daemon_with(CONFIG)


def output(daemon: SystemDaemon, user: User, job: dict[str, Any]) -> str:
    text: str = daemon.as_user(user, lambda client: b"".join(client.logs(job["id"])).decode())
    return text


def test_a_directory_swapped_between_check_and_use_never_makes_root_go_there(daemon, lab):
    """She swaps a directory and a link to one of root's for as long as her jobs start."""
    secret = lab.root / "secret"
    secret.mkdir(mode=0o700)
    place = lab.alice.home / "place"

    def swap() -> int:
        swapped, deadline = 0, time.monotonic() + 4
        while time.monotonic() < deadline:
            place.mkdir()
            place.rmdir()
            place.symlink_to(secret)
            place.unlink()
            swapped += 1
        return swapped

    command = ["/bin/sh", "-c", "id -u; pwd -P; touch here"]
    request = {"name": "race", "command": command, "directory": str(place)}
    jobs = daemon.as_user(lab.alice, lambda client: client.submit_many([request] * 40))
    assert lab.alice.call(swap) > 100
    for job in jobs:
        ended = daemon.ended(job["id"])
        if ended["condition"] != "LAUNCH_FAILED":  # it came at a good moment
            said = output(daemon, lab.alice, job).splitlines()
            assert said[:1] in ([str(lab.alice.uid)], [])
            assert str(secret) not in said
    assert list(secret.iterdir()) == []


def test_a_workspace_that_is_a_link_makes_root_write_nothing(daemon, lab):
    """Her own directory for jobs leads to one of root's; what is made there is made as her, or not at all."""
    target = lab.directory("target")
    moved = lab.bob.home / "jobd"
    lab.bob.call(lambda: moved.symlink_to(target))
    job = daemon.run_as(lab.bob, "true")
    assert job["condition"] == "LAUNCH_FAILED"
    assert "cannot be made" in job["message"]
    assert list(target.iterdir()) == []


def test_what_is_in_arguments_and_environment_is_for_the_program_alone(daemon, lab):
    odd = ["a b", "$(id)", "`id`", "; id", "'", '"', "--", "-x", "\n", "é", "*"]
    script = 'printf "%s\\0" "$@" "$ODD" "$JOBD_JOB_ID" "$JOBD_JOB_OWNER"'
    environment = {
        "PATH": "/usr/bin:/bin",
        "ODD": "$(id)\n;",
        "LD_PRELOAD": "/nowhere/evil.so",
        "PYTHONPATH": str(lab.alice.home),
        "JOBD_JOB_ID": "another's",
        "JOBD_JOB_OWNER": "root",
        "JOBD_TAG": "another",
        "NOTIFY_SOCKET": "/nowhere",
    }
    job = daemon.run_as(lab.alice, "/bin/sh", "-c", script, "sh", *odd, environment=environment)
    assert job["status"] == "FINISHED"
    assert output(daemon, lab.alice, job).split("\0")[:-1] == [*odd, "$(id)\n;", job["id"], "alice"]
    for name in ("A=B", "", "\0"):
        body = {"name": "x", "command": ["true"], "environment": {name: "x"}}
        with pytest.raises(AssertionError, match="Invalid"):
            daemon.as_user(lab.alice, lambda client, body=body: client.submit_many([body]))


@pytest.mark.parametrize(
    "path", ["../../../../etc/shadow", "/etc/shadow", "%2e%2e/%2e%2e/etc/shadow", "a/../../x", "link/shadow"]
)
def test_no_path_leads_out_of_a_jobs_directory(daemon, lab, path):
    job = daemon.run_as(lab.alice, "ln", "-s", "/etc", "link")
    for way in ("media", "listings"):
        answer = daemon.curl("--path-as-is", f"http://localhost/jobs/v2/{job['id']}/outputs/{way}/{path}")
        assert '"status":"error"' in answer.stdout.replace(" ", "")
        assert "root:" not in answer.stdout


def test_her_connections_fill_neither_the_backlog_nor_the_daemon(daemon, lab):
    """A thousand that say nothing, and more as fast as she can: bob is answered."""

    def flood() -> int:
        held, deadline = [], time.monotonic() + 3
        while time.monotonic() < deadline:
            try:
                one = socket.socket(socket.AF_UNIX)
                one.settimeout(0.5)
                one.connect(str(daemon.socket))
                held.append(one)
            except OSError:
                if len(held) > 800:
                    held = held[400:]
        return len(held)

    child = os.fork()
    if child == 0:
        try:
            lab.alice.call(flood)
        finally:
            os._exit(0)
    answered = 0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        assert daemon.as_user(lab.bob, lambda client: client.me()["username"]) == "bob"
        answered += 1
    assert answered >= 2


def test_a_fork_bomb_leaves_the_daemon_answering(daemon, lab):
    controllers = daemon.client().doctor()["containment"].get("controllers", [])
    if "pids" not in controllers:
        pytest.skip("this machine's cgroup v2 has no controllers: a fork bomb was not tried")
    bomb = daemon.submit_as(lab.alice, "/bin/sh", "-c", "b() { b | b & }; b; sleep 60")
    daemon.in_status(bomb["id"], "RUNNING")
    assert daemon.run_as(lab.bob, "true")["status"] == "FINISHED"
    assert daemon.client().kill(bomb["id"])["status"] == "STOPPED"
