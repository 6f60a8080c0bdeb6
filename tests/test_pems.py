"""Permissions: who may do what with whose job, as data over every route and verb; giving and taking, and what
a right ends with. Real users, in a private mount namespace."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import io
import itertools
import json
import os
import pwd
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jobd import people
from jobd.api import wire
from jobd.api.actions import ACTIONS
from jobd.api.routes import ROUTES
from jobd.cli import VERBS, command, parser_of
from jobd.client import Client
from jobd.errors import NotFound
from jobd.store import pems
from jobd.store.pems import Pem, Right
from jobd.verbs import share
from jobd.verbs.desk import Caller, Desk
from tests.daemon import RunningDaemon, until
from tests.people import ADMINS, LAB, Machine, SystemDaemon, User, daemon_with, machine, needs_people
from tests.stores import add
from tests.talk import Reply, ask
from tests.test_store import with_store

CONFIG = """
adminGroup: admins
systems: [{id: local, slots: {processors: 8}, killGrace: 0.5}]
"""
READERS, WRITERS = 61102, 61103
"""Groups that bob is in where a test says so."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Machine]:
    with machine() as made:
        with (made.root / "group").open("a") as file:
            file.write(f"readers:x:{READERS}:\nwriters:x:{WRITERS}:\nothers:x:61104:\n")
        yield made


daemon = daemon_with(CONFIG)


# ---- the matrix


class Relation(NamedTuple):
    """Somebody's to a job of alice's."""

    user: str
    groups: tuple[int, ...]
    job: str
    """Which: what it is shared with."""
    right: Right


RELATIONS = {
    "owner": Relation("alice", (), "plain", Right.WRITE),
    "reader": Relation("bob", (), "bob READ", Right.READ),
    "writer": Relation("bob", (), "bob WRITE", Right.WRITE),
    "member of a reading group": Relation("bob", (LAB, READERS), "@readers read", Right.READ),
    "member of a writing group": Relation("bob", (WRITERS,), "@writers all", Right.WRITE),
    "reader in a writing group": Relation("bob", (WRITERS,), "bob READ, @writers read_write", Right.WRITE),
    "stranger": Relation("bob", (LAB,), "plain", Right.NONE),
    "not in that group": Relation("bob", (READERS,), "@writers all", Right.NONE),
    "admin": Relation("bob", (ADMINS,), "plain", Right.WRITE),
}


class Rule(NamedTuple):
    """What is answered to those who may, and what a right it takes."""

    right: Right
    code: int
    body: Any = None

    def expected(self, relation: str) -> int:
        """404 is what somebody gets who may not know of the job, 403 who may only read it."""
        if self is HIDDEN_FROM_ALL_BUT_OWNERS:
            return self.code if relation in ("owner", "admin") else 404
        if self.right is MANAGING:
            return self.code if relation == "admin" else 403
        has = RELATIONS[relation].right
        return self.code if has >= self.right else 404 if has is Right.NONE else 403


MANAGING: Any = "managing"
READ, ANYBODY = Rule(Right.READ, 200), Rule(Right.NONE, 200)
HIDDEN_FROM_ALL_BUT_OWNERS = Rule(Right.NONE, 200)


def write(code: int, body: Any = None) -> Rule:
    return Rule(Right.WRITE, code, body)


OF_ACTIONS = {
    **dict.fromkeys(("kill", "stop", "cancel", "delete", "hide"), write(200)),
    **dict.fromkeys(("restore", "unhide", "undelete", "hold", "release"), write(409)),
    "resubmit": write(200, {"dryRun": True}),
    "resolve": write(409, {"neverSubmitted": True}),
}
"""With a job that is over and not hidden."""
DEFAULT_QUEUE = "/systems/v2/local/queues/default"
JOB, NOTE, NOTIFICATION = "/jobs/v2/{id}", "/meta/v2/data/{note}", "/notifications/v2/{notification}"
DELIVERY = "/deliveries/v2/{delivery}"
HOOK = {"event": "FINISHED", "command": ["true"]}

OF_ROUTES: dict[tuple[str, str], Rule] = {
    ("GET", "/jobs/v2"): ANYBODY,
    ("POST", "/jobs/v2"): Rule(Right.NONE, 201, {"name": "own", "command": ["true"]}),
    ("GET", JOB): READ,
    ("DELETE", JOB): write(200),
    **{("GET", f"{JOB}/{what}"): READ for what in ("status", "wait", "history", "why", "resubmit_request")},
    ("GET", f"{JOB}/diff/{{id}}"): READ,
    ("POST", f"{JOB}/verify"): write(400, {"against": "{id}"}),
    ("GET", f"{JOB}/pems"): READ,
    ("POST", f"{JOB}/pems"): write(201, {"username": "@others", "permission": "READ"}),
    ("GET", f"{JOB}/pems/alice"): READ,
    ("POST", f"{JOB}/pems/@others"): write(200, {"permission": "none"}),
    ("DELETE", f"{JOB}/pems/@others"): write(404),
    ("DELETE", f"{JOB}/pems"): write(200),
    ("GET", f"{JOB}/logs/stdout"): READ,
    ("GET", f"{JOB}/outputs/listings"): READ,
    ("GET", f"{JOB}/outputs/listings/made"): READ,
    ("GET", f"{JOB}/outputs/media/made"): READ,
    **{("POST", f"{JOB}/{word}"): rule for word, rule in OF_ACTIONS.items()},
    **{("POST", f"{JOB} {word}"): rule for word, rule in OF_ACTIONS.items()},
    ("GET", "/meta/v2/data"): ANYBODY,
    ("POST", "/meta/v2/data"): write(201, {"associationIds": ["{id}"], "name": "n", "value": 1}),
    ("GET", NOTE): READ,
    ("POST", NOTE): write(200, {"value": 2}),
    ("DELETE", NOTE): write(200),
    ("GET", "/notifications/v2"): ANYBODY,
    ("GET", "/notifications/v2?associatedUuid={id}"): READ,
    ("POST", "/notifications/v2"): Rule(Right.READ, 201, {"associatedUuid": "{id}", **HOOK}),
    ("GET", NOTIFICATION): HIDDEN_FROM_ALL_BUT_OWNERS,
    ("POST", NOTIFICATION): HIDDEN_FROM_ALL_BUT_OWNERS,
    ("DELETE", NOTIFICATION): HIDDEN_FROM_ALL_BUT_OWNERS,
    ("GET", f"{NOTIFICATION}/attempts"): HIDDEN_FROM_ALL_BUT_OWNERS,
    ("GET", "/notifications/v2/key"): ANYBODY,
    ("POST", "/notifications/v2/test"): Rule(Right.NONE, 200, {"event": "*", "command": ["true"]}),
    ("GET", "/deliveries/v2"): ANYBODY,
    ("GET", "/deliveries/v2?associatedUuid={id}"): READ,
    ("GET", DELIVERY): HIDDEN_FROM_ALL_BUT_OWNERS,
    ("DELETE", DELIVERY): HIDDEN_FROM_ALL_BUT_OWNERS,
    ("POST", f"{DELIVERY}/retry"): HIDDEN_FROM_ALL_BUT_OWNERS,
    ("GET", "/apps/v2"): ANYBODY,
    ("POST", "/apps/v2"): Rule(Right.NONE, 400, {}),
    ("GET", "/apps/v2/command-1.0"): ANYBODY,
    ("DELETE", "/apps/v2/command-1.0"): Rule(Right.NONE, 403),
    **{("GET", f"/systems/v2{path}"): ANYBODY for path in ("", "/local", "/local/queues", "/local/drains")},
    **{
        ("POST", f"{at}/{verb}"): Rule(MANAGING, code, body)
        for at in ("/systems/v2/local", DEFAULT_QUEUE)
        for verb, code, body in (("drain", 200, {"reason": "x"}), ("resume", 409, None))
    },
    ("GET", "/profiles/v2/alice"): ANYBODY,
    ("GET", "/purges/v2"): ANYBODY,
    ("GET", "/healthz"): ANYBODY,
    ("GET", "/doctor"): ANYBODY,
    ("GET", "/metrics"): ANYBODY,
    ("GET", "/openapi.json"): ANYBODY,
}
STREAMS = {"/events"}
"""Without an end, so looked at further below."""
_LIKE = {"/made": "/{path}", "/stdout": "/{stream}", "diff/{id}": "diff/{other}", "/default": "/{queue}"}
_LIKE |= {"pems/alice": "pems/{username}", "pems/@others": "pems/{username}", "v2/alice": "v2/{username}"}
_LIKE |= {
    "{note}": "{id}",
    "{notification}": "{id}",
    "{delivery}": "{id}",
    "command-1.0": "{id}",
    "v2/local": "v2/{id}",
}


