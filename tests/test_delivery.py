"""Notifications on their whole way: from what happens to a job to a real receiver, through everything that
can come between."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from jobd.api import wire
from jobd.errors import Invalid, NotFound
from tests.daemon import RunningDaemon, until
from tests.loads import children
from tests.people import Machine, SystemDaemon, machine, needs_people
from tests.receivers import (
    HANGING,
    MISBEHAVING,
    Receiver,
    Taken,
    Visit,
    answers,
    fails_at_first,
    hangs,
    mail_server,
    receiver,
)
from tests.talk import ask

ALL, DELIVERIES = "/notifications/v2", "/deliveries/v2"
ONCE = {"retryStrategy": "NONE"}
SOON = {"retryStrategy": "IMMEDIATE", "retryRate": 0, "retryLimit": 100}
SHORT = "notifications: {timeout: 2s}"


@pytest.fixture(scope="module")
def served() -> Iterator[RunningDaemon]:
    with tempfile.TemporaryDirectory(prefix="jobd-") as name, RunningDaemon(Path(name), SHORT) as running:
        yield running


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def to(url: str, event: str = "*", **more: Any) -> dict[str, Any]:
    return {"event": event, "url": url, "persistent": True, "policy": SOON, **more}


def events(taken: list[Taken]) -> list[str]:
    return [one.json["event"] for one in taken]


def deliveries(served: RunningDaemon, job_id: str, state: str = "") -> list[dict[str, Any]]:
    query = f"&status={state}" if state else ""
    found = ask(served.socket, "GET", f"{DELIVERIES}?associatedUuid={job_id}{query}").result
    for row in found:
        wire.Delivery.model_validate(row)
    return list(found)


def settled(served: RunningDaemon, job_id: str) -> list[dict[str, Any]]:
    """Once nothing is open."""
    return until(
        lambda: deliveries(served, job_id) and not deliveries(served, job_id, "OPEN")
    ) and deliveries(served, job_id)


def attempts(served: RunningDaemon, notification: dict[str, Any]) -> list[dict[str, Any]]:
    href = notification["_links"]["attempts"]["href"].removeprefix("http://localhost")
    found = ask(served.socket, "GET", href).result
    for row in found:
        wire.Attempt.model_validate(row)
    return list(found)


def of_job(served: RunningDaemon, job_id: str) -> list[dict[str, Any]]:
    return list(ask(served.socket, "GET", f"{ALL}?associatedUuid={job_id}").result)


# ---- what arrives


def test_every_status_arrives_in_order_with_the_job_as_it_was(served: RunningDaemon, hook: Receiver) -> None:
    job = served.run("sh", "-c", "exit 3", name="fit", notifications=[to(hook.url())])
    until(lambda: "FAILED" in events(hook.taken))
    assert events(hook.taken) == ["PENDING", "SUBMITTING", "RUNNING", "FAILED"]
    assert [one.json["job"]["status"] for one in hook.taken] == events(hook.taken)
    told = hook.taken[-1].json
    assert told["job"]["id"] == job["id"]
    assert (told["job"]["exitCode"], told["job"]["condition"]) == (3, "EXIT_CODE")
    assert told["job"]["_links"]["self"]["href"] == f"http://localhost/jobs/v2/{job['id']}"
    assert hook.taken[-1].headers["content-type"] == "application/json"
    assert len({one.json["id"] for one in hook.taken}) == 4


def test_a_submission_s_address_is_told_of_the_end_once(served: RunningDaemon, hook: Receiver) -> None:
    done = served.jobctl("run", "--notify", hook.url(), "--", "true")
    assert done.returncode == 0, done.stderr
    until(lambda: hook.taken)
    assert events(hook.taken) == ["FINISHED"]


def test_the_signature_is_one_for_the_libraries_of_standard_webhooks(
    served: RunningDaemon, hook: Receiver
) -> None:
    served.run("true", notifications=[to(hook.url(), "FINISHED")])
    until(lambda: hook.taken)
    key = served.jobctl("notifications", "--key").stdout.strip()
    (told,) = hook.taken
    assert Webhook(key).verify(told.body, told.headers) == told.json
    assert told.headers["webhook-id"] == told.json["id"]
    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(told.body + b" ", told.headers)


def test_a_scheme_can_be_written_in_capitals(served: RunningDaemon, hook: Receiver) -> None:
    served.run("true", notifications=[to(hook.url().replace("http:", "HTTP:"), "FINISHED")])
    until(lambda: hook.taken)
    assert events(hook.taken) == ["FINISHED"]


def test_macros_are_escaped_for_where_they_stand(served: RunningDaemon, hook: Receiver) -> None:
    body = {"text": '${JOB_NAME} is ${JOB_STATUS}; ${OWNER}, "${EVENT}"', "${EVENT}": [1, "${JOB_EXIT_CODE}"]}
    url = hook.url("/a/${JOB_NAME}?status=${JOB_STATUS}&id=${JOB_ID}")
    wishes = [to(url, "FINISHED", body=body), to(hook.url("/text"), "FINISHED", body="${JOB_NAME}!")]
    job = served.run("true", name='a/b?c&d="${OWNER}" é', notifications=wishes)
    until(lambda: len(hook.taken) == 2)
    told, text = sorted(hook.taken, key=lambda one: one.path)
    name = "a%2Fb%3Fc%26d%3D%22%24%7BOWNER%7D%22%20%C3%A9"
    assert told.path == f"/a/{name}?status=FINISHED&id={job['id']}"
    me = job["owner"]
    said = f'a/b?c&d="${{OWNER}}" é is FINISHED; {me}, "FINISHED"'
    assert told.json == {"text": said, "${EVENT}": [1, "0"]}
    assert (text.body.decode(), text.headers["content-type"]) == (
        'a/b?c&d="${OWNER}" é!',
        "text/plain; charset=utf-8",
    )


@pytest.mark.parametrize(
    ("script", "limit", "words"),
    [
        ("exit 0", None, ""),
        ("exit 3", None, "exit code 3"),
        ("kill -9 $$", None, "ended by signal 9"),
        ("sleep 60", "00:00:01", "its time limit of 1 s was over"),
    ],
)
def test_what_went_wrong_is_told_in_words(
    served: RunningDaemon, hook: Receiver, script: str, limit: str | None, words: str
) -> None:
    wishes = [to(hook.url(), event, body="<${JOB_ERROR}>") for event in ("FINISHED", "FAILED")]
    more = {"maxRunTime": limit} if limit else {}
    served.run("sh", "-c", script, notifications=wishes, **more)
    until(lambda: hook.taken)
    assert hook.taken[0].body.decode() == f"<{words}>"


def test_a_command_has_the_macros_in_its_environment_and_the_message_on_its_input(
    served: RunningDaemon, tmp_path: Path
) -> None:
    """What a job is called is no shell's business."""
    command = [
        "sh",
        "-c",
        f'echo "$JOB_NAME|$EVENT|$HOME" > {tmp_path}/out; cat > {tmp_path}/in',
        "${JOB_NAME}",
    ]
    name = "$(touch pwned) `id`; x"
    job = served.run("true", name=name, notifications=[{"event": "FINISHED", "command": command}])
    settled(served, job["id"])
    me = job["owner"]
    assert (tmp_path / "out").read_text().startswith(f"{name}|FINISHED|/")
    told = json.loads((tmp_path / "in").read_text())
    assert (told["owner"], told["job"]["name"]) == (me, name)


