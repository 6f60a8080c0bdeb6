"""Who is calling the system's daemon, and whose jobs they may see and touch: every route and verb, with a job
of somebody else's. Real users, in a private mount namespace."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobd.api.actions import ACTIONS
from jobd.api.routes import ROUTES
from jobd.cli import VERBS, command, parser_of
from jobd.client import Client
from tests.daemon import until
from tests.people import ADMINS, LAB, Machine, SystemDaemon, User, daemon_with, machine, needs_people
from tests.sshd import Sshd
from tests.talk import ask

pytestmark = needs_people

CONFIG = "adminGroup: admins\nsystems: [{id: local, slots: {processors: 8}, killGrace: 0.5}]\n"
daemon = daemon_with(CONFIG)
NOBODYS = "00000000-0000-4000-8000-000000000000-007"


@pytest.fixture(scope="module")
def lab() -> Iterator[Machine]:
    with machine() as made:
        with (made.root / "passwd").open("a") as file:
            file.write(f"{made.bob.uid + 10}:x:{made.alice.uid + 20}:{LAB}::/:/bin/sh\n")
        yield made


@pytest.fixture(scope="module")
def theirs(daemon: SystemDaemon, lab: Machine) -> dict[str, str]:
    """Jobs of alice's by their state, and a name that only she has used."""
    running = daemon.submit_as(lab.alice, "sleep", "1000", name="private")
    ended = daemon.run_as(lab.alice, "echo", "secret", name="private")
    hidden = daemon.run_as(lab.alice, "echo", "secret", name="private")
    daemon.as_user(lab.alice, lambda client: client.delete(hidden["id"]))
    daemon.in_status(running["id"], "RUNNING")
    return {"running": running["id"], "ended": ended["id"], "hidden": hidden["id"]}


def as_admin(daemon: SystemDaemon, user: User, function: Any, **groups: Any) -> Any:
    """By a supplementary group, unless `groups` say otherwise."""
    groups = groups or {"groups": [ADMINS]}
    return user.call(lambda: function(Client(f"unix://{daemon.socket}", patience=0)), **groups)


# ---- every route and verb with a job of somebody else's

PEM = {"username": "bob", "permission": "ALL"}
FIELDS: dict[str, dict[str, Any]] = {
    "resolve": {"neverSubmitted": True},
    "verify": {"against": NOBODYS},
    "pems": PEM,
    "bob": PEM,
}


def requests() -> Iterator[tuple[str, str, Any]]:
    """Method, path and body of all that can be asked about one job."""
    for route in ROUTES:
        if not route.path.startswith("/jobs/v2/{id}"):
            continue
        path = route.path.replace("{stream}", "stdout").replace("{path}", "private-{id}.out")
        path = path.replace("{username}", "bob")
        word = path.rpartition("/")[2]
        if route.method == "GET":
            yield "HEAD", path, None
            yield "GET", path, None
        elif path.endswith("{id}") and route.method == "POST":
            yield from (("POST", path, {"action": name, **FIELDS.get(name, {})}) for name in ACTIONS)
        else:
            yield route.method, path, FIELDS.get(word)


REQUESTS = list(requests())


def test_the_matrix_has_all_of_them() -> None:
    assert {(method, path.count("/")) for method, path, _ in REQUESTS} >= {
        ("DELETE", 3),
        ("POST", 3),
        ("GET", 3),
    }
    assert len(REQUESTS) >= 2 * len(ACTIONS) + 2 * 9
    assert {body["action"] for _, _, body in REQUESTS if body and "action" in body} == set(ACTIONS)


@pytest.mark.parametrize("state", ["running", "ended", "hidden"])
@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
def test_somebody_elses_job_is_no_job(
    daemon: SystemDaemon, lab: Machine, theirs: dict[str, str], state: str, method: str, path: str, body: Any
) -> None:
    """In code and in words: that it exists is nobody's business."""

    def say(job_id: str) -> tuple[int, str]:
        reply = ask(daemon.socket, method, path.replace("{id}", job_id), body, Authorization="Bearer alice")
        return reply.code, reply.content.decode().replace(job_id, "ID")

    code, words = lab.bob.call(lambda: say(theirs[state]))
    assert code == 404
    assert [code, words] == lab.bob.call(lambda: say(NOBODYS))