def as_route(path: str) -> str:
    """As the table of routes has it."""
    path = re.sub(r"[ ?].*", "", path)
    for ours, theirs in _LIKE.items():
        path = path.replace(ours, theirs)
    return path


def test_every_route_is_in_the_matrix() -> None:
    ours = {(method, as_route(path)) for method, path in OF_ROUTES}
    assert ours == {(route.method, route.path) for route in ROUTES if route.path not in STREAMS}
    assert OF_ACTIONS.keys() == ACTIONS.keys()


@pytest.fixture(scope="module")
def shared(daemon: SystemDaemon, lab: Machine) -> dict[str, str]:
    """Jobs of alice's by what they are shared with."""
    ids = {}
    for words in sorted({relation.job for relation in RELATIONS.values()}):
        told = {"event": "FINISHED", "command": ["false"], "policy": {"retryStrategy": "NONE"}}
        fields = {"name": "hers", "notifications": [told] * 3}
        job = daemon.run_as(lab.alice, "/bin/sh", "-c", "echo out; echo made > made", **fields)
        give(daemon, lab.alice, job["id"], words)
        ids[words] = job["id"]
    return ids


def give(daemon: SystemDaemon, user: User, job_id: str, words: str) -> None:
    for pem in [] if words == "plain" else words.split(", "):
        who, permission = pem.split()
        given = permit(daemon, user, job_id, username=who, permission=permission)
        assert given.code == 201, given.content


def permit(daemon: SystemDaemon, user: User, job_id: str, **body: Any) -> Reply:
    return Reply(*user.call(lambda: say(daemon, "POST", f"/jobs/v2/{job_id}/pems", body)))


def say(daemon: SystemDaemon, method: str, path: str, body: Any = None) -> list[Any]:
    """A reply as it can cross the border between two processes."""
    reply = ask(daemon.socket, method, path, body)
    return [reply.code, dict(reply.headers.items()), reply.content.decode()]


def as_relation(lab: Machine, relation: str, function: Any) -> Any:
    one = RELATIONS[relation]
    return lab.users[one.user].call(function, groups=one.groups)


def made_by_alice(client: Client, job_id: str, word: str) -> str:
    """What the routes of notes, notifications and deliveries name."""
    if word == "{note}":
        return str(client.note(job_id, "n", 1)["uuid"])
    if word == "{delivery}":
        return str(until(lambda: client.deliveries(job_id))[0]["id"])
    return str(client.notify(job_id, ["FINISHED"], command=["true"])[0]["id"])


@needs_people
@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize(("method", "path"), OF_ROUTES)
def test_what_is_answered(
    daemon: SystemDaemon, lab: Machine, shared: dict[str, str], method: str, path: str, relation: str
) -> None:
    rule, job_id = OF_ROUTES[method, path], shared[RELATIONS[relation].job]
    body, target = rule.body, path.replace("{id}", job_id)
    if " " in path:
        target, _, word = target.partition(" ")
        body = {"action": word, **(body or {})}
    for word in ("{note}", "{notification}", "{delivery}"):
        if word in path:
            made = daemon.as_user(lab.alice, lambda client, word=word: made_by_alice(client, job_id, word))
            target = target.replace(word, made)
    body = body and json.loads(json.dumps(body).replace("{id}", job_id))
    code, _, content = as_relation(lab, relation, lambda: say(daemon, method, target, body))
    put_right(daemon, job_id)
    if (method, path) == ("DELETE", f"{JOB}/pems"):
        give(daemon, lab.alice, job_id, RELATIONS[relation].job)
    assert code == rule.expected(relation), content


def put_right(daemon: SystemDaemon, job_id: str) -> None:
    """What the matrix may have changed."""
    for path in (f"/jobs/v2/{job_id}/restore", "/systems/v2/local/resume", f"{DEFAULT_QUEUE}/resume"):
        ask(daemon.socket, "POST", path)