def test_a_command_that_fails_or_hangs_says_how(served: RunningDaemon) -> None:
    wishes = [
        {"event": "FINISHED", "policy": ONCE, "command": command}
        for command in (["sh", "-c", "echo no >&2; exit 7"], ["no-such-program"], ["sh", "-c", "kill -9 $$"])
    ]
    job = served.run("true", notifications=wishes)
    words = [row["message"] for row in reversed(settled(served, job["id"]))]
    assert words[0] == "exit code 7: no"
    assert "no-such-program: No such file" in words[1]
    assert words[2] == "ended by signal 9"


def test_what_a_command_says_is_shown_as_text_whatever_it_is(served: RunningDaemon) -> None:
    """U+DC80 is a byte that is no UTF-8: no text that the store could hold."""
    commands = (["/no/\udc80such"], ["printf", "\\377 \\033[31m red\\0"])
    wishes = [{"event": "FINISHED", "policy": ONCE, "command": command} for command in commands]
    job = served.run("true", notifications=wishes)
    words = [row["message"] for row in reversed(settled(served, job["id"]))]
    assert words == [
        "/no/ such: No such file or directory",
        "exit code 0: \N{REPLACEMENT CHARACTER} [31m red",
    ]
    assert "Traceback" not in served.logged()


# ---- mail


