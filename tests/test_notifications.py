"""Notifications: what may be asked for, what is kept of it, whose they are, and that a resubmission recreates
them or does not."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.api import wire
from jobd.client import Client
from jobd.errors import Invalid, NotFound
from jobd.verbs import notification
from jobd.verbs.request import read
from tests.daemon import RunningDaemon
from tests.people import SystemDaemon, machine, needs_people
from tests.talk import ask

ALL = "/notifications/v2"
HOOK = "https://lab.example/hook"
WISH = {"event": "FINISHED", "url": HOOK}
POLICY = {
    "retryStrategy": "EXPONENTIAL",
    "retryLimit": 8,
    "retryRate": 5,
    "retryDelay": 0,
    "saveOnFailure": False,
}


# ---- as they come


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"event": "FINISHD"}, "event", r"FINISHED\?"),
        ({"event": "tomorrow"}, "event", r"expected one of \*, ARCHIVING"),
        ({"event": 5}, "event", "text"),
        ({"event": None}, "event", "text"),
        ({"url": "slack:token"}, "url", "nothing can be delivered.*https.*command"),
        ({"url": "https://lab/${JOB_NAM}"}, "url", "no macro .*expected .*JOB_NAME"),
        ({"body": "${job_id}"}, "body", "no macro"),
        ({"body": {"text": ["${X}"]}}, "body", "no macro"),
        ({"body": 5}, "body", "a text"),
        ({"body": "x" * 16385}, "body", "too long"),
        ({"digest": "10m"}, "digest", "only mail is gathered"),
        ({"digest": "soon"}, "digest", "is not a duration"),
        ({"digest": 0}, "digest", "between 1 second"),
        ({"url": "file:///etc/passwd"}, "url", "nothing can be delivered"),
        ({"url": "https://"}, "url", "nothing can be delivered"),
        ({"url": "https://lab:99999/x"}, "url", "nothing can be delivered"),
        ({"url": "https://lab/a b"}, "url", "no address"),
        ({"url": "https://lab/\r\nHost: x"}, "url", "no address"),
        ({"url": "https://lab/" + "x" * 2048}, "url", "at most 2048"),
        ({"url": "mailto:ann@lab?bcc=all@lab"}, "url", "nothing can be delivered"),
        ({"url": "https://${JOB_NAME}/x"}, "url", "a macro must not choose who"),
        ({"url": "https://lab:${JOB_ID}?x"}, "url", "a macro must not choose who"),
        ({"url": "${JOB_NAME}@lab.example"}, "url", "a macro must not choose who"),
        ({"url": "mailto:ann@${JOB_NAME}"}, "url", "a macro must not choose who"),
        ({"url": None}, "url", "does not say where to"),
        ({"command": ["mail"]}, "url", "both"),
        ({"url": None, "command": []}, "command", "at least one"),
        ({"url": None, "command": [""]}, "command.0", "empty"),
        ({"url": None, "command": ["a\0"]}, "command.0", "NUL"),
        ({"url": None, "command": "mail"}, "command", "a list"),
        ({"persistent": "often"}, "persistent", "true or false"),
        ({"persistant": True}, "persistant", "did you mean persistent"),
        ({"policy": {"retryStrategy": "SOMETIMES"}}, "policy.retryStrategy", "EXPONENTIAL"),
        ({"policy": {"retryLimit": 1441}}, "policy.retryLimit", "1440"),
        ({"policy": {"retryLimit": True}}, "policy.retryLimit", "whole number"),
        ({"policy": {"retryRate": 86401}}, "policy.retryRate", "86400"),
        ({"policy": {"retryDelay": -1}}, "policy.retryDelay", "0"),
        ({"policy": {"retries": 1}}, "policy.retries", "one of retryDelay"),
        ({"policy": 5}, "policy", "a mapping"),
    ],
)  # fmt: skip
def test_each_fault_names_its_field(change: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as raised:
        notification.read({**WISH, **change})
    assert [fault.field for fault in raised.value.faults] == [field]


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        (HOOK, HOOK),
        ("http://[::1]:8080/a?job=${JOB_ID}", "http://[::1]:8080/a?job=${JOB_ID}"),
        ("ann.o'hara@lab.example", "mailto:ann.o'hara@lab.example"),
        ("mailto:ann@lab", "mailto:ann@lab"),
    ],
)
def test_where_to(url: str, kept: str) -> None:
    assert notification.read({**WISH, "url": url}).url == kept


@pytest.mark.parametrize("event", ["finished", " *", "MEMORY_LIMIT", "staging_inputs", "LOST"])
def test_events_are_statuses_conditions_and_all(event: str) -> None:
    assert notification.read({**WISH, "event": event}).event == event.strip().upper()


def test_a_policy_is_whole_afterwards() -> None:
    kept = notification.read({**WISH, "policy": {"retryStrategy": "delayed", "retryLimit": 1440}}).policy
    assert kept == {**POLICY, "retryStrategy": "DELAYED", "retryLimit": 1440}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
fields = st.sampled_from(["event", "url", "command", "persistent", "policy", "x"])


@settings(deadline=None)
@given(st.dictionaries(fields, anything | st.sampled_from(["*", HOOK])))
def test_anything_is_a_notification_or_says_what_is_wrong(body: dict[str, Any]) -> None:
    with contextlib.suppress(Invalid):
        assert notification.read(body).event in notification.EVENTS


# ---- in a submission

BODY = {"name": "fit", "command": ["true"]}


def test_an_address_alone_means_the_three_endings() -> None:
    for field in ("notifications", "callbackUrl"):
        wanted = read({**BODY, field: HOOK}).wanted
        assert [(one.event, one.url) for one in wanted] == [
            ("FAILED", HOOK),
            ("FINISHED", HOOK),
            ("STOPPED", HOOK),
        ]
    assert len(read({**BODY, "callbackUrl": HOOK, "notifications": [WISH]}).wanted) == 4
    for nothing in (None, [], ""):
        assert read({**BODY, "notifications": nothing, "callbackUrl": None}).wanted == ()


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"notifications": [WISH, {"event": "x", "url": "y"}, 5]},
         ["3.notifications.1.event", "3.notifications.1.url", "3.notifications.2"]),
        ({"notifications": {"event": "*"}}, ["3.notifications.url"]),
        ({"notifications": "file:///x"}, ["3.notifications"]),
        ({"notifications": 5}, ["3.notifications"]),
        ({"notifications": [WISH] * 101}, ["3.notifications"]),
        ({"callbackUrl": "file:///x", "nodeCount": 0}, ["3.nodeCount", "3.callbackUrl"]),
        ({"callbackUrl": [WISH]}, ["3.callbackUrl"]),
    ],
)  # fmt: skip
def test_faults_have_their_place_in_the_submission(change: dict[str, Any], fields: list[str]) -> None:
    with pytest.raises(Invalid) as raised:
        read({**BODY, **change}, "3.")
    assert [fault.field for fault in raised.value.faults] == fields


# ---- kept


@pytest.fixture(scope="module")
def served() -> Iterator[RunningDaemon]:
    with tempfile.TemporaryDirectory(prefix="jobd-") as name, RunningDaemon(Path(name)) as running:
        yield running


def of_job(served: RunningDaemon, job: dict[str, Any]) -> list[dict[str, Any]]:
    """By way of the job's own link."""
    href = job["_links"]["notifications"]["href"].removeprefix("http://localhost")
    answer = ask(served.socket, "GET", href)
    assert answer.code == 200
    for row in answer.result:
        wire.Notification.model_validate(row)
    return list(answer.result)


