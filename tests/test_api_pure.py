"""The parts of the API that need no daemon: envelope, bodies, ranges, and jobs as JSON."""

import json
import os
import socket
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobd.api import body, envelope, openapi, present, wire
from jobd.api.caller import peer
from jobd.api.envelope import Answer, Shape
from jobd.api.ranges import Unsatisfiable, span
from jobd.api.routes import ROUTES
from jobd.config import Settings
from jobd.errors import Fault, Forbidden, Invalid, Unavailable
from jobd.keeper.persons import Entry
from jobd.status import Condition, Status
from jobd.store.job import Event
from tests.stores import draft

BASE = "http://localhost"
SETTINGS = Settings(state_dir=Path("/state"), socket=Path("/state/jobd.sock"))
ENDED = draft(
    name="align reads",
    owner="ann",
    memory=3 * 2**29,
    time_limit=3600.0,
    status=Status.FAILED,
    condition=Condition.EXIT_CODE,
    exit_code=3,
    created=1414144091.0,
    submitted=1414144091.5,
    started=1414144092.0,
    ended=1414144093.123999,
    local_id="10321",
    attempt=2,
    kill_asked=1414144092.5,
    kill_asked_by="ann",
    details={"containment": "cgroup"},
)


# ---- envelope


def test_the_envelope() -> None:
    answer = json.loads(envelope.response(Answer({"a": 1})).body)
    assert answer == {"status": "success", "message": None, "version": answer["version"], "result": {"a": 1}}
    assert isinstance(answer["version"], str)


def test_no_result_no_key() -> None:
    assert "result" not in json.loads(envelope.response(Answer()).body)


def test_naked_and_pretty() -> None:
    shape = envelope.shape({"naked": "true", "pretty": "1"})
    assert envelope.response(Answer({"a": [1]}), shape).body == b'{\n  "a": [\n    1\n  ]\n}\n'


@pytest.mark.parametrize(
    ("paths", "left"),
    [
        ("a", {"a": 1}),
        ("b.c", {"b": {"c": 2}}),
        ("b.c,b", {"b": {"c": 2, "d": 3}}),
        ("a, b.d ,zzz,b.zzz", {"a": 1, "b": {"d": 3}}),
        ("l.x", {"l": [{"x": 1}, {}]}),
        ("a.deeper", {"a": 1}),
        ("*", {"a": 1, "b": {"c": 2, "d": 3}, "l": [{"x": 1, "y": 2}, {"y": 3}]}),
        ("", {"a": 1, "b": {"c": 2, "d": 3}, "l": [{"x": 1, "y": 2}, {"y": 3}]}),
        ("zzz", {}),
    ],
)
def test_filter(paths: str, left: dict[str, Any]) -> None:
    result = {"a": 1, "b": {"c": 2, "d": 3}, "l": [{"x": 1, "y": 2}, {"y": 3}]}
    wanted = envelope.shape({"filter": paths, "naked": "1"})
    assert json.loads(envelope.response(Answer(result), wanted).body) == left
    assert json.loads(envelope.response(Answer([result]), wanted).body) == [left]


@pytest.mark.parametrize("name", ["naked", "pretty"])
def test_a_flag_that_is_none(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        envelope.shape({name: "banana"})
    assert refused.value.faults[0].field == name  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [True, "true", "True", 1, "1"])
def test_all_spellings_of_true(value: object) -> None:
    assert envelope.flag(value, "x") is True


def test_what_is_not_unicode_still_goes_as_json() -> None:
    assert json.loads(envelope.text({"a": "ä\udcff"})) == {"a": "ä\udcff"}
    assert envelope.text({"a": "ä"}) == '{"a":"ä"}'.encode()


def test_an_error_names_its_fields() -> None:
    answer = envelope.error(Invalid(Fault("name", "this is missing", "a name"), Fault("x", "no such field")))
    assert answer.status == 400
    assert json.loads(answer.body)["result"]["errors"] == [
        {"field": "name", "problem": "this is missing", "expected": "a name"},
        {"field": "x", "problem": "no such field"},
    ]


def test_an_error_that_passes_says_when() -> None:
    answer = envelope.error(Unavailable("full", retry_after=0.3))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert "result" not in json.loads(answer.body)


anything = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(anything, st.text("abc.,* "))
def test_any_filter_of_anything(result: Any, paths: str) -> None:
    envelope.response(Answer(result), envelope.shape({"filter": paths}))