OF_VERBS: dict[str, tuple[Right, int, list[str]]] = {
    **{verb: (Right.READ, 0, []) for verb in ("show", "status", "history", "why", "logs", "wait", "pems")},
    "diff": (Right.READ, 0, ["{id}"]),
    "notify": (Right.READ, 0, ["--", "true"]),
    **{verb: (Right.READ, 0, []) for verb in ("notifications", "deliveries")},
    **{verb: (Right.WRITE, 0, []) for verb in ("kill", "delete", "resubmit")},
    **{verb: (Right.WRITE, 1, []) for verb in ("hold", "release")},
    "restore": (Right.WRITE, 1, []),
    "resolve": (Right.WRITE, 1, ["--never-submitted"]),
    "verify": (Right.WRITE, 2, ["--against", "{id}"]),
    "share": (Right.WRITE, 0, ["@others"]),
    "unshare": (Right.WRITE, 0, ["@others"]),
    "tag": (Right.WRITE, 0, ["word"]),
}
"""What right it takes, and the exit code then, with a job that is over."""
OF_NO_JOB = {"run", "submit", "list", "apps", "purge", "systems", "queues", "doctor", "version", "dial-stdio"}
OF_NO_JOB |= {"completion"}


def test_every_verb_is_in_the_matrix() -> None:
    assert VERBS.keys() == OF_VERBS.keys() | OF_NO_JOB
    for verb in OF_NO_JOB:
        assert not {"jobs", "job"} & {action.dest for action in parser_of(verb)._actions}


@needs_people
@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("verb", OF_VERBS)
def test_what_jobctl_makes_of_it(
    daemon: SystemDaemon, lab: Machine, shared: dict[str, str], verb: str, relation: str
) -> None:
    right, code, more = OF_VERBS[verb]
    job_id, has = shared[RELATIONS[relation].job], RELATIONS[relation].right
    words = [verb, job_id, *(word.replace("{id}", job_id) for word in more)]
    denied = {"wait": 125}.get(verb, 66) if has is Right.NONE else 77
    expected = code if has >= right else denied
    found, _, told = as_relation(lab, relation, lambda: jobctl(daemon, *words))
    put_right(daemon, job_id)
    assert found == expected, told


def jobctl(daemon: SystemDaemon, *words: str) -> tuple[int, str, str]:
    """In this very process: exit code, what is printed and what is told."""
    os.environ["JOBD_HOST"] = str(daemon.socket)
    shown = io.BytesIO()
    with (
        contextlib.redirect_stdout(io.TextIOWrapper(shown, write_through=True)),
        contextlib.redirect_stderr(io.StringIO()) as told,
    ):
        code = command(list(words))
        return code, shown.getvalue().decode(), told.getvalue()


@needs_people
def test_a_strangers_404_is_the_one_of_no_job(
    daemon: SystemDaemon, lab: Machine, shared: dict[str, str]
) -> None:
    nobodys = "00000000-0000-4000-8000-000000000000-007"
    for path, body in (
        ("pems", None),
        ("pems", {"username": "bob", "permission": "ALL"}),
        ("pems/bob", None),
    ):

        def answer(job_id: str, path: str = path, body: Any = body) -> list[Any]:
            code, _, content = say(daemon, "POST" if body else "GET", f"/jobs/v2/{job_id}/{path}", body)
            return [code, content.replace(job_id, "ID")]

        hers, none = lab.bob.call(lambda: [answer(shared["plain"]), answer(nobodys)])
        assert hers == none
        assert hers[0] == 404


# ---- giving and taking


def new(daemon: SystemDaemon, user: User, script: str = "echo out") -> str:
    return str(daemon.run_as(user, "/bin/sh", "-c", script)["id"])


def listed(daemon: SystemDaemon, user: User, job_id: str) -> dict[str, str]:
    """In short."""
    found = daemon.as_user(user, lambda client: client.pems(job_id))
    for row in found:
        wire.Pem.model_validate(row)
    return {
        row["username"]: "".join(word[0] for word, has in row["permission"].items() if has) for row in found
    }


def changes(daemon: SystemDaemon, user: User, job_id: str) -> list[list[str]]:
    events = daemon.as_user(user, lambda client: list(client.history(job_id)))
    names = ("status", "createdBy", "description")
    return [[event[name] for name in names] for event in events if event["status"].startswith("PERM")]


@needs_people
def test_given_looked_at_and_taken(daemon: SystemDaemon, lab: Machine) -> None:
    job_id = new(daemon, lab.alice)
    assert listed(daemon, lab.alice, job_id) == {"alice": "rw"}
    words = "bob Read, bob READ, bob read_write, bob all, @lab WRITE, bob READ"
    for who, permission in map(str.split, words.split(", ")):
        given = permit(daemon, lab.alice, job_id, username=who, permission=permission)
        assert (given.code, given.result["username"]) == (201, who)
        assert given.result["permission"] == {"read": True, "write": permission.lower() != "read"}
    assert listed(daemon, lab.alice, job_id) == {"alice": "rw", "@lab": "rw", "bob": "r"}
    for permission in ("NONE", "none"):
        assert permit(daemon, lab.alice, job_id, username="bob", permission=permission).code == 200
    assert listed(daemon, lab.alice, job_id) == {"alice": "rw", "@lab": "rw"}
    assert changes(daemon, lab.alice, job_id) == [
        ["PERMISSION_GRANT", "alice", "bob may read it."],
        ["PERMISSION_GRANT", "alice", "bob may read and change it."],
        ["PERMISSION_GRANT", "alice", "@lab may read and change it."],
        ["PERMISSION_REVOKE", "alice", "bob may read it, and no longer change it."],
        ["PERMISSION_REVOKE", "alice", "No longer shared with bob."],
    ]