def wishes(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["event"], row["url"], row["command"], row["persistent"], row["policy"]) for row in rows]


ASKED = [
    WISH,
    {"event": "*", "command": ["true", "it's $(moved) on"], "persistent": True},
    {"event": "TIME_LIMIT", "url": "ann@lab", "policy": {"retryLimit": 10, "saveOnFailure": True}},
]
KEPT = [
    ("FINISHED", HOOK, None, False, POLICY),
    ("*", None, ["true", "it's $(moved) on"], True, POLICY),
    ("TIME_LIMIT", "mailto:ann@lab", None, False, {**POLICY, "retryLimit": 10, "saveOnFailure": True}),
]


def test_a_submission_brings_its_notifications(served: RunningDaemon) -> None:
    job = served.submit("true", notifications=ASKED)
    found = of_job(served, job)
    assert wishes(found) == KEPT
    assert {row["associatedUuid"] for row in found} == {job["id"]}
    assert all(row["id"].endswith("-011") and len(row["id"]) == 40 for row in found)


def test_they_survive_a_crash_of_the_daemon(daemon: RunningDaemon) -> None:
    job = daemon.submit("true", notifications=ASKED)
    daemon.kill9()
    daemon.start()
    assert wishes(of_job(daemon, job)) == KEPT


@pytest.mark.parametrize(("body", "kept"), [({}, True), ({"preserveNotifications": "true"}, True),
                                            ({"preserveNotifications": False}, False)])  # fmt: skip