MORE = {"resolve": ["--never-submitted"], "notify": ["--on", "FINISHED", "--to", "http://localhost/"]}
"""What a verb needs beside the job."""
AFTER = {"share": ["bob"], "unshare": ["bob"]}
"""And behind it."""


def job_verbs() -> list[str]:
    return [verb for verb in VERBS if {"jobs", "job"} & {action.dest for action in parser_of(verb)._actions}]


@pytest.mark.parametrize("verb", job_verbs())
@pytest.mark.parametrize("how", ["id", "beginning", "name"])
def test_somebody_elses_job_is_no_job_for_jobctl(
    daemon: SystemDaemon, lab: Machine, theirs: dict[str, str], verb: str, how: str
) -> None:
    word = {"id": theirs["running"], "beginning": theirs["running"][:8], "name": "private"}[how]
    more = MORE.get(verb, [])

    def run() -> int:
        os.environ["JOBD_HOST"] = str(daemon.socket)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as told:
            code = command([verb, *more, word, *([word] if verb == "diff" else AFTER.get(verb, []))])
        assert "no job" in told.getvalue() or "deleted job" in told.getvalue(), told.getvalue()
        return code

    assert lab.bob.call(run) == (125 if verb == "wait" else 66)


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"owner": "alice"},
        {"owner.like": "*"},
        {"owner.neq": "bob"},
        {"name": "private"},
        {"visible": "false"},
        {"id": "ID"},
        {"id.like": "*"},
    ],
)
def test_no_search_finds_somebody_elses(
    daemon: SystemDaemon, lab: Machine, theirs: dict[str, str], where: dict[str, str]
) -> None:
    where = {field: theirs["running"] if value == "ID" else value for field, value in where.items()}
    assert daemon.as_user(lab.bob, lambda client: [job["owner"] for job in client.list(where)]) in (
        [],
        ["bob"],
    )


def test_no_event_tells_of_somebody_elses(daemon: SystemDaemon, lab: Machine) -> None:
    before = daemon.client().doctor()["connections"]
    own: list[str] = []

    def work() -> None:
        until(lambda: daemon.client().doctor()["connections"] > before, what="bob listens")
        daemon.run_as(lab.alice, "true")
        own.append(daemon.submit_as(lab.bob, "true")["id"])

    def listen() -> str:
        lines = ask_for_lines(daemon.socket, "/events")
        return next(line for line in lines if line.strip())

    worker = threading.Thread(target=work)
    worker.start()
    first = lab.bob.call(listen)
    worker.join()
    assert own[0] in first
    daemon.ended(own[0])


def ask_for_lines(socket: Path, path: str) -> Iterator[str]:
    reply = Client(f"unix://{socket}").exchange("GET", path, {}, None, 60, whole=False)
    buffer = b""
    for piece in reply.pieces():
        *lines, buffer = (buffer + piece).split(b"\n")
        yield from (line.decode() for line in lines)


def test_the_same_idempotency_key_of_two_people_is_two_keys(daemon: SystemDaemon, lab: Machine) -> None:
    def submit(client: Client) -> str:
        return str(client.submit_many([{"name": "same", "command": ["true"]}], key="same")[0]["id"])

    ids = [daemon.as_user(user, submit) for user in (lab.alice, lab.bob, lab.alice)]
    assert (ids[0] == ids[2], ids[0] != ids[1]) == (True, True)
    for job_id in ids:
        daemon.ended(job_id)


def test_after_all_that_nothing_of_hers_has_changed(
    daemon: SystemDaemon, lab: Machine, theirs: dict[str, str]
) -> None:
    def look(client: Client) -> list[Any]:
        return [client.restore(theirs["hidden"])["visible"], client.status(theirs["running"])] + [
            {event["createdBy"] for event in client.history(theirs[state])} <= {"jobd", "alice"}
            for state in ("running", "ended")
        ]

    assert daemon.as_user(lab.alice, look) == [True, "RUNNING", True, True]
    daemon.as_user(lab.alice, lambda client: client.delete(theirs["hidden"]))