@needs_people
def test_by_the_path_by_forms_and_page_by_page(daemon: SystemDaemon, lab: Machine) -> None:
    job_id = new(daemon, lab.alice)
    pems_of = f"/jobs/v2/{job_id}/pems"

    def by_alice() -> list[Any]:
        form = "application/x-www-form-urlencoded"
        first = ask(daemon.socket, "POST", f"{pems_of}/bob", b"permission=READ", form).code
        second = ask(daemon.socket, "POST", pems_of, b"username=%40lab&permission=write", form).code
        pages = [ask(daemon.socket, "GET", f"{pems_of}?limit=1&offset={at}").result for at in range(4)]
        hrefs = [link["href"] for page in pages[:3] for link in page[0]["_links"].values()]
        links = [ask(daemon.socket, "GET", href.removeprefix("http://localhost")).code for href in hrefs]
        gone = ask(daemon.socket, "DELETE", f"{pems_of}/%40lab")
        again = ask(daemon.socket, "DELETE", f"{pems_of}/@lab").code
        return [first, second, [[row["username"] for row in page] for page in pages], links, gone.code, again]

    pages = [["alice"], ["@lab"], ["bob"], []]
    assert lab.alice.call(by_alice) == [201, 201, pages, [200] * 8, 200, 404]
    assert lab.bob.call(lambda: say(daemon, "GET", f"{pems_of}/bob"))[0] == 200
    assert lab.alice.call(lambda: say(daemon, "DELETE", pems_of))[0] == 200
    assert listed(daemon, lab.alice, job_id) == {"alice": "rw"}
    assert lab.bob.call(lambda: say(daemon, "GET", f"{pems_of}/bob"))[0] == 404


@needs_people
@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"username": "bob", "permission": "EXECUTE"}, 400, "expected READ, WRITE, READ_WRITE, ALL, NONE"),
        ({"username": "bob"}, 400, "permission: this is missing (expected READ"),
        ({"username": "bob", "permission": True}, 400, "permission: it is no text"),
        ({"permission": "READ"}, 400, "username: this is missing"),
        ({"username": "bob", "permission": "READ", "name": "bob"}, 400, "name: there is no such field"),
        ({"username": "alice", "permission": "READ"}, 400, "alice is its owner, who has every right already"),
        ({"username": "alice", "permission": "NONE"}, 400, "alice is its owner"),
        ({"username": "bobb", "permission": "READ"}, 404, 'there is no user "bobb" on this machine'),
        ({"username": "bobb", "permission": "NONE"}, 404, 'there is no user "bobb" on this machine'),
        ({"username": "@lap", "permission": "READ"}, 404, 'there is no group "lap" on this machine'),
        ({"username": "", "permission": "READ"}, 404, "there is no user"),
        ({"username": "b\0b", "permission": "READ"}, 404, "there is no user"),
        ({"username": "@\ud800", "permission": "READ"}, 404, "there is no group"),
        ({"username": "daemon", "permission": "READ"}, 404, "serves users with a uid from 1000 on"),
    ],
)  # fmt: skip
def test_what_is_refused(
    daemon: SystemDaemon, lab: Machine, shared: dict[str, str], body: Any, code: int, words: str
) -> None:
    before = changes(daemon, lab.alice, shared["plain"])
    refused = permit(daemon, lab.alice, shared["plain"], **body)
    assert (refused.code, words in refused.json["message"]) == (code, True), refused.json["message"]
    assert changes(daemon, lab.alice, shared["plain"]) == before


@needs_people
def test_who_may_write_may_give_and_take_and_it_is_on_record(daemon: SystemDaemon, lab: Machine) -> None:
    job_id = new(daemon, lab.alice)
    daemon.as_user(lab.alice, lambda client: client.share(job_id, "bob", write=True))
    daemon.as_user(lab.bob, lambda client: client.share(job_id, "@lab"))
    daemon.as_user(lab.bob, lambda client: client.unshare(job_id))
    assert [line[1:] for line in changes(daemon, lab.alice, job_id)] == [
        ["alice", "bob may read and change it."],
        ["bob", "@lab may read it."],
        ["bob", "No longer shared with @lab."],
        ["bob", "No longer shared with bob."],
    ]
    with pytest.raises(AssertionError, match="NotFound"):
        daemon.as_user(lab.bob, lambda client: client.share(job_id, "bob", write=True))


@needs_people
def test_a_user_who_has_left_the_machine_can_be_struck_off(daemon: SystemDaemon, lab: Machine) -> None:
    job_id = new(daemon, lab.alice)
    group = lab.root / "group"
    before = group.read_text()
    group.write_text(before + "short-lived:x:61105:\n")
    daemon.as_user(lab.alice, lambda client: client.share(job_id, "@short-lived"))
    group.write_text(before)
    assert permit(daemon, lab.alice, job_id, username="@short-lived", permission="NONE").code == 200
    assert listed(daemon, lab.alice, job_id) == {"alice": "rw"}