def test_a_resubmission_recreates_them_or_does_not(
    served: RunningDaemon, body: dict[str, Any], kept: bool
) -> None:
    """Those that came after the submission too, and not those that were taken back."""
    job = served.run("true", notifications=[*ASKED, {"event": "LOST", "url": HOOK}])
    (gone,) = (row for row in of_job(served, job) if row["event"] == "LOST")
    assert ask(served.socket, "DELETE", f"{ALL}/{gone['id']}").code == 200
    later = {"associatedUuid": job["id"], "event": "failed", "url": "http://later"}
    assert ask(served.socket, "POST", ALL, later).code == 201
    again = ask(served.socket, "POST", f"/jobs/v2/{job['id']}/resubmit", body).result
    made = of_job(served, again)
    assert wishes(made) == (wishes(of_job(served, job)) if kept else [])
    assert len(made) == (4 if kept else 0)
    assert not {row["id"] for row in made} & {row["id"] for row in of_job(served, job)}
    third = ask(served.socket, "POST", f"/jobs/v2/{again['id']}/resubmit", {}).result
    assert len(of_job(served, third)) == len(made)


def test_a_repeated_submission_makes_them_once(served: RunningDaemon) -> None:
    body = {**BODY, "notifications": ASKED}
    one, two = (
        ask(served.socket, "POST", "/jobs/v2", body, Idempotency_Key="notify-once").result for _ in range(2)
    )
    assert one["id"] == two["id"]
    assert len(of_job(served, one)) == 3


def test_made_looked_at_changed_and_taken_back(served: RunningDaemon) -> None:
    job = served.submit("true")
    made = ask(served.socket, "POST", ALL, {"associatedUuid": job["id"], **WISH})
    assert made.code == 201
    href = made.result["_links"]["self"]["href"].removeprefix("http://localhost")
    assert ask(served.socket, "GET", href).result == made.result
    changed = ask(
        served.socket, "POST", href, {"command": ["mail", "ann"], "policy": {"retryRate": 60}}
    ).result
    assert wishes([changed]) == [("FINISHED", None, ["mail", "ann"], False, {**POLICY, "retryRate": 60})]
    assert ask(served.socket, "POST", href, {"persistent": True}).result["command"] == ["mail", "ann"]
    assert ask(served.socket, "POST", href, {"url": HOOK}).result["command"] is None
    assert ask(served.socket, "POST", href, {"event": "x", "policy": {"retryLimit": -1}}).fields == [
        "event",
        "policy.retryLimit",
    ]
    assert ask(served.socket, "POST", href, {"associatedUuid": "other"}).fields == ["associatedUuid"]
    assert ask(served.socket, "GET", href).result["event"] == "FINISHED"
    assert ask(served.socket, "DELETE", href).code == 200
    assert ask(served.socket, "GET", href).code == 404
    assert ask(served.socket, "DELETE", href).code == 404
    assert of_job(served, job) == []


def test_as_a_form(served: RunningDaemon) -> None:
    job = served.submit("true")
    form = f"associatedUuid={job['id']}&event=*&url=http://lab/x&persistent=true"
    made = served.curl("-d", form, "http://localhost/notifications/v2")
    assert json.loads(made.stdout)["result"]["persistent"] is True