# ---- bodies

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def multipart(*parts: tuple[str, str]) -> tuple[bytes, str]:
    text = "".join(
        f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts
    )
    return f"{text}--xyz--\r\n".encode(), "multipart/form-data; boundary=xyz"


@pytest.mark.parametrize(
    ("content", "kind", "value"),
    [
        (b'{"action":"kill"}', JSON, {"action": "kill"}),
        (b'\n [{"name":"\xc3\xa4"}]', "application/json; charset=utf-8", [{"name": "ä"}]),
        (b'{"a":1}', "application/merge-patch+json", {"a": 1}),
        (b"action=kill", FORM, {"action": "kill"}),
        (b"a=%C3%A4+b&c=", FORM, {"a": "ä b", "c": ""}),
        (b'{"name":"x"}', FORM, {"name": "x"}),
        (b"command=echo&command=a+b", FORM, {"command": ["echo", "a b"]}),
        (b"command=true", FORM, {"command": ["true"]}),
        (b"command=%5B%22true%22%5D", FORM, {"command": ["true"]}),
        (b"environment=%7B%22A%22%3A%221%22%7D", FORM, {"environment": {"A": "1"}}),
        (*multipart(("action", "resubmit"), ("flag", "1")), {"action": "resubmit", "flag": "1"}),
        (*multipart(("fileToUpload", '{"name": "\u00e4"}')), {"name": "ä"}),
    ],
)  # fmt: skip
def test_bodies(content: bytes, kind: str, value: Any) -> None:
    assert body.parse(content, kind) == value


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b'{"name": "x",\n "b" 1}', JSON, "line 2 column 6"),
        (b"{", JSON, "line 1 column 2"),
        (b'"\xff"', JSON, "byte 1"),
        (b'{"a":1,"a":2}', JSON, "twice"),
        (b'{"a":NaN}', JSON, "NaN"),
        (b'{"a":1e999}', JSON, "1e999"),
        (b'{"a":%s}' % (b"9" * 5000), JSON, "broken JSON"),
        (b"[" * 100_000, JSON, "deep"),
        (b"[" * 40 + b"]" * 40, JSON, "deep"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, FORM, "deep"),
        (b"a=%FF", FORM, "UTF-8"),
        (b"\xff=1", FORM, "UTF-8"),
        (b"a=1&a=2", FORM, "twice"),
        (b"&".join(b"a%d=1" % number for number in range(2000)), FORM, "too many"),
        (b"command=%5B", FORM, "broken JSON"),
        (b"x", "text/plain", "text/plain"),
        (b"x", "", "does not say"),
        (b"x", "multipart/form-data", "no boundary"),
        (b"x", "multipart/form-data; boundary=xyz", "Content-Type"),
        (*multipart(("fileToUpload", "{")), "line 1"),
        (*multipart(("a", "1"), ("a", "2")), "twice"),
    ],
)  # fmt: skip
def test_bad_bodies_say_what_is_wrong(content: bytes, kind: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        body.parse(content, kind)
    if words != "Content-Type":
        assert words in str(refused.value)
    assert all(fault.field for fault in refused.value.faults)  # type: ignore[union-attr]


kinds = st.sampled_from([JSON, FORM, "multipart/form-data; boundary=x", "multipart/form-data", "", "?"])


@given(st.binary(max_size=200), kinds)
def test_any_body_is_read_or_invalid(content: bytes, kind: str) -> None:
    try:
        body.parse(content, kind)
    except Invalid:
        return


def test_many_names_and_one_of_them_twice() -> None:
    """Quadratic once: minutes."""
    content = b"{" + b",".join(b'"%d":0' % number for number in [*range(300_000), 299_999]) + b"}"
    begun = time.process_time()
    with pytest.raises(Invalid, match="'299999' is there twice"):
        body.from_json(content)
    assert time.process_time() - begun < 5


def test_the_digest_knows_a_request_however_it_is_spelt() -> None:
    assert body.digest("a", {"b": 1, "c": 2}) == body.digest("a", {"c": 2, "b": 1})
    assert body.digest("a", {"b": 1}) != body.digest("a", {"b": "1"})
    assert body.digest({"a": "\udcff"})


# ---- ranges


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None),
        ("bytes=0-3", (0, 4)),
        ("bytes=4-", (4, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=8-99", (8, 10)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,4-5", None),
        ("lines=1-2", None),
    ],
)
def test_ranges(header: str | None, wanted: tuple[int, int] | None) -> None:
    assert span(header, 10) == wanted


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0)])
def test_a_range_behind_the_end(header: str, size: int) -> None:
    with pytest.raises(Unsatisfiable) as refused:
        span(header, size)
    assert refused.value.headers == {"Content-Range": f"bytes */{size}"}