@needs_people
def test_of_two_at_once_the_last_line_of_the_history_is_how_it_is(daemon: SystemDaemon, lab: Machine) -> None:
    """Grants and revocations from both sides, while bob looks."""
    job_id = new(daemon, lab.alice)
    seen: list[int] = []

    def by(user: User, words: list[str]) -> None:
        def all_of_them() -> list[int]:
            path = f"/jobs/v2/{job_id}/pems/bob"
            return [ask(daemon.socket, "POST", path, {"permission": word}).code for word in words]

        seen.extend(user.call(all_of_them))

    work = [(lab.alice, ["WRITE", "NONE"] * 15), (lab.alice, ["READ", "ALL"] * 15), (lab.bob, ["NONE"] * 40)]
    threads = [threading.Thread(target=by, args=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {*seen} <= {200, 201, 403, 404}
    lines = changes(daemon, lab.alice, job_id)
    assert all(one[2] != next_one[2] for one, next_one in itertools.pairwise(lines))
    left = {"with bob.": "", "bob may read it": "r", "bob may read and": "rw"}
    (expected,) = (rights for words, rights in left.items() if words in lines[-1][2])
    assert listed(daemon, lab.alice, job_id).get("bob", "") == expected


@needs_people
def test_it_outlives_a_restart_and_is_hidden_with_its_job(daemon: SystemDaemon, lab: Machine) -> None:
    read, written = new(daemon, lab.alice), new(daemon, lab.alice)
    daemon.as_user(
        lab.alice, lambda client: [client.share(read, "bob"), client.share(written, "@lab", write=True)]
    )
    daemon.restart()
    assert daemon.as_user(lab.bob, lambda client: [client.status(one) for one in (read, written)])
    daemon.as_user(lab.alice, lambda client: [client.delete(one) for one in (read, written)])

    def look() -> list[Any]:
        paths = [f"/jobs/v2/{one}{what}" for one in (read, written) for what in ("", "/pems", "/history")]
        with Client(f"unix://{daemon.socket}") as client:
            hidden = {job["id"] for job in client.list({"visible": "false"})}
            shown = {job["id"] for job in client.list()}
        return [
            [ask(daemon.socket, "GET", path).code for path in paths],
            [{read, written} <= hidden, bool({read, written} & shown)],
            [ask(daemon.socket, "POST", f"/jobs/v2/{one}/restore").code for one in (read, written)],
        ]

    assert lab.bob.call(look) == [[404] * 6, [True, False], [403, 200]]
    assert daemon.as_user(lab.alice, lambda client: client.restore(read)["visible"]) is True


@needs_people
def test_jobctl_shares_shows_and_takes_back(daemon: SystemDaemon, lab: Machine) -> None:
    job_id = new(daemon, lab.alice)

    def says(*words: str) -> tuple[int, list[list[str]], str]:
        code, shown, told = lab.alice.call(lambda: jobctl(daemon, *words))
        return code, [line.split() for line in shown.splitlines()], told

    head = ["USER", "READ", "WRITE"]
    assert says("share", job_id, "@lab", "bob", "-w")[1] == [
        head,
        ["@lab", "yes", "yes"],
        ["bob", "yes", "yes"],
    ]
    code, shown, told = says("share", "last", "bob", "nobody-such", "@lab")
    assert (code, shown) == (66, [head, ["bob", "yes", "no"]]), "done as far as it went, and said"
    assert "there is no user" in told
    assert says("pems", job_id)[1][1:] == [
        ["alice", "yes", "yes"],
        ["@lab", "yes", "yes"],
        ["bob", "yes", "no"],
    ]
    assert says("pems", "-q", job_id)[1] == [["alice"], ["@lab"], ["bob"]]
    rows = [json.loads(" ".join(line)) for line in says("pems", "--json", job_id)[1]]
    assert [(row["jobId"], row["username"]) for row in rows[:1]] == [(job_id, "alice")]
    for wrong in (["unshare", job_id], ["unshare", job_id, "bob", "--all"]):
        assert says(*wrong)[0] == 2
    assert says("unshare", job_id, "bob")[1][1:] == [["bob", "no", "no"]]
    assert says("unshare", job_id, "--all")[1][1:] == [["alice", "yes", "yes"]]
    assert says("pems", job_id)[1][1:] == [["alice", "yes", "yes"]]


@needs_people
def test_it_is_as_the_readme_has_it(daemon: SystemDaemon, lab: Machine) -> None:
    """Each line of its part about sharing, as alice or as bob."""
    text = (Path(__file__).parent.parent / "README.md").read_text()
    (walk,) = re.findall(r"### Sharing jobs\n+```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    job_id = daemon.run_as(lab.alice, "true", name="fit")["id"]
    steps = re.findall(r"^(\w+)\$ (.*)\n((?:(?!\w+\$ ).*\n)*)", walk, re.MULTILINE)
    assert len(steps) > 4
    for who, line, printed in steps:
        for one in line.partition("#")[0].replace("3f2a9c41", job_id[:8]).split(";"):
            words = one.split()[1:]
            code, shown, told = lab.users[who].call(lambda words=words: jobctl(daemon, *words))
            assert (code, told) == (0, ""), one
            assert not printed or shown == printed, one
            if words == ["list", "--shared"]:
                assert job_id in shown
            if words[0] == "resubmit":
                assert daemon.ended(shown.split()[0])["owner"] == who
    assert [pem["username"] for pem in daemon.client().pems(job_id)] == ["alice"]


# ---- what a right ends with


@needs_people
def test_a_log_that_is_followed_ends_with_the_right(daemon: SystemDaemon, lab: Machine) -> None:
    script = "while :; do echo line; sleep 0.05; done"
    job_id = daemon.submit_as(lab.alice, "/bin/sh", "-c", script)["id"]
    daemon.as_user(lab.alice, lambda client: client.share(job_id, "bob"))
    daemon.in_status(job_id, "RUNNING")

    def follow(client: Client) -> str:
        pieces = client.logs(job_id, follow=True)
        until(lambda: b"line" in next(pieces), what="it is followed")
        (lab.bob.home / "follows").touch()
        try:
            for _ in pieces:
                pass
        except NotFound:
            return "ended"
        return "all of it"

    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(daemon.as_user(lab.bob, follow)))
    thread.start()
    until((lab.bob.home / "follows").exists, what="bob follows")
    daemon.as_user(lab.alice, lambda client: client.unshare(job_id, "bob"))
    thread.join(20)
    assert said == ["ended"]
    assert "Traceback" not in daemon.logged()
    assert daemon.client().kill(job_id)["status"] == "STOPPED"


@needs_people
def test_whoever_waits_hears_no_end_that_is_not_theirs(daemon: SystemDaemon, lab: Machine) -> None:
    job_id = daemon.submit_as(lab.alice, "sleep", "1000")["id"]
    daemon.as_user(lab.alice, lambda client: client.share(job_id, "bob"))
    before = daemon.client().doctor()["connections"]
    codes: list[int] = []

    def wait() -> int:
        return ask(daemon.socket, "GET", f"/jobs/v2/{job_id}/wait?timeout=60").code

    thread = threading.Thread(target=lambda: codes.append(lab.bob.call(wait)))
    thread.start()
    until(lambda: daemon.client().doctor()["connections"] > before, what="bob waits")
    daemon.as_user(lab.alice, lambda client: client.unshare(job_id))
    daemon.as_user(lab.alice, lambda client: client.kill(job_id))
    thread.join(20)
    assert codes == [404]


@needs_people
def test_events_are_told_as_long_as_the_right_lasts(daemon: SystemDaemon, lab: Machine) -> None:
    theirs = daemon.submit_as(lab.alice, "sleep", "1000")["id"]
    told = lab.bob.home / "told"

    def listen() -> None:
        reply = Client(f"unix://{daemon.socket}").exchange("GET", "/events", {}, None, 60, whole=False)
        for piece in reply.pieces():
            with told.open("ab") as file:
                file.write(piece)
            if b"end-of-test" in piece or own in told.read_text():
                return

    own = daemon.submit_as(lab.bob, "sleep", "1000")["id"]
    daemon.in_status(own, "RUNNING")
    thread = threading.Thread(target=lambda: lab.bob.call(listen))
    thread.start()
    until(told.exists, what="bob listens")
    daemon.as_user(lab.alice, lambda client: client.share(theirs, "bob"))
    until(lambda: theirs in told.read_text(), what="bob hears of it")
    daemon.as_user(lab.alice, lambda client: client.unshare(theirs))
    daemon.as_user(lab.alice, lambda client: client.kill(theirs))
    daemon.client().kill(own)
    thread.join(20)
    events = [json.loads(line) for line in told.read_text().splitlines() if line]
    assert [event["id"] for event in events[-1:]] == [own]
    assert "STOPPED" not in {event["status"] for event in events if event["id"] == theirs}


# ---- listing


@pytest.fixture(scope="module")
def lists(lab: Machine) -> Iterator[SystemDaemon]:
    """A daemon of its own: three jobs of alice's, one of them shared with bob and one with a group, and one
    of bob's."""
    with SystemDaemon(lab, CONFIG, name="lists") as running:
        for name in ("private", "fit", "grouped"):
            job = running.run_as(lab.alice, "true", name=name)
            whom = {"fit": "bob", "grouped": "@readers"}.get(name)
            if whom:
                running.as_user(lab.alice, lambda client, job=job, whom=whom: client.share(job["id"], whom))
        running.run_as(lab.bob, "true", name="own")
        yield running


@needs_people
@pytest.mark.parametrize(
    ("where", "groups", "names"),
    [
        ({}, [], "own fit"),
        ({}, [READERS], "own grouped fit"),
        ({"shared": "true"}, [READERS], "grouped fit"),
        ({"shared.neq": "true"}, [READERS], "own"),
        ({"shared": "false"}, [], "own"),
        ({"owner": "alice"}, [READERS], "grouped fit"),
        ({"owner.neq": "bob"}, [], "fit"),
        ({"name": "fit"}, [], "fit"),
        ({"name.like": "*i*"}, [READERS], "fit"),
        ({"visible": "false"}, [READERS], ""),
        ({"owner": "alice"}, [ADMINS], "grouped fit private"),
        ({"owner": "alice", "shared": "true"}, [ADMINS], "fit"),
        ({"owner.like": "*", "shared": "false"}, [ADMINS], "own"),
        ({}, [ADMINS], "own fit"),
    ],
)
def test_what_a_listing_has(
    lists: SystemDaemon, lab: Machine, where: dict[str, str], groups: list[int], names: str
) -> None:
    def found() -> list[str]:
        client = Client(f"unix://{lists.socket}")
        by_page = [client.list(where, limit=1), client.list(where), client.list(where, order_by="created")]
        assert [job["name"] for job in by_page[0]] == names.split()[:1]
        assert [job["name"] for job in by_page[1]] == names.split()
        return [str(job["name"]) for job in by_page[2]]

    assert lab.bob.call(found, groups=groups) == names.split()


@needs_people
@pytest.mark.parametrize(
    ("words", "names", "user"),
    [
        (["list"], "own", False),
        (["list", "--shared"], "fit", True),
        (["list", "--all"], "own fit", True),
        (["list", "--owner", "alice"], "fit", True),
        (["list", "--where", "owner=alice"], "fit", False),
        (["list", "--name", "fit"], "", False),
        (["list", "--name", "fit", "--shared"], "fit", True),
        (["list", "--everybody"], "own fit", True),
    ],
)
def test_what_jobctl_lists(
    lists: SystemDaemon, lab: Machine, words: list[str], names: str, user: bool
) -> None:
    """With the column USER where there can be others'."""
    code, shown, _ = lab.bob.call(lambda: jobctl(lists, *words), groups=[])
    heading, *rows = shown.splitlines()
    assert (code, "USER" in heading) == (0, user)
    assert [row.split()[1] for row in rows] == names.split()


@needs_people
def test_a_name_means_ones_own_and_an_id_a_shared_one_too(lists: SystemDaemon, lab: Machine) -> None:
    (fit,) = lists.as_user(lab.bob, lambda client: [job["id"] for job in client.list({"shared": "true"})])
    for word, code in ((fit, 0), (fit[:8], 0), ("fit", 66), ("last", 0)):
        found, shown, told = lab.bob.call(lambda word=word: jobctl(lists, "show", "-q", word), groups=[])
        assert found == code, told
        assert (shown.strip() == fit) is (code == 0 and word != "last")
    assert lab.bob.call(lambda: jobctl(lists, "kill", fit[:8]), groups=[])[0] == 77
    assert lab.bob.call(lambda: jobctl(lists, "kill", "fit"), groups=[])[0] == 66


@needs_people
def test_ones_own_job_goes_before_anothers_of_the_same_beginning(lists: SystemDaemon, lab: Machine) -> None:
    """So much like a shared one that the beginning fits both, which chance would not bring about."""
    own, hers = "feedbeef-0000-4000-8000-000000000001-007", "feedbeef-0000-4000-8000-000000000002-007"

    async def put_in(store: Any) -> None:
        await add(store, id=own, owner="bob", status="FINISHED")
        job = await add(store, id=hers, owner="alice", status="FINISHED")
        await store.write(lambda tx: pems.put(tx, job.seq, Pem("bob", Right.WRITE), "alice"))

    with_store(lists.state, put_in)
    code, shown, told = lab.bob.call(lambda: jobctl(lists, "show", "-q", "feedbeef"), groups=[])
    assert (code, shown.strip()) == (0, own), told
    code, _, told = lab.bob.call(lambda: jobctl(lists, "show", "feedbeef"), groups=[ADMINS])
    assert (code, "fits several jobs" in told) == (2, True)


# ---- resubmitted by somebody else


@needs_people
def test_what_somebody_else_resubmits_is_theirs_alone(daemon: SystemDaemon, lab: Machine) -> None:
    script = 'echo "$(id -un) <$SECRET> $(pwd)"'
    environment = {"SECRET": "hers", "PATH": "/usr/bin:/bin"}
    told = [{"event": "FINISHED", "command": ["true", "hers"]}]
    job = daemon.run_as(lab.alice, "/bin/sh", "-c", script, environment=environment, notifications=told)
    daemon.as_user(lab.alice, lambda client: client.share(job["id"], "bob", write=True))

    def resubmit(client: Client) -> Any:
        client.notify(job["id"], ["FAILED"], command=["true", "bob's"])
        again = client.resubmit(job["id"])
        done = client.wait(again["id"], 60)
        said = b"".join(client.logs(again["id"])).decode()
        return done, said, [one["command"] for one in client.notifications(again["id"])]

    again, said, told_of = daemon.as_user(lab.bob, resubmit)
    assert (again["owner"], again["resubmitOf"]) == ("bob", job["id"])
    assert said.startswith(f"bob <> {lab.bob.home}/jobd/job-")
    assert told_of == [["true", "bob's"]]
    with pytest.raises(AssertionError, match="NotFound"):
        daemon.as_user(lab.alice, lambda client: client.show(again["id"]))
    found = daemon.as_user(lab.bob, lambda client: client.diff(job["id"], again["id"]))
    assert "hers" not in json.dumps([one for one in found["differences"] if one["group"] == "environment"])


APP = {
    "name": "copy",
    "version": "1",
    "command": "cat ${data}",
    "inputs": [{"id": "data", "value": {"required": True}}, {"id": "more"}],
}


@needs_people
def test_what_they_may_not_read_of_its_inputs_is_said(daemon: SystemDaemon, lab: Machine) -> None:
    """Not that it is gone, and it is not left out: staging, as them, says that they may not."""
    data = lab.alice.home / "private/data"
    lab.alice.call(lambda: (data.parent.mkdir(mode=0o700), data.write_text("secret")))
    for user in (lab.alice, lab.bob):
        daemon.as_user(user, lambda client: client.submit_app(APP))
    for inputs in ({"data": str(data)}, {"data": "/etc/passwd", "more": str(data)}):
        body = {"name": "copy", "appId": "copy-1", "inputs": inputs, "archive": False}
        job = daemon.as_user(lab.alice, lambda client, body=body: client.submit(**body))
        assert daemon.ended(job["id"])["status"] == "FINISHED"
        daemon.as_user(lab.alice, lambda client, job=job: client.share(job["id"], "bob", write=True))
        again = daemon.as_user(lab.bob, lambda client, job=job: client.resubmit(job["id"]))
        ended = daemon.ended(again["id"])
        assert (ended["owner"], ended["condition"]) == ("bob", "STAGING_FAILED")
        name = next(name for name, source in inputs.items() if source == str(data))
        assert ended["message"].startswith(f"input {name} ({data}): ")
        assert "may not be read" in ended["message"]


@needs_people
def test_an_app_that_is_hers_alone_is_not_theirs_to_run(daemon: SystemDaemon, lab: Machine) -> None:
    app = {"name": "hers", "version": "1", "command": "true"}
    daemon.as_user(lab.alice, lambda client: client.submit_app(app))
    job = daemon.as_user(lab.alice, lambda client: client.submit(name="x", appId="hers-1", archive=False))
    daemon.as_user(lab.alice, lambda client: client.share(job["id"], "bob", write=True))
    with pytest.raises(AssertionError, match="there is no app hers-1 for you, or alice's own is meant"):
        daemon.as_user(lab.bob, lambda client: client.resubmit(job["id"]))
    links = daemon.as_user(lab.bob, lambda client: client.show(job["id"])["_links"])
    assert "app" not in links
    assert every_link_answers(daemon, lab.bob, links)


# ---- no more than the job


@needs_people
def test_every_link_of_a_job_answers(daemon: SystemDaemon, lab: Machine) -> None:
    data = lab.alice.home / "linked"
    lab.alice.call(lambda: data.write_text("x"))
    daemon.as_user(lab.alice, lambda client: client.submit_app(APP))
    body = {"name": "x", "appId": "copy-1", "inputs": {"data": str(data)}, "archive": True}
    job = daemon.ended(daemon.as_user(lab.alice, lambda client: client.submit(**body))["id"])
    assert (job["status"], job["archived"] is not None) == ("FINISHED", True)
    links = daemon.as_user(lab.alice, lambda client: client.show(job["id"])["_links"])
    assert links.keys() == {
        "self", "owner", "archiveData", "history", "app", "executionSystem", "metadata", "notifications",
        "permissions",
    }  # fmt: skip
    assert every_link_answers(daemon, lab.alice, links)
    daemon.as_user(lab.alice, lambda client: client.share(job["id"], "bob"))
    assert every_link_answers(
        daemon, lab.bob, daemon.as_user(lab.bob, lambda client: client.show(job["id"])["_links"])
    )


@needs_people
def test_every_link_of_what_is_said_about_a_job_answers(daemon: SystemDaemon, lab: Machine) -> None:
    """Its permissions, its notifications, their attempts and deliveries."""
    wish = {"event": "FINISHED", "command": ["true"]}
    job_id = daemon.run_as(lab.alice, "true", notifications=[wish])["id"]

    def delivered(client: Client) -> list[dict[str, Any]]:
        return client.deliveries(job_id, "DELIVERED")

    until(lambda: daemon.as_user(lab.alice, delivered))

    def everything(client: Client) -> list[dict[str, Any]]:
        for who in ("bob", "@lab"):
            client.share(job_id, who)
        told = client.notifications(job_id)
        return [*client.pems(job_id), *told, *client.attempts(told[0]["id"]), *client.deliveries(job_id)]

    found = daemon.as_user(lab.alice, everything)
    assert len(found) == 6
    for row in found:
        assert every_link_answers(daemon, lab.alice, row["_links"])


def every_link_answers(daemon: SystemDaemon, user: User, links: dict[str, Any]) -> bool:
    paths = [link["href"].removeprefix("http://localhost") for link in links.values()]
    codes = user.call(lambda: [ask(daemon.socket, "GET", path).code for path in paths])
    assert dict(zip(links, codes, strict=True)) == dict.fromkeys(links, 200)
    return True


def readable(daemon: SystemDaemon, user: User, job_id: str, *paths: str) -> list[int]:
    base = f"/jobs/v2/{job_id}/outputs"
    return list(user.call(lambda: [ask(daemon.socket, "GET", f"{base}/{path}").code for path in paths]))


def names(daemon: SystemDaemon, user: User, job_id: str, path: str = "") -> list[str]:
    return list(daemon.as_user(user, lambda client: [one["name"] for one in client.outputs(job_id, path)]))


@needs_people
def test_of_a_work_directory_others_get_nothing_of_jobds_own(daemon: SystemDaemon, lab: Machine) -> None:
    """A cluster's script is there, with the environment in it."""
    script = "mkdir -p .jobd-x sub/.jobd; echo SECRET > .jobd-x/script; echo fine > sub/.jobd/file"
    job_id = new(daemon, lab.alice, script)
    daemon.as_user(lab.alice, lambda client: client.share(job_id, "bob", write=True))
    paths = (
        "media/.jobd-x/script",
        "media/./.jobd-x/script",
        "listings/.jobd-x",
        "media//.jobd",
        "media/sub/.jobd/file",
    )
    assert readable(daemon, lab.alice, job_id, *paths) == [200] * 5
    assert readable(daemon, lab.bob, job_id, *paths) == [404] * 4 + [200]
    assert "sub" in names(daemon, lab.bob, job_id)


@needs_people
def test_of_an_archive_others_get_what_the_job_has_made(daemon: SystemDaemon, lab: Machine) -> None:
    """It can be any directory of hers, with other things in it."""
    archive = lab.alice.home / "results"
    for path in ("diary", "sub/old", "else/file"):
        (archive / path).parent.mkdir(parents=True, exist_ok=True)
        (archive / path).write_text("hers")
    subprocess.run(["chown", "-R", str(lab.alice.uid), archive], check=True)
    script = "mkdir -p new/deep; echo 1 > new/deep/one; printf x > \"$(printf 'odd\\377')\"; echo out"
    app = {"name": "makes", "version": "1", "command": ["/bin/sh", "-c", script]}
    daemon.as_user(lab.alice, lambda client: client.submit_app(app))
    body = {"name": "x", "appId": "makes-1", "archive": True, "archivePath": str(archive)}
    job_id = daemon.as_user(lab.alice, lambda client: client.submit(**body))["id"]
    assert daemon.ended(job_id)["archived"] is not None
    daemon.as_user(lab.alice, lambda client: client.share(job_id, "bob"))
    log = f"x-{job_id}.out"
    assert {"diary", "sub", "else", "new", log} <= {*names(daemon, lab.alice, job_id)}
    found = names(daemon, lab.bob, job_id)
    assert sorted(name for name in found if name.startswith(("new", "x-"))) == ["new", f"x-{job_id}.err", log]
    assert len(found) == 4, found
    assert names(daemon, lab.bob, job_id, "new") == ["deep"]
    assert names(daemon, lab.bob, job_id, "new/deep/one") == ["one"]
    good = ("media/new/deep/one", "media/odd%FF", f"media/{log}", "listings/new/deep")
    bad = (
        "media/diary",
        "media/sub/old",
        "listings/sub",
        "listings/else",
        "media/.jobd",
        "media/new/../diary",
    )
    assert readable(daemon, lab.bob, job_id, *good, *bad) == [200] * 4 + [404] * 6
    assert daemon.as_user(lab.bob, lambda client: b"".join(client.logs(job_id)).decode()) == "out\n"


@needs_people
def test_nobody_can_guess_what_is_in_anothers_environment(daemon: SystemDaemon, lab: Machine) -> None:
    """By a job of their own that would differ less and less."""
    ids = {
        user.name: daemon.run_as(user, "true", environment={"PIN": pin, **more})["id"]
        for user, pin, more in ((lab.alice, "1234", {"HERS": "x"}), (lab.bob, "1234", {}))
    }
    wrong = daemon.run_as(lab.bob, "true", environment={"PIN": "9999"})["id"]
    daemon.as_user(lab.alice, lambda client: client.share(ids["alice"], "bob"))

    def compare(client: Client, mine: str) -> Any:
        found = client.diff(ids["alice"], mine)
        return [one["name"] for one in found["differences"] if one["group"] == "environment"], found[
            "missing"
        ]

    right = daemon.as_user(lab.bob, lambda client: compare(client, ids["bob"]))
    assert right == daemon.as_user(lab.bob, lambda client: compare(client, wrong))
    assert right[0] == ["HERS"]
    assert "two people's" in right[1][-1]


# ---- below the daemon


def test_who_has_just_lost_the_right_to_share_does_not_use_it_any_more(tmp_path: Path) -> None:
    """Bob is found to have it while the writing thread is about to take it away."""

    async def test(store: Any) -> None:
        job = await add(store, owner="alice")
        for pem in (Pem("bob", Right.WRITE), Pem("@lab", Right.READ)):
            await store.write(lambda tx, pem=pem: pems.put(tx, job.seq, pem, "alice"))
        desk, bob = Desk(store, *[None] * 4), Caller(1, 1, "bob")  # type: ignore[arg-type]
        go_on = threading.Event()
        before = asyncio.create_task(store.write(lambda tx: go_on.wait(20)))
        lost = Pem("bob", Right.NONE)
        taken = asyncio.create_task(store.write(lambda tx: pems.put(tx, job.seq, lost, "alice")))
        bobs = asyncio.create_task(share.share(desk, bob, job.id, "@lab", Right.NONE))
        await asyncio.sleep(0)
        go_on.set()
        assert await before
        await taken
        with pytest.raises(NotFound, match=job.id):
            await bobs
        assert await store.read(lambda sql: pems.of_job(sql, job.seq)) == [Pem("@lab", Right.READ)]

    with_store(tmp_path, test)


def test_who_is_not_connected_may_read_what_their_groups_may(tmp_path: Path) -> None:
    """As the group database has it."""
    who = next(one for one in pwd.getpwall() if one.pw_uid and people.groups_of(one.pw_name))
    group = grp.getgrgid(who.pw_gid).gr_name

    async def test(store: Any) -> None:
        def may(name: str, admins: str | None = None) -> bool:
            return bool(store.query(lambda sql: pems.may_read_unseen(sql, job.seq, job.owner, name, admins)))

        job, other = await add(store, owner="somebody"), await add(store, owner="somebody")
        assert (may("somebody"), may("root"), may(who.pw_name), may("nobody-such")) == (
            True,
            True,
            False,
            False,
        )
        await store.write(lambda tx: pems.put(tx, other.seq, Pem(f"@{group}", Right.WRITE), "somebody"))
        assert not may(who.pw_name)
        for grantee in (who.pw_name, f"@{group}"):
            await store.write(lambda tx, g=grantee: pems.put(tx, job.seq, Pem(g, Right.READ), "somebody"))
            assert may(who.pw_name)
            await store.write(lambda tx, g=grantee: pems.put(tx, job.seq, Pem(g, Right.NONE), "somebody"))
            assert not may(who.pw_name)
        assert (may(who.pw_name, group), may(who.pw_name, "no-such-group")) == (True, False)

    with_store(tmp_path, test)


def test_a_daemon_of_ones_own_shares_with_nobody(short_dir: Path) -> None:
    with RunningDaemon(short_dir) as daemon:
        job_id = daemon.run("true")["id"]
        group = grp.getgrall()[0].gr_name
        for who in ("nobody", f"@{group}"):
            with pytest.raises(NotFound, match=r"this daemon serves .* only"):
                daemon.client().share(job_id, who)