def smtp(port: int) -> str:
    server = f"host: 127.0.0.1, port: {port}, security: none, sender: jobd@lab.example"
    return f"notifications: {{smtp: {{{server}}}}}"


def test_mail_by_smtp_and_one_mail_for_many_jobs_of_one_name(tmp_path: Path) -> None:
    with mail_server() as server, RunningDaemon(tmp_path, smtp(server.port)) as daemon:
        daemon.run("sh", "-c", "exit 3", name="fit\u202e", notifications=[to("ann@lab.example", "FAILED")])
        until(lambda: server.taken)
        (mail,) = server.taken
        assert (mail["To"], mail["From"]) == ("ann@lab.example", "jobd@lab.example")
        assert "FAILED" in str(mail["Subject"])
        assert "exit code  3" in mail.get_payload(decode=True).decode()
        wish = to("ann@lab.example", "FINISHED", digest="2s")
        jobs = [daemon.submit("true", name="many", notifications=[wish])["id"] for _ in range(20)]
        until(lambda: len(server.taken) == 2, 30)
        for job_id in jobs:
            (row,) = settled(daemon, job_id)
            assert row["status"] == "DELIVERED"
        assert len(server.taken) == 2
        assert "many: 20 FINISHED" in str(server.taken[1]["Subject"])
        text = server.taken[1].get_payload(decode=True).decode()
        assert all(job_id in text for job_id in jobs)


def test_where_no_mail_can_be_sent_it_is_said_early(tmp_path: Path, served: RunningDaemon) -> None:
    if any(os.path.exists(f"/{place}/sendmail") for place in ("usr/sbin", "usr/lib", "usr/bin")):
        pytest.skip("this machine has a sendmail")
    job = served.submit("true")
    said = served.jobctl("notify", job["id"], "--on", "RUNNING", "--to", "ann@lab").stderr
    assert "no mail can be sent" in said or "over already" in said
    assert "no mail can be sent" in served.jobctl("doctor").stdout


# ---- what can come between


def test_tried_again_with_the_same_id_until_it_is_taken(served: RunningDaemon) -> None:
    with receiver(fails_at_first) as hook:
        job = served.run("true", notifications=[to(hook.url(), "FINISHED")])
        (row,) = settled(served, job["id"])
        assert (row["status"], row["attempts"], row["responseCode"]) == ("DELIVERED", 2, 200)
        assert len({one.headers["webhook-id"] for one in hook.taken}) == 1
    (one,) = of_job(served, job["id"])
    assert (one["attempts"], one["success"], one["responseCode"]) == (2, True, 200)
    last, first = attempts(served, one)
    assert (first["success"], first["responseCode"], last["success"]) == (False, 500, True)
    assert "busy" in first["message"]


def test_what_could_not_be_delivered_is_kept_and_tried_anew_by_hand(served: RunningDaemon) -> None:
    with receiver(answers(503, b"out to lunch")) as sick:
        job = served.run("true", name="letter", notifications=[to(sick.url(), "FINISHED", policy=ONCE)])
        (row,) = settled(served, job["id"])
        assert (row["status"], row["attempts"]) == ("FAILED", 1)
        assert "out to lunch" in served.jobctl("deliveries", job["id"], "--failed").stdout
    (one,) = of_job(served, job["id"])
    assert one["success"] is False
    with receiver() as well:
        href = one["_links"]["self"]["href"].removeprefix("http://localhost")
        assert ask(served.socket, "POST", href, {"url": well.url()}).code == 200
        assert served.jobctl("deliveries", job["id"], "--retry", "all").returncode == 0
        until(lambda: well.taken)
        assert well.taken[0].headers["webhook-id"] == row["id"]
    (row,) = settled(served, job["id"])
    assert (row["status"], row["attempts"]) == ("DELIVERED", 2)
    assert ask(served.socket, "POST", f"{DELIVERIES}/{row['id']}/retry", {}).code == 409
    assert served.jobctl("deliveries", "--drop", row["id"]).returncode == 0
    assert ask(served.socket, "GET", f"{DELIVERIES}/{row['id']}").code == 404