# ---- who is served


def me(client: Client) -> dict[str, Any]:
    return client.me()


def test_everybody_is_who_the_kernel_says(daemon: SystemDaemon, lab: Machine) -> None:
    for user in lab.users.values():
        found = daemon.as_user(user, me)
        assert (found["username"], found["uid"], found["admin"]) == (user.name, user.uid, False)
    assert daemon.client().me()["admin"] is True


@pytest.mark.parametrize("uid", [1, 65534, 61999])
def test_others_get_nothing_but_what_is_open(daemon: SystemDaemon, lab: Machine, uid: int) -> None:
    """An account of a service, nobody, and a number without a name."""
    stranger = User("stranger", uid, lab.root)
    paths = {(route.method, re.sub(r"{\w+}", "stdout", route.path)): route.open for route in ROUTES}
    codes = stranger.call(lambda: [ask(daemon.socket, *place).code for place in paths])
    assert codes == [200 if is_open else 403 for is_open in paths.values()]


def test_a_number_that_is_somebodys_name_is_not_that_person(daemon: SystemDaemon, lab: Machine) -> None:
    nameless = User("nameless", lab.bob.uid + 10, lab.root)
    assert nameless.call(lambda: ask(daemon.socket, "GET", "/profiles/v2/me").code) == 403
    named = User(str(nameless.uid), lab.alice.uid + 20, lab.root)
    assert daemon.as_user(named, me)["username"] == str(nameless.uid)


# ---- administrators


@pytest.mark.parametrize(
    ("groups", "admin"),
    [
        ({"groups": [ADMINS]}, True),
        ({"groups": [LAB, ADMINS, *range(70000, 70200)]}, True),
        ({"groups": [*range(70000, 75000), ADMINS]}, True),
        ({"groups": [*range(70000, 75000)]}, False),
        ({"gid": ADMINS, "groups": []}, True),
        ({"groups": [LAB]}, False),
        ({"groups": []}, False),
    ],
)
def test_the_admin_group_by_whichever_way(
    daemon: SystemDaemon, lab: Machine, theirs: dict[str, str], groups: dict[str, Any], admin: bool
) -> None:
    assert as_admin(daemon, lab.bob, me, **groups)["admin"] is admin

    def look(client: Client) -> int:
        return ask(daemon.socket, "GET", f"/jobs/v2/{theirs['running']}").code

    assert as_admin(daemon, lab.bob, look, **groups) == (200 if admin else 404)


def test_an_administrators_listing_is_their_own_until_they_ask(
    daemon: SystemDaemon, lab: Machine, theirs: dict[str, str]
) -> None:
    own = daemon.run_as(lab.bob, "true", name="own")

    def owners(**where: str) -> set[str]:
        found = as_admin(daemon, lab.bob, lambda client: [job["owner"] for job in client.list(where)])
        return set(found)

    assert owners() == {"bob"}
    assert owners(name="private") == set()
    assert owners(owner="alice") == {"alice"}
    assert owners(**{"owner.like": "*"}) >= {"alice", "bob"}
    assert owners(id=theirs["running"]) == {"alice"}
    shown = as_admin(daemon, lab.bob, lambda _: jobctl(daemon, "list"))
    assert (own["id"] in shown, theirs["running"] in shown) == (True, False)
    shown = as_admin(daemon, lab.bob, lambda _: jobctl(daemon, "list", "--everybody"))
    assert (own["id"] in shown, theirs["running"] in shown, "USER" in shown) == (True, True, True)


def jobctl(daemon: SystemDaemon, *words: str) -> str:
    """In this very process: what is printed."""
    os.environ["JOBD_HOST"] = str(daemon.socket)
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        command(list(words))
    return shown.getvalue()