# ---- jobs as JSON


def test_a_job_is_what_the_document_says() -> None:
    for job in (draft(), ENDED):
        shown = json.loads(envelope.text(present.whole(job, BASE, SETTINGS, 5.0)))
        wire.Job.model_validate(shown)
        wire.Summary.model_validate(json.loads(envelope.text(present.summary(job, BASE))))
        wire.Why.model_validate(json.loads(envelope.text(present.why(job, "words", 5.0, BASE))))
        wire.JobStatus.model_validate(json.loads(envelope.text(present.status(job, BASE))))


def test_everything_else_is_what_the_document_says() -> None:
    system = SETTINGS.systems[0]
    wire.System.model_validate(present.system(system, SETTINGS, "", 5.0, BASE))
    wire.SystemSummary.model_validate(present.system_summary(system, SETTINGS, "down", BASE))
    wire.Event.model_validate(present.event(Event("QUEUED", 5.0, "ann", "")))
    wire.Profile.model_validate(present.profile("ann", 5, "Ann", None, BASE))
    entry = Entry("a\udcff.txt", "file", 5, 5.0, 0o644)
    wire.File.model_validate(json.loads(envelope.text(present.file(entry, "", "x", "local", BASE))))


def test_the_words_of_agave() -> None:
    shown = present.whole(ENDED, BASE, SETTINGS)
    assert shown["maxRunTime"] == "01:00:00"
    assert shown["memoryPerNode"] == 1.5
    assert shown["retries"] == 1
    assert shown["endTime"].startswith("2014-10-24T")
    assert ".123" in shown["endTime"]
    assert shown["remoteOutcome"] == "FAILED"
    assert shown["killAsked"] == {"at": present.moment(1414144092.5), "by": "ann"}
    assert shown["_links"]["self"] == {"href": f"{BASE}/jobs/v2/{ENDED.id}"}


@given(st.floats(0, 4e9))
def test_a_moment_is_what_datetime_says(at: float) -> None:
    said = datetime.fromisoformat(present.moment(at) or "")
    assert said.utcoffset() == datetime.fromtimestamp(at).astimezone().utcoffset()
    assert -1e-5 <= at - said.timestamp() < 0.00101


def test_no_link_to_what_is_not_there() -> None:
    shown = present.whole(replace(ENDED, system="gone"), BASE, SETTINGS)
    assert "executionSystem" not in shown["_links"]
    assert "app" in shown["_links"]
    assert "app" not in present.whole(ENDED, BASE, SETTINGS, private_app=True)["_links"]


def test_the_link_to_a_file_has_its_true_name() -> None:
    entry = Entry("a b\udcff?.txt", "file", 5, 5.0, 0o644)
    shown = present.file(entry, "sub", "x", "local", BASE)
    assert shown["_links"]["self"]["href"].endswith("/x/outputs/media/sub/a%20b%FF%3F.txt")
    assert shown["path"] == "/sub/a b\ufffd?.txt"
    assert (shown["mimeType"], shown["permissions"]) == ("text/plain", "READ_WRITE")


# ---- who is calling


def test_the_kernel_says_who_it_is() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        uid, gid, groups = peer(ours)
    assert (uid, gid) == (os.geteuid(), os.getegid())
    assert groups == frozenset(os.getgroups())


def test_nobody_is_known_on_a_socket_of_another_kind() -> None:
    with socket.socket() as sock, pytest.raises(Forbidden):
        peer(sock)


# ---- the document


def test_the_document_is_whole() -> None:
    document = openapi.document(ROUTES)
    text = json.dumps(document)
    names = set(document["components"]["schemas"])
    used = {word.split('"')[0] for word in text.split("#/components/schemas/")[1:]}
    assert used <= names
    operations = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(operations) == len(ROUTES)
    assert len(set(operations)) == len(operations)


def test_its_schemas_are_schemas() -> None:
    for schema in openapi.document(ROUTES)["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_shapes_are_told_apart() -> None:
    assert envelope.shape({}) == Shape()
    assert envelope.shape({"filter": "a.b,c"}).paths == (("a", "b"), ("c",))