def test_several_are_tried_anew_or_dropped_whatever_is_wrong_with_one(served: RunningDaemon) -> None:
    well = threading.Event()

    def answer(visit: Visit) -> None:
        while visit.take():
            visit.say(200 if well.is_set() else 503)

    with receiver(answer) as sick:
        job = served.run("true", notifications=[to(sick.url(), policy=ONCE)])
        rows = settled(served, job["id"])
        well.set()
        done = served.jobctl("deliveries", "--retry", "no-such", "--retry", rows[0]["id"], "-q")
        assert (done.returncode, done.stdout) == (3, f"{rows[0]['id']}\n")
        assert "no delivery has an id that begins with no-such" in done.stderr
        until(lambda: len(deliveries(served, job["id"], "DELIVERED")) == 1)
        sick.taken.clear()
        assert served.jobctl("deliveries", job["id"], "--retry", "all").returncode == 0
        until(lambda: len(deliveries(served, job["id"], "DELIVERED")) == len(rows))
        assert events(sick.taken) == [row["event"] for row in reversed(rows[1:])]
    (one,) = of_job(served, job["id"])
    dropped = served.jobctl("deliveries", "--drop", "no-such", "--drop", rows[0]["id"], "-q")
    assert (dropped.returncode, dropped.stdout) == (3, f"{rows[0]['id']}\n")
    nothing = served.jobctl("deliveries", "--drop", "no-such")
    assert (nothing.returncode, nothing.stdout) == (66, "")
    removed = served.jobctl("notifications", "--remove", "no-such", "--remove", one["id"], "-q")
    assert (removed.returncode, removed.stdout) == (3, f"{one['id']}\n")


def test_a_receiver_that_is_gone_for_good_is_not_asked_again(served: RunningDaemon) -> None:
    with receiver(answers(410)) as gone:
        job = served.run("true", notifications=[to(gone.url(), "FINISHED")])
        (row,) = settled(served, job["id"])
        assert (row["status"], row["attempts"]) == ("FAILED", 1)


@pytest.mark.slow
def test_receivers_that_misbehave_hold_up_nobody(served: RunningDaemon, hook: Receiver) -> None:
    """All of them at once, many times over; a good one, of the same job and of others, hears at once."""
    with contextlib.ExitStack() as stack:
        bad = [stack.enter_context(receiver(how)) for how in MISBEHAVING]
        wishes = [to(one.url(), policy=ONCE) for one in bad]
        began = time.monotonic()
        jobs = [served.submit("true", notifications=[*wishes, to(hook.url())])["id"] for _ in range(10)]
        until(lambda: events(hook.taken).count("FINISHED") == 10, 30)
        for job_id in jobs:
            assert served.ended(job_id)["status"] == "FINISHED"
        assert served.run("true")["status"] == "FINISHED"
        heard = time.monotonic() - began
        until(lambda: not any(deliveries(served, job_id, "OPEN") for job_id in jobs), 90)
        assert heard < time.monotonic() - began  # those that hang were still at it
        for job_id in jobs:
            failed = deliveries(served, job_id, "FAILED")
            assert len({row["url"] for row in failed}) >= len(HANGING)
    log = served.logged()
    assert "Traceback" not in log