def test_what_an_administrator_does_is_on_record_as_theirs(daemon: SystemDaemon, lab: Machine) -> None:
    job = daemon.submit_as(lab.alice, "/bin/sh", "-c", "echo hers; exec sleep 1000")
    daemon.in_status(job["id"], "RUNNING")
    log = Path(job["outputPath"])

    def act(client: Client) -> list[Any]:
        until(lambda: b"".join(client.logs(job["id"])), what="it writes")
        return [
            b"".join(client.logs(job["id"])).decode(),
            client.kill(job["id"])["status"],
            client.delete(job["id"])["visible"],
            client.restore(job["id"])["visible"],
        ]

    assert log
    assert as_admin(daemon, lab.bob, act) == ["hers\n", "STOPPED", False, True]
    history = daemon.as_user(lab.alice, lambda client: list(client.history(job["id"])))
    done = {event["status"]: event["createdBy"] for event in history}
    assert (done["STOPPED"], done["DELETED"], done["RESTORED"]) == ("bob", "bob", "bob")
    assert "bob asked for that" in daemon.as_user(lab.alice, lambda client: client.why(job["id"])["why"])


def test_an_administrator_who_resubmits_gets_a_job_of_their_own(daemon: SystemDaemon, lab: Machine) -> None:
    """In their own home, and with nothing of what was in the owner's environment: it would act for them."""
    words = 'echo "$(id -un) <$LD_PRELOAD$SECRET> $(pwd)"'
    fields = {"environment": {"SECRET": "hers", "LD_PRELOAD": "/nowhere.so"}}
    job = daemon.run_as(lab.alice, "/bin/sh", "-c", words, **fields)
    again = as_admin(daemon, lab.bob, lambda client: client.resubmit(job["id"]))
    assert (again["owner"], again["resubmitOf"]) == ("bob", job["id"])
    daemon.ended(again["id"])
    said = daemon.as_user(lab.bob, lambda client: b"".join(client.logs(again["id"])).decode())
    assert said.startswith(f"bob <> {lab.bob.home}/jobd/job-")
    assert daemon.as_user(lab.alice, lambda client: client.resubmit(job["id"]))["owner"] == "alice"


# ---- by ssh


@pytest.fixture
def sshd(lab: Machine, daemon: SystemDaemon) -> Iterator[Sshd]:
    """That lets bob in, with root's key."""
    directory = lab.directory("sshd")
    there = {"JOBD_HOST": str(daemon.socket)}
    with Sshd(directory, there, "bob", lab.inside()) as serving:
        yield serving
    shutil.rmtree(directory)


def test_by_a_forwarded_socket_the_caller_is_who_logged_in(sshd: Sshd, daemon: SystemDaemon) -> None:
    here = sshd.directory / "lab.sock"
    forwarding = sshd.forwarding(here, daemon.socket)
    try:
        with Client(f"unix://{here}") as client:
            found = client.me()
            assert (found["username"], found["admin"]) == ("bob", False)
    finally:
        forwarding.terminate()
        forwarding.wait(20)


def test_by_dial_stdio_the_caller_is_who_logged_in(
    sshd: Sshd, lab: Machine, theirs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    python = public_python(lab)
    program = lab.directory("program")
    shutil.copytree(Path(__file__).parent.parent / "jobd", program / "jobd")
    subprocess.run(["chmod", "-R", "go+rX", program], check=True)
    sshd.jobctl_there(f'PYTHONPATH={program} exec {python} -m jobd.cli "$@"')
    monkeypatch.setenv("PATH", sshd.here["PATH"])
    with Client(sshd.url) as client:
        assert client.me()["username"] == "bob"
        job = client.run(["id", "-un"], timeout=60)
        assert (job["owner"], b"".join(client.logs(job["id"]))) == ("bob", b"bob\n")
    done = subprocess.run(
        [sys.executable, "-m", "jobd.cli", "show", theirs["running"]],
        env=sshd.here, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 66, done.stderr


def public_python(lab: Machine) -> str:
    """One that bob can run."""
    for path in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        code = "import sys; sys.exit(sys.version_info < (3, 11))"
        with contextlib.suppress(OSError):
            if lab.bob.run(path, "-I", "-c", code).returncode == 0:
                return path
    pytest.skip("no Python here that other users can run")
