"""The API of a real daemon, as curl and the published clients speak it: all that can be done with jobs."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from jobd.api import wire
from tests.daemon import RunningDaemon, until
from tests.talk import Reply, ask

URL = "http://localhost/jobs/v2"


@pytest.fixture(scope="module")
def served() -> Iterator[RunningDaemon]:
    """One daemon for all tests here: each makes its own jobs."""
    with tempfile.TemporaryDirectory(prefix="jobd-") as name, RunningDaemon(Path(name)) as running:
        yield running


@pytest.fixture
def get(served: RunningDaemon) -> Any:
    return lambda target, **headers: ask(served.socket, "GET", target, **headers)


@pytest.fixture
def post(served: RunningDaemon) -> Any:
    return lambda target, body=None, **options: ask(served.socket, "POST", target, body, **options)


def request(*command: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": "test",
        "command": list(command or ["true"]),
        "environment": {"PATH": os.environ["PATH"]},
        **fields,
    }


def result(served: RunningDaemon, *arguments: str) -> Any:
    """What curl prints, out of its envelope."""
    answer = served.curl("-f", *arguments)
    assert answer.returncode == 0, answer
    envelope = json.loads(answer.stdout)
    assert envelope["status"] == "success"
    return envelope["result"]


# ---- the page's lines, and the published clients'


def test_kill_as_on_the_page(served: RunningDaemon) -> None:
    job = served.submit("sleep", "1000")
    served.in_status(job["id"], "RUNNING")
    killed = result(served, "-X", "POST", "-d", "action=kill", f"{URL}/{job['id']}")
    assert killed["status"] == "STOPPED"
    assert killed["localId"].isdecimal()
    assert not os.path.exists(f"/proc/{killed['localId']}")
    wire.Job.model_validate(killed)


@pytest.mark.parametrize("word", ["kill", "STOP", "Cancel"])
def test_all_words_for_kill(served: RunningDaemon, post: Any, word: str) -> None:
    job = served.submit("sleep", "1000")
    answer = post(f"/jobs/v2/{job['id']}", {"action": word})
    assert (answer.code, answer.result["status"]) == (200, "STOPPED")
    again = post(f"/jobs/v2/{job['id']}/{word.lower()}/")
    assert (again.code, again.result["status"]) == (200, "STOPPED")


def test_delete_as_on_the_page(served: RunningDaemon, get: Any) -> None:
    job = served.run("echo", "kept")
    deleted = result(served, "-X", "DELETE", f"{URL}/{job['id']}")
    assert deleted["visible"] is False
    routes = ["", "/status", "/history", "/why", "/wait", "/outputs/listings", "/logs/stdout"]
    assert {get(f"/jobs/v2/{job['id']}{route}").code for route in routes} == {404}
    assert job["id"] not in {row["id"] for row in get("/jobs/v2").result}
    assert job["id"] in {row["id"] for row in get("/jobs/v2?visible=false").result}


def test_restore_brings_everything_back(served: RunningDaemon, get: Any) -> None:
    job = served.run("echo", "kept")
    result(served, "-X", "DELETE", f"{URL}/{job['id']}")
    restored = result(served, "-d", "action=restore", f"{URL}/{job['id']}")
    assert restored["visible"] is True
    assert get(f"/jobs/v2/{job['id']}/logs/stdout").content == b"kept\n"
    log = get(f"/jobs/v2/{job['id']}/outputs/listings").result[0]
    assert get(log["_links"]["self"]["href"].removeprefix("http://localhost")).code == 200
    words = [event["status"] for event in get(f"/jobs/v2/{job['id']}/history").result]
    assert words[-2:] == ["DELETED", "RESTORED"]


def test_delete_kills_first(served: RunningDaemon, get: Any) -> None:
    job = served.submit("sleep", "1000")
    running = served.in_status(job["id"], "RUNNING")
    deleted = result(served, "-X", "DELETE", f"{URL}/{job['id']}")
    assert (deleted["status"], deleted["visible"]) == ("STOPPED", False)
    assert not os.path.exists(f"/proc/{running['localId']}")


def test_resubmit_as_on_the_page(served: RunningDaemon) -> None:
    job = served.run("sh", "-c", "echo $WORD", environment={"WORD": "again", "PATH": os.environ["PATH"]})
    answer = served.curl("-i", "-X", "POST", "-d", "action=resubmit", f"{URL}/{job['id']}")
    assert "HTTP/1.1 202" in answer.stdout
    new = json.loads(answer.stdout.splitlines()[-1])["result"]
    assert (new["resubmitOf"], new["status"]) == (job["id"], "PENDING")
    ended = served.ended(new["id"])
    assert b"".join(served.client().logs(ended["id"])) == b"again\n"


@pytest.mark.parametrize("false", [False, "false", 0, "0"])
def test_the_three_flags_in_every_form(served: RunningDaemon, post: Any, false: object) -> None:
    job = served.run("true")
    flags = {"ignoreInputConflicts": False, "ignoreParameterConflicts": True, "preserveNotifications": True}
    path = f"/jobs/v2/{job['id']}"
    answers = [
        post(path, {"action": "resubmit", "ignoreInputConflicts": false}),
        post(f"{path}/resubmit", {"ignoreInputConflicts": false}),
        post(f"{path}/resubmit?ignoreInputConflicts={str(false).lower()}"),
    ]
    assert [answer.code for answer in answers] == [202] * 3
    assert [answer.result["details"]["resubmit"] for answer in answers] == [flags] * 3


def test_a_slip_of_the_pen_does_not_loosen_a_resubmission(served: RunningDaemon, post: Any) -> None:
    job = served.run("true")
    answer = post(f"/jobs/v2/{job['id']}/resubmit", {"ignoreInputsConflicts": False})
    assert (answer.code, answer.fields) == (400, ["ignoreInputsConflicts"])
    assert answer.result["errors"][0]["expected"] == "ignoreInputConflicts?"


def test_the_spellings_of_the_tapis_command(served: RunningDaemon, get: Any, post: Any) -> None:
    job = served.run("echo", "out")
    new = post(f"/jobs/v2/{job['id']}/resubmit", b"", kind="application/json")
    assert new.code == 202
    assert post(f"/jobs/v2/{job['id']}/hide", b"", kind="application/json").result["visible"] is False
    assert post(f"/jobs/v2/{job['id']}/unhide", b"", kind="application/json").result["visible"] is True
    assert post(f"/jobs/v2/{job['id']}/unhide", b"", kind="application/json").code == 409
    assert {job["id"], new.result["id"]} <= {row["id"] for row in get("/jobs/v2?limit=100&offset=0").result}
    assert job["id"] in {row["id"] for row in get("/jobs/v2/?status.eq=FINISHED&name.like=*es*").result}
    (system,) = get("/systems/v2/?default=True").result
    assert get(f"/systems/v2/{system['id']}").result["queues"][0]["default"] is True
    assert get("/profiles/v2/me").result["username"] == job["owner"]
    names = {row["name"] for row in get(f"/jobs/v2/{job['id']}/outputs/listings//").result}
    assert names == {f"test-{job['id']}.out", f"test-{job['id']}.err"}
    for slashes in ("/", "//"):
        media = get(f"/jobs/v2/{job['id']}/outputs/media{slashes}test-{job['id']}.out")
        assert media.content == b"out\n"


def test_submit_by_curl_in_every_form(served: RunningDaemon, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps(request("true")))
    ways = [
        ["-H", "Content-Type: application/json", "-d", f"@{file}"],
        ["-d", f"@{file}"],
        ["-F", f"fileToUpload=@{file}"],
        ["-d", "name=test", "-d", "command=true", "-d", "nodeCount=1", "-d", "maxRunTime=00:01:00"],
        ["-F", "name=test", "-F", 'command=["true"]'],
    ]
    for way in ways:
        answer = served.curl("-i", *way, URL)
        assert "HTTP/1.1 201" in answer.stdout, answer.stdout
        job = json.loads(answer.stdout.splitlines()[-1])["result"]
        assert f"Location: {URL}/{job['id']}" in answer.stdout
        assert job["command"] == ["true"]


# ---- submitting


def test_an_array_is_all_or_nothing(served: RunningDaemon, get: Any, post: Any) -> None:
    answer = post("/jobs/v2", [request(), request(name="x" * 65), request(maxRunTime="1h"), 5])
    assert (answer.code, answer.fields) == (400, ["1.name", "2.maxRunTime", "3"])
    answer = post("/jobs/v2", [request(name=f"array-{number}") for number in range(250)])
    assert answer.code == 201
    assert [job["name"] for job in answer.result] == [f"array-{number}" for number in range(250)]
    assert len(get("/jobs/v2?name.like=array-*&filter=id").result) == 100
    assert isinstance(post("/jobs/v2", [request()]).result, list)


def test_the_same_key_is_the_same_job(served: RunningDaemon, post: Any) -> None:
    first = post("/jobs/v2", request(), Idempotency_Key="k1")
    again = post("/jobs/v2", request(), Idempotency_Key="k1")
    other = post("/jobs/v2", request("false"), Idempotency_Key="k1")
    assert (first.code, again.code, other.code) == (201, 201, 409)
    assert first.result["id"] == again.result["id"]
    path = f"/jobs/v2/{first.result['id']}"
    second = post(f"{path}/resubmit", {}, Idempotency_Key="k2")
    assert post(path, {"action": "resubmit"}, Idempotency_Key="k2").result["id"] == second.result["id"]
    assert post(f"{path}/resubmit", {"preserveNotifications": 0}, Idempotency_Key="k2").code == 409


def test_a_key_that_no_store_can_keep(post: Any) -> None:
    assert post("/jobs/v2", request(), Idempotency_Key="\xff").fields == ["Idempotency-Key"]
    assert post("/jobs/v2", request(), Idempotency_Key="k" * 256).fields == ["Idempotency-Key"]


def test_a_strange_host_is_not_repeated(post: Any) -> None:
    answer = post("/jobs/v2", request(), Host="a\xff/b")
    assert (answer.code, answer.headers["Location"]) == (201, f"{URL}/{answer.result['id']}")


BAD_REQUESTS = [
    ({"name": None}, ["name"]),
    ({"comand": ["true"]}, ["comand"]),
    ({"name": ""}, ["name"]),
    ({"name": "x" * 65}, ["name"]),
    ({"name": "\ud800"}, ["name"]),
    ({"name": "a\0b"}, ["name"]),
    ({"nodeCount": -1}, ["nodeCount"]),
    ({"nodeCount": 0}, ["nodeCount"]),
    ({"processorsPerNode": -1}, ["processorsPerNode"]),
    ({"processorsPerNode": 10**30}, ["processorsPerNode"]),
    ({"memoryPerNode": -1}, ["memoryPerNode"]),
    ({"memoryPerNode": "lots"}, ["memoryPerNode"]),
    ({"memoryPerNode": 1e300}, ["memoryPerNode"]),
    ({"maxRunTime": "1h"}, ["maxRunTime"]),
    ({"maxRunTime": 3600}, ["maxRunTime"]),
    ({"gpus": -1}, ["gpus"]),
    ({"priority": 1001}, ["priority"]),
    ({"directory": "relative"}, ["directory"]),
    ({"directory": "/a\0b"}, ["directory"]),
    ({"command": []}, ["command"]),
    ({"command": "true"}, ["command"]),
    ({"command": ["a\0b"]}, ["command.0"]),
    ({"environment": {"A": 1}}, ["environment.A"]),
    ({"environment": {"A=B": "1"}}, ["environment"]),
    ({"environment": {"A": "a\0b"}}, ["environment.A"]),
    ({"appId": "blast-2.0", "command": None}, ["appId"]),
    ({"executionSystem": "moon"}, ["executionSystem"]),
    ({"batchQueue": "long"}, ["batchQueue"]),
    ({"inputs": {"a": 1}}, ["inputs"]),
    ({"queue": "default", "batchQueue": "default"}, ["queue"]),
    ({"name": "x" * 65, "nodeCount": -1, "maxRunTime": "1h"}, ["name", "nodeCount", "maxRunTime"]),
]


@pytest.mark.parametrize(("fields", "faulty"), BAD_REQUESTS)
def test_a_fault_names_its_field(post: Any, fields: dict[str, Any], faulty: list[str]) -> None:
    answer = post("/jobs/v2", {**request(), **fields})
    assert answer.code == 400
    assert sorted(answer.fields) == sorted(faulty)
    assert all(fault["problem"] for fault in answer.result["errors"])
    assert answer.json["message"]


def test_what_is_missing_is_named(post: Any) -> None:
    assert post("/jobs/v2", {"command": ["true"]}).fields == ["name"]
    assert post("/jobs/v2", {"name": "x"}).fields == ["command"]


def test_it_says_which_run_times_are_taken(post: Any) -> None:
    assert "HH:MM:SS" in post("/jobs/v2", request(maxRunTime="1h")).json["message"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b" "])
def test_an_empty_body_is_said_to_be_empty(post: Any, body: bytes) -> None:
    answer = post("/jobs/v2", body)
    assert (answer.code, answer.fields) == (400, ["body"])


@pytest.mark.parametrize("body", [b"5", b'"x"', b"true", b"[5]", b'[["x"]]'])
def test_what_is_no_request(post: Any, body: bytes) -> None:
    assert post("/jobs/v2", body).code == 400


# ---- actions


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "action"),
        ({"action": "explode"}, "action"),
        ({"action": 5}, "action"),
        ({"action": "kill", "force": True}, "force"),
        ({"action": "resubmit", "ignoreInputConflicts": "maybe"}, "ignoreInputConflicts"),
        ({"action": "resolve"}, "localId"),
        ({"action": "resolve", "localId": 5}, "localId"),
        ({"action": "resolve", "localId": "\ud800"}, "localId"),
        (["kill"], "body"),
    ],
)
def test_bad_actions(served: RunningDaemon, post: Any, body: Any, field: str) -> None:
    job = served.run("true")
    answer = post(f"/jobs/v2/{job['id']}", body)
    assert (answer.code, answer.fields) == (400, [field])


def test_a_bad_shape_is_found_before_anything_is_done(served: RunningDaemon, post: Any) -> None:
    job = served.submit("sleep", "1000")
    answer = post(f"/jobs/v2/{job['id']}/kill?naked=banana")
    assert (answer.code, answer.fields) == (400, ["naked"])
    assert served.client().show(job["id"])["killAsked"] is None
    post(f"/jobs/v2/{job['id']}/kill")


@pytest.fixture
def busy(served: RunningDaemon) -> Iterator[None]:
    """All slots are taken while the test runs."""
    blockers = [served.submit("sleep", "1000") for _ in os.sched_getaffinity(0)]
    for blocker in blockers:
        served.in_status(blocker["id"], "RUNNING")
    yield
    for blocker in blockers:
        served.client().kill(blocker["id"])


@pytest.mark.usefixtures("busy")
def test_hold_and_release(served: RunningDaemon, get: Any, post: Any) -> None:
    job = served.submit("sleep", "1000")
    path = f"/jobs/v2/{job['id']}"
    served.in_status(job["id"], "STAGED")
    assert "processors" in get(f"{path}/why").result["why"]
    assert post(f"{path}/release").code == 409
    held = post(f"{path}/hold")
    assert (held.code, held.result["status"]) == (200, "PAUSED")
    assert "elease" in get(f"{path}/why").result["why"]
    assert post(path, {"action": "release"}).result["status"] == "STAGED"
    assert post(f"{path}/resolve", {"neverSubmitted": True}).code == 409
    assert post(f"{path}/kill").result["status"] == "STOPPED"
    assert post(f"{path}/hold").code == 409


@pytest.mark.parametrize("job_id", ["x", "-007", "' OR 1=1", "%00", "%ff", "a" * 3000, "..", "%2e%2e%2f"])
def test_an_id_of_another_shape(get: Any, post: Any, job_id: str) -> None:
    target = f"/jobs/v2/{quote(job_id, safe='%')}"
    assert get(target).code == 404
    assert post(target, {"action": "kill"}).code == 404


# ---- looking


def test_lists(served: RunningDaemon, get: Any) -> None:
    ids = [served.run("sh", "-c", f"exit {code}", name="listed")["id"] for code in (0, 3)]
    rows = get("/jobs/v2?name=listed&orderBy=created&order=asc").result
    assert [row["id"] for row in rows] == ids
    for row in rows:
        wire.Summary.model_validate(row)
    assert [row["exitCode"] for row in get("/jobs/v2?name=listed&exitCode.gt=0").result] == [3]
    page = get("/jobs/v2?name=listed&orderBy=created&limit=1&offset=1&filter=id,usage.wall,command").result
    assert [(row["id"], set(row), set(row["usage"])) for row in page] == [
        (ids[0], {"id", "usage", "command"}, {"wall"})
    ]
    naked = get("/jobs/v2?name=listed&naked=true&pretty=true")
    assert naked.json == get("/jobs/v2?name=listed").result
    assert b"\n  " in naked.content
    assert get("/jobs/v2?name=listed&limit=0").result == []
    assert len(get("/jobs/v2?limit=100000").result) <= 100


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("statsu=RUNNING", "statsu"),
        ("status=BUSY", "status"),
        ("created.after=yesterday", "created.after"),
        ("nodeCount=many", "nodeCount"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("offset=1e3", "offset"),
        ("offset=99999999999999999999", "offset"),
        ("order=up", "order"),
        ("orderBy=colour", "orderBy"),
        ("pretty=maybe", "pretty"),
        ("name.rlike=(", "name.rlike"),
        ("status=%ff", "status"),
    ],
)
def test_bad_queries(get: Any, query: str, field: str) -> None:
    answer = get(f"/jobs/v2?{query}")
    assert (answer.code, answer.fields) == (400, [field])


def test_history_in_both_orders(served: RunningDaemon, get: Any) -> None:
    job = served.run("true")
    rows = get(f"/jobs/v2/{job['id']}/history").result
    for row in rows:
        wire.Event.model_validate(row)
    assert rows[-1]["status"] == "FINISHED"
    assert get(f"/jobs/v2/{job['id']}/history?order=desc").result == rows[::-1]
    assert get(f"/jobs/v2/{job['id']}/history?limit=1&offset=1").result == rows[1:2]
    assert get(f"/jobs/v2/{job['id']}/history?order=up").code == 400


def test_status_and_why(served: RunningDaemon, get: Any) -> None:
    job = served.run("sh", "-c", "kill -9 $$")
    assert get(f"/jobs/v2/{job['id']}/status").result["status"] == "FAILED"
    told = get(f"/jobs/v2/{job['id']}/why").result
    wire.Why.model_validate(told)
    assert "SIGKILL" in told["why"]


def test_a_command_that_is_not_there(served: RunningDaemon, get: Any) -> None:
    job = served.run("/no/such/program")
    assert (job["status"], job["condition"]) == ("FAILED", "LAUNCH_FAILED")
    assert "/no/such/program" in get(f"/jobs/v2/{job['id']}/why").result["why"]


def test_wait(served: RunningDaemon, get: Any) -> None:
    job = served.submit("sleep", "1000")
    served.in_status(job["id"], "RUNNING")
    assert get(f"/jobs/v2/{job['id']}/wait?timeout=0").result["status"] == "RUNNING"
    assert get(f"/jobs/v2/{job['id']}/wait?timeout=0.05").result["status"] == "RUNNING"
    served.client().kill(job["id"])
    assert get(f"/jobs/v2/{job['id']}/wait?timeout=300").result["status"] == "STOPPED"
    for word in ("x", "-1", "nan"):
        assert get(f"/jobs/v2/{job['id']}/wait?timeout={word}").fields == ["timeout"]


def links(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("href"), str):
            yield value["href"]
        value = list(value.values())
    for inner in value if isinstance(value, list) else []:
        yield from links(inner)


def test_every_link_answers(served: RunningDaemon, get: Any) -> None:
    job = served.run("sh", "-c", "mkdir -p sub; touch sub/file 'a b?.txt'", directory=None)
    to_see = [f"/jobs/v2/{job['id']}", "/jobs/v2?limit=3", "/systems/v2", f"/jobs/v2/{job['id']}/why"]
    seen: set[str] = set()
    while to_see:
        target = to_see.pop()
        if target not in seen:
            seen.add(target)
            answer = get(target, Host="jobs.example.org:8080")
            assert answer.code == 200, target
            if answer.headers["Content-Type"] == "application/json" and "/media/" not in target:
                hrefs = list(links(answer.json))
                assert all(href.startswith("http://jobs.example.org:8080/") for href in hrefs)
                to_see += [href.removeprefix("http://jobs.example.org:8080") for href in hrefs]
    assert any("/outputs/media/sub/file" in target for target in seen)
    assert any("/profiles/v2/" in target for target in seen)


def test_heads_and_slashes(served: RunningDaemon, get: Any) -> None:
    head = ask(served.socket, "HEAD", "/jobs/v2")
    assert (head.code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0
    for target in ("/jobs/v2/", "/systems/v2/", "/healthz/", "/profiles/v2/me/"):
        assert get(target).code == 200


def test_systems_and_people(served: RunningDaemon, get: Any) -> None:
    for row in get("/systems/v2").result:
        wire.SystemSummary.model_validate(row)
        wire.System.model_validate(get(f"/systems/v2/{row['id']}").result)
    assert get("/systems/v2?default=false").result == []
    for row in get("/systems/v2/local/queues").result:
        wire.Queue.model_validate(row)
    wire.Profile.model_validate(get("/profiles/v2/me").result)
    assert get("/profiles/v2/daemon").result["admin"] is None
    assert get("/profiles/v2/nobody-of-that-name").code == 404
    assert get("/systems/v2/moon").code == 404
    assert get("/systems/v2/moon/queues").code == 404


def test_the_daemon_itself(served: RunningDaemon, get: Any) -> None:
    assert served.process is not None
    health = get("/healthz").result
    wire.Health.model_validate(health)
    assert (health["pid"], health["socket"]) == (served.process.pid, str(served.socket))
    wire.Doctor.model_validate(get("/doctor").result)
    metrics = get("/metrics").content.decode()
    assert 'jobd_requests_total{code="200"}' in metrics
    assert get("/openapi.json").json["openapi"] == "3.1.0"


def test_an_authorization_header_is_ignored_and_never_logged(served: RunningDaemon, get: Any) -> None:
    assert get("/profiles/v2/me", Authorization="Bearer sekrit123").code == 200
    assert get("/jobs/v2/x", Authorization="Bearer sekrit123").code == 404
    until(lambda: get("/healthz").code == 200)
    assert "sekrit123" not in served.logged()


def is_enveloped(answer: Reply) -> bool:
    envelope = answer.json
    return (
        envelope["status"] == "error" and bool(envelope["message"]) and isinstance(envelope["version"], str)
    )


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [
        ("GET", "/", 404),
        ("GET", "/jobs/v3", 404),
        ("GET", "/jobs/v2/x/nothing", 404),
        ("PUT", "/jobs/v2/x", 405),
        ("DELETE", "/jobs/v2", 405),
        ("PATCH", "/systems/v2", 405),
        ("OPTIONS", "/jobs/v2", 405),
        ("GET", "/jobs/v2/x/kill", 405),
        ("BREW", "/jobs/v2", 400),
    ],
)
def test_errors_of_the_server_are_enveloped_too(
    served: RunningDaemon, method: str, target: str, code: int
) -> None:
    answer = ask(served.socket, method, target)
    assert answer.code == code
    assert is_enveloped(answer)
    assert answer.headers["Content-Type"] == "application/json"
    assert ("Allow" in answer.headers) == (code == 405)