def test_the_daemon_ends_at_once_while_receivers_and_commands_hang(daemon: RunningDaemon) -> None:
    with receiver(hangs) as slow:
        command = {"event": "FINISHED", "command": ["sleep", "20"]}
        daemon.run("true", notifications=[to(slow.url()), command])
        until(lambda: slow.taken)
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 5  # and not the 10 and 20 seconds that they take
        daemon.start()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kill_9_of_the_daemon_and_of_the_courier_loses_nothing(daemon: RunningDaemon, hook: Receiver) -> None:
    """At least once, in order per job, and whatever comes again has the id that it had."""
    wish = [to(hook.url())]
    jobs: list[str] = []
    for number in range(8):
        jobs += [daemon.submit("true", notifications=wish)["id"] for _ in range(5)]
        known = len(hook.taken)
        until(lambda known=known: len(hook.taken) > known, 60)
        if number % 2:
            for pid in courier(daemon):
                os.kill(pid, signal.SIGKILL)
        else:
            daemon.kill9()
            daemon.start()
    for job_id in jobs:
        daemon.ended(job_id)
        until(lambda job_id=job_id: not deliveries(daemon, job_id, "OPEN"), 60)
    heard: dict[str, list[tuple[str, str]]] = {job_id: [] for job_id in jobs}
    for one in list(hook.taken):
        heard[one.json["job"]["id"]].append((one.json["event"], one.headers["webhook-id"]))
    for job_id, told in heard.items():
        happened = [line["status"] for line in daemon.client().history(job_id)]
        assert [event for (event, _), _ in groupby(told)] == happened
        assert len({id for _, id in told}) == len(happened)


def courier(daemon: RunningDaemon) -> list[int]:
    assert daemon.process is not None
    names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in children(daemon.process.pid)}
    return [pid for pid, name in names.items() if name == "jobd-courier"]


def test_what_was_to_be_told_while_the_daemon_was_away_is_told(daemon: RunningDaemon) -> None:
    with receiver(answers(500)) as sick:
        port = sick.port
        policy = {**SOON, "retryRate": 1}
        job = daemon.run("true", notifications=[to(sick.url(), "FINISHED", policy=policy)])
        until(lambda: sick.taken)
    daemon.kill9()
    daemon.start()
    (row,) = deliveries(daemon, job["id"])
    assert row["status"] == "OPEN"
    assert row["attempts"] >= 1
    assert f":{port}/" in row["url"]
    daemon.restart()
    assert deliveries(daemon, job["id"], "OPEN")


def test_one_that_makes_telling_fail_is_not_tried_all_the_time_and_holds_up_nobody(
    daemon: RunningDaemon, hook: Receiver
) -> None:
    with receiver(hangs) as slow:
        job = daemon.run("true", notifications=[to(slow.url(), "FINISHED")])
        until(lambda: slow.taken)
    daemon.kill9()
    with contextlib.closing(sqlite3.connect(daemon.state / "jobd.db")) as store, store:
        store.execute("UPDATE notification SET policy = '{}', url = NULL, command = '[\"false\"]'")
    daemon.start()
    until(lambda: "telling failed" in daemon.logged())
    for _ in range(5):
        daemon.run("true", notifications=[to(hook.url(), "FINISHED")])
    until(lambda: len(hook.taken) == 5)
    assert daemon.logged().count("telling failed") < 3
    assert deliveries(daemon, job["id"], "OPEN")


def test_a_configuration_that_is_refused_changes_nothing_of_how_it_is_told(
    daemon: RunningDaemon, hook: Receiver
) -> None:
    faulty = "systems: [{id: local, default: true, options: {nonsense: 1}}]"
    daemon.config.write_text(f"notifications: {{allow: ['https://*']}}\n{faulty}")
    daemon.hangup()
    until(lambda: "stays as it was" in daemon.logged())
    daemon.run("true", notifications=[to(hook.url(), "FINISHED")])
    until(lambda: hook.taken)


# ---- asking for it


def test_a_repeated_request_makes_one(served: RunningDaemon) -> None:
    job = served.submit("true")
    body = {"associatedUuid": job["id"], "event": "LOST", "url": "http://localhost/x"}
    one, two = (ask(served.socket, "POST", ALL, body, Idempotency_Key="tell-once").result for _ in range(2))
    assert one["id"] == two["id"]
    assert len(of_job(served, job["id"])) == 1
    other = {**body, "event": "*"}
    assert ask(served.socket, "POST", ALL, other, Idempotency_Key="tell-once").code == 409