def test_all_of_an_array_or_none(served: RunningDaemon) -> None:
    job = served.submit("true")
    good = {"associatedUuid": job["id"], **WISH}
    refused = ask(served.socket, "POST", ALL, [good, {**good, "event": "x"}, {"event": "*"}, 7])
    assert refused.fields == ["1.event", "2.associatedUuid", "2.url", "3"]
    assert ask(served.socket, "POST", ALL, [good, {**good, "associatedUuid": "x"}]).code == 404
    assert of_job(served, job) == []
    assert len(ask(served.socket, "POST", ALL, [good, good]).result) == 2
    too_many = ask(served.socket, "POST", ALL, [good] * 99)
    assert too_many.code == 409
    assert len(of_job(served, job)) == 2


def test_the_newest_of_all_jobs_come_first(served: RunningDaemon) -> None:
    job = served.submit("true", notifications=ASKED)
    listed = ask(served.socket, "GET", "/notifications/v2?limit=2").result
    assert [row["associatedUuid"] for row in listed] == [job["id"]] * 2
    assert listed[0]["event"] == "TIME_LIMIT"
    assert ask(served.socket, "GET", "/notifications/v2?associatedUuid=nowhere").code == 404


def test_on_the_command_line(served: RunningDaemon) -> None:
    job = served.submit("true", name="watched")
    done = served.jobctl("notify", job["id"], "--on", "FINISHED,failed", "--to", "ann@lab")
    assert done.returncode == 0
    command = ["notify", job["id"], "--on", "*", "--persistent", "--", "true", "--urgent", "a b"]
    assert served.jobctl(*command).returncode == 0
    listed = served.jobctl("notifications", job["id"]).stdout.splitlines()
    assert [line.split(maxsplit=1)[1].split()[:-2] for line in listed[1:]] == [
        ["FINISHED", "mailto:ann@lab", "once"],
        ["FAILED", "mailto:ann@lab", "once"],
        ["*", "true", "--urgent", "'a", "b'", "always"],
    ]
    ids = served.jobctl("notifications", "-q", job["id"]).stdout.split()
    assert served.jobctl("notifications", "--remove", ids[0], "--remove", ids[2]).returncode == 0
    assert served.jobctl("notifications", "-q", job["id"]).stdout.split() == [ids[1]]
    for wrong, code in ((["--to", "file:///x"], 2), ([], 2), (["--to", HOOK, "--", "true"], 2)):
        assert served.jobctl("notify", job["id"], *wrong).returncode == code
    assert (
        '--on: there is no event "Y"'
        in served.jobctl("notify", job["id"], "--on", "X,Y", "--to", HOOK).stderr
    )
    assert served.jobctl("notifications", "--remove", "nothing-011").returncode == 66


# ---- whose they are


@needs_people
def test_a_notification_is_its_owners_alone() -> None:
    with machine() as lab, SystemDaemon(lab, "alsoUsers: [root]") as daemon:
        alices = daemon.submit_as(
            lab.alice, "true", notifications=[WISH, {"event": "*", "command": ["true"]}]
        )

        def own(client: Client) -> list[Any]:
            return [row["id"] for row in client.notifications(alices["id"])]

        ids = daemon.as_user(lab.alice, own)
        assert len(ids) == 2

        def others(client: Client) -> str:
            for method, body in (("GET", None), ("DELETE", None), ("POST", {"event": "*"})):
                for path in (f"{ALL}/{ids[0]}", "/notifications/v2/nowhere-011"):
                    with pytest.raises(NotFound, match="no notification"):
                        client._ask(method, path, body=body)
            with pytest.raises(NotFound):
                client.notify(alices["id"], ["FINISHED"], url=HOOK)
            with pytest.raises(NotFound):
                client.notifications(alices["id"])
            return str(list(client._ask("GET", ALL)))

        assert daemon.as_user(lab.bob, others) == "[]"
        assert daemon.as_user(lab.alice, own) == ids
        # root resubmits for alice: what was to run as her is not to run as root, and her addresses are hers.
        again = daemon.client().resubmit(alices["id"])
        assert again["owner"] == "root"
        assert daemon.client().notifications(again["id"]) == []