def test_a_test_tells_at_once_what_came_of_it(served: RunningDaemon, hook: Receiver) -> None:
    done = served.jobctl("notify", "test", "--to", hook.url(), "--body", '{"text": "${JOB_NAME}"}')
    assert (done.returncode, "delivered in" in done.stdout) == (0, True)
    assert hook.taken[0].json == {"text": "test"}
    with receiver(answers(500, b"no room")) as full:
        failed = served.jobctl("notify", "test", "--json", "--to", full.url())
        assert failed.returncode == 1
        came = json.loads(failed.stdout)
        wire.Rehearsal.model_validate(came)
        assert (came["success"], came["responseCode"]) == (False, 500)
        assert "no room" in came["message"]
    assert served.jobctl("notify", "test").returncode == 2
    assert "exit code 0: hi" in served.jobctl("notify", "test", "--", "echo", "hi").stdout


def test_one_person_tests_so_many_at_a_time(served: RunningDaemon, tmp_path: Path) -> None:
    script = f"mktemp {tmp_path}/begun.XXXXXX; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"

    def test() -> int:
        return ask(served.socket, "POST", f"{ALL}/test", {"command": ["sh", "-c", script]}).code

    with ThreadPoolExecutor(16) as pool:
        try:
            running = [pool.submit(test) for _ in range(16)]
            until(lambda: len(list(tmp_path.glob("begun.*"))) == 16)
            assert test() == 429
        finally:
            (tmp_path / "go").touch()
        assert [one.result() for one in running] == [200] * 16
    assert test() == 200


def test_who_asks_about_a_job_that_is_over_hears_that(served: RunningDaemon) -> None:
    job = served.run("true")
    done = served.jobctl("notify", job["id"], "--to", "http://localhost/x")
    assert "over already" in done.stderr


def test_what_is_there_to_be_watched(served: RunningDaemon) -> None:
    with receiver(answers(500)) as sick:
        job = served.run("true", notifications=[to(sick.url(), "FINISHED", policy=ONCE)])
        settled(served, job["id"])
    text = served.curl("http://localhost/metrics").stdout
    (figure,) = [line for line in text.splitlines() if line.startswith("jobd_deliveries_failed ")]
    assert int(figure.split()[1]) >= 1


# ---- among several people


LOOPBACK = "notifications: {allow: ['http://127.0.0.1:*'], timeout: 5s}"


@needs_people
def test_the_system_s_daemon_goes_only_where_it_may() -> None:
    with machine() as lab, SystemDaemon(lab) as daemon, receiver() as hook:
        wish = {"event": "FINISHED", "url": hook.url()}
        with pytest.raises(AssertionError, match=r"127.0.0.1.*notifications.allow"):
            daemon.submit_as(lab.alice, "true", notifications=[wish])
        job = daemon.run_as(lab.alice, "true")
        for odd in ("http://localhost:1/", "http://[::1]/", "http://169.254.169.254/", "http://0x7f.1/"):
            with pytest.raises(AssertionError, match="Invalid"):
                daemon.as_user(lab.alice, lambda client, odd=odd: client.notify(job["id"], ["*"], url=odd))
            with pytest.raises(AssertionError, match="Invalid"):
                daemon.as_user(lab.alice, lambda client, odd=odd: client.test_notification(url=odd))
        daemon.config.write_text(LOOPBACK)
        daemon.hangup()
        until(lambda: "read again" in daemon.logged())
        daemon.run_as(lab.alice, "true", notifications=[to(hook.url(), "FINISHED")])
        until(lambda: hook.taken)
        (pid,) = courier(daemon)
        status = Path(f"/proc/{pid}/status").read_text()
        assert "\nUid:\t65534\t65534\t65534\t65534\n" in status
        assert "\nCapEff:\t0000000000000000\n" in status


@needs_people
def test_a_target_that_is_not_allowed_any_more_is_not_gone_to() -> None:
    with machine() as lab, SystemDaemon(lab, LOOPBACK) as daemon, receiver() as hook:
        job = daemon.submit_as(lab.alice, "sleep", "60", notifications=[to(hook.url(), "STOPPED")])
        daemon.config.write_text("")
        daemon.hangup()
        until(lambda: "read again" in daemon.logged())
        daemon.client().kill(job["id"])
        (row,) = settled(daemon, job["id"])
        assert (row["status"], row["attempts"]) == ("FAILED", 1)
        assert "notifications.allow" in row["message"]
        assert hook.taken == []


@needs_people
def test_everybody_s_notifications_are_their_own() -> None:
    with machine() as lab, SystemDaemon(lab, LOOPBACK) as daemon, receiver(answers(500)) as sick:
        command = ["sh", "-c", 'id -u > "$HOME/told"; id -G >> "$HOME/told"; pwd >> "$HOME/told"']
        wishes = [to(sick.url(), "FINISHED", policy=ONCE), {"event": "FINISHED", "command": command}]
        job = daemon.run_as(lab.alice, "true", notifications=wishes)
        (failed,) = [row for row in settled(daemon, job["id"]) if row["status"] == "FAILED"]
        told = (lab.alice.home / "told").read_text().split()
        assert told == [str(lab.alice.uid), *(str(gid) for gid in lab.alice.groups), str(lab.alice.home)]
        keys = [daemon.as_user(user, lambda client: client.notification_key()) for user in lab.users.values()]
        assert len(set(keys)) == 2
        Webhook(keys[0]).verify(sick.taken[0].body, sick.taken[0].headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(keys[1]).verify(sick.taken[0].body, sick.taken[0].headers)

        def others(client: Any) -> str:
            for act in (client.retry_delivery, client.drop_delivery):
                with pytest.raises(NotFound):
                    act(failed["id"])
            with pytest.raises(NotFound):
                client.deliveries(job["id"])
            with pytest.raises(NotFound):
                client.attempts(failed["notificationId"])
            with pytest.raises(Invalid):
                client.test_notification(url="file:///etc/passwd")
            return str(client.deliveries())

        assert daemon.as_user(lab.bob, others) == "[]"
        assert daemon.client().deliveries() == []  # root's own
        assert {row["owner"] for row in daemon.client().deliveries(owner="*")} == {"alice"}
        asking = "what [*] is told is not yours to see"
        with pytest.raises(AssertionError, match=asking):
            daemon.as_user(lab.bob, lambda client: client.deliveries(owner="*"))


@needs_people
def test_whoever_may_not_read_a_job_any_more_is_not_told_of_it() -> None:
    with machine() as lab, SystemDaemon(lab, LOOPBACK) as daemon, receiver() as hook:
        jobs = [daemon.submit_as(lab.alice, "sleep", "60") for _ in range(3)]
        for job, with_whom in zip(jobs, ("bob", "@lab", "bob"), strict=True):
            daemon.as_user(lab.alice, lambda client, id=job["id"], who=with_whom: client.share(id, who))
            url = hook.url(f"/{job['id']}")
            daemon.as_user(lab.bob, lambda client, id=job["id"], url=url: client.notify(id, ["*"], url=url))
        told, by_group, no_more = jobs
        daemon.as_user(lab.alice, lambda client: client.unshare(no_more["id"], "bob"))
        for job in jobs:
            daemon.client().kill(job["id"])
        until(lambda: len(hook.taken) == 2)
        (row,) = settled(daemon, no_more["id"])
        assert (row["status"], row["message"]) == ("FAILED", "bob may not read this job any more")
        assert {one.path for one in hook.taken} == {f"/{told['id']}", f"/{by_group['id']}"}
        assert hook.taken[0].json["owner"] == "bob"


@needs_people
def test_whoever_may_not_read_a_job_any_more_learns_nothing_of_it_by_what_they_had_asked_for() -> None:
    with machine() as lab, SystemDaemon(lab, LOOPBACK) as daemon, receiver() as hook:
        job = daemon.submit_as(lab.alice, "sleep", "60")
        share = lambda client: client.share(job["id"], "bob")  # noqa: E731
        daemon.as_user(lab.alice, share)
        ask_for = lambda client: client.notify(job["id"], ["*"], url=hook.url())  # noqa: E731
        (wish,) = daemon.as_user(lab.bob, ask_for)
        daemon.as_user(lab.alice, lambda client: client.unshare(job["id"], "bob"))
        daemon.client().kill(job["id"])
        (row,) = settled(daemon, job["id"])

        def what_is_seen(client: Any) -> list[Any]:
            seen: list[Any] = [client.deliveries()]
            paths = (ALL, f"{ALL}/{wish['id']}", f"{ALL}/{wish['id']}/attempts", f"{DELIVERIES}/{row['id']}")
            seen += [ask(daemon.socket, "GET", path).code for path in paths]
            seen += [ask(daemon.socket, "POST", f"{DELIVERIES}/{row['id']}/retry", {}).code]
            seen += [ask(daemon.socket, "GET", ALL).result]
            return seen

        assert daemon.as_user(lab.bob, what_is_seen) == [[], 200, 404, 404, 404, 404, []]
        daemon.as_user(lab.alice, share)
        assert len(daemon.as_user(lab.bob, lambda client: client.deliveries())) == 1
        assert daemon.as_user(lab.bob, lambda client: client.unsubscribe(wish["id"]))["id"] == wish["id"]


@needs_people
def test_what_others_have_asked_for_leaves_one_s_own_room() -> None:
    with machine() as lab, SystemDaemon(lab, LOOPBACK) as daemon:
        job = daemon.submit_as(lab.alice, "sleep", "60")
        daemon.as_user(lab.alice, lambda client: client.share(job["id"], "bob"))
        wishes = [{"associatedUuid": job["id"], "event": "*", "command": ["true"]}] * 100
        for user in (lab.bob, lab.alice):
            codes = user.call(lambda: [ask(daemon.socket, "POST", ALL, wishes[:n]).code for n in (100, 1)])
            assert codes == [201, 409]


@needs_people
def test_without_smtp_mail_goes_by_sendmail_as_the_person() -> None:
    """A stand-in for sendmail, in a namespace of its own, since a real one would send."""
    with machine() as lab:
        program = lab.root / "sendmail"
        program.write_text(
            '#!/bin/sh\nid -un > "$HOME/mail"; echo "$@" >> "$HOME/mail"; cat >> "$HOME/mail"\n'
        )
        program.chmod(0o755)
        with SendmailDaemon(lab) as daemon:
            job = daemon.run_as(lab.alice, "true", notifications=[to("ann@lab.example", "FINISHED")])
            (row,) = settled(daemon, job["id"])
            assert row["status"] == "DELIVERED", row
            assert in_vain(daemon, lab) == ("FAILED", 1)
        who, how, *lines = (lab.alice.home / "mail").read_text().splitlines()
        assert (who, how) == ("alice", "-i -t")
        assert "To: ann@lab.example" in lines
        assert "FINISHED" in "\n".join(lines)


def in_vain(daemon: SystemDaemon, lab: Machine) -> tuple[str, int]:
    """What becomes of a mail that is not allowed any more when it is to be sent."""
    job = daemon.submit_as(lab.alice, "sleep", "60", notifications=[to("eve@lab.example", "STOPPED")])
    daemon.config.write_text("notifications: {allow: ['mailto:ann@lab.example']}")
    daemon.hangup()
    until(lambda: "read again" in daemon.logged())
    daemon.client().kill(job["id"])
    (row,) = settled(daemon, job["id"])
    assert "notifications.allow" in row["message"]
    return row["status"], row["attempts"]


class SendmailDaemon(SystemDaemon):
    """On a machine whose /usr/sbin has another sendmail."""

    def command(self) -> list[str]:
        root = self.machine.root
        (root / "sbin").mkdir(exist_ok=True)
        enter = (
            'cp -a /usr/sbin/. "$1/sbin" && cp "$1/sendmail" "$1/sbin" && mount --bind "$1/sbin" /usr/sbin'
            ' && shift && exec "$@"'
        )
        *machine, python, dash_m, module, system = super().command()
        return [*machine, "sh", "-c", enter, "sh", str(root), python, dash_m, module, system]
