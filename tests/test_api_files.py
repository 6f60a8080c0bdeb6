"""What jobs leave and say, through the API of a real daemon: files, ranges, logs, events."""

from __future__ import annotations

import http.client
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobd.api import wire
from tests.daemon import RunningDaemon, until
from tests.talk import Connection, Reply, ask


@pytest.fixture(scope="module")
def served() -> Iterator[RunningDaemon]:
    with tempfile.TemporaryDirectory(prefix="jobd-") as name, RunningDaemon(Path(name)) as running:
        yield running


class Ended:
    """A job that is over, and what it left."""

    def __init__(self, served: RunningDaemon, script: str) -> None:
        self.served = served
        self.job = served.run("sh", "-c", script, directory=None)
        self.workspace = Path(self.job["outputPath"])

    def get(self, target: str, **headers: str) -> Reply:
        return ask(self.served.socket, "GET", f"/jobs/v2/{self.job['id']}{target}", **headers)


@pytest.fixture(scope="module")
def left(served: RunningDaemon) -> Ended:
    return Ended(
        served,
        "printf 0123456789 > data.bin; mkdir sub; echo x > sub/a.html; ln -s /etc/passwd link;"
        "ln -s /etc dirlink; mkfifo fifo; printf 'a\\377b\\n'; echo problem >&2; : > empty;"
        "touch \"$(printf 'odd\\377name')\"; mkdir closed; echo hidden > closed/file",
    )


def test_a_listing(left: Ended) -> None:
    rows = left.get("/outputs/listings").result
    for row in rows:
        wire.File.model_validate(row)
    kinds = {row["name"]: row["type"] for row in rows}
    assert kinds["data.bin"] == "file"
    assert kinds["sub"] == "dir"
    assert kinds["link"] == "link"
    assert kinds["fifo"] == "other"
    assert ".jobd" not in kinds
    assert left.get("/outputs/listings?limit=2&offset=1").result == rows[1:3]
    (row,) = left.get("/outputs/listings/sub").result
    assert (row["path"], row["length"], row["mimeType"]) == ("/sub/a.html", 2, "text/html")
    (row,) = left.get("/outputs/listings/sub/a.html").result
    assert row["path"] == "/sub/a.html"


def test_a_job_without_files_has_an_empty_listing(served: RunningDaemon) -> None:
    job = served.run("true", stdin="/no/such/file")
    answer = ask(served.socket, "GET", f"/jobs/v2/{job['id']}/outputs/listings")
    assert answer.code == 200


def test_a_file(left: Ended) -> None:
    answer = left.get("/outputs/media/data.bin")
    assert (answer.code, answer.content) == (200, b"0123456789")
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''data.bin"
    page = left.get("/outputs/media/sub/a.html")
    assert (page.headers["Content-Type"], page.headers["X-Content-Type-Options"]) == ("text/html", "nosniff")
    assert left.get("/outputs/media/empty").content == b""
    head = ask(left.served.socket, "HEAD", f"/jobs/v2/{left.job['id']}/outputs/media/data.bin")
    assert (head.code, head.content, head.headers["Content-Length"]) == (200, b"", "10")


@pytest.mark.parametrize(
    ("header", "code", "content", "which"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-0,5-5", 200, b"0123456789", None),
        ("pages=1", 200, b"0123456789", None),
    ],
)
def test_a_range(left: Ended, header: str, code: int, content: bytes, which: str | None) -> None:
    answer = left.get("/outputs/media/data.bin", Range=header)
    assert (answer.code, answer.content, answer.headers["Content-Range"]) == (code, content, which)


def test_a_range_behind_the_end(left: Ended) -> None:
    answer = left.get("/outputs/media/data.bin", Range="bytes=10-")
    assert (answer.code, answer.headers["Content-Range"]) == (416, "bytes */10")
    assert answer.json["status"] == "error"


def test_a_name_that_is_not_utf8(left: Ended) -> None:
    (row,) = [row for row in left.get("/outputs/listings").result if row["name"].startswith("odd")]
    href = row["_links"]["self"]["href"]
    assert href.endswith("/odd%FFname")
    assert ask(left.served.socket, "GET", href.removeprefix("http://localhost")).code == 200


@pytest.mark.parametrize(
    "path",
    ["link", "dirlink/passwd", "fifo", "sub", "nothing", "data.bin/x", "../jobd.db", "sub/../../x",
     "%2e%2e/x", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "a%00b", "%ff", "x" * 300, "y/" * 1500, ""],
)  # fmt: skip
def test_no_way_out_and_no_trick(left: Ended, path: str) -> None:
    answer = left.get(f"/outputs/media/{path}")
    assert 400 <= answer.code < 500, answer.content[:100]
    assert answer.json["message"]
    if path != "sub" and path:
        listed = left.get(f"/outputs/listings/{path}")
        assert listed.code >= 400 or {row["type"] for row in listed.result} <= {"link", "other"}


def test_a_large_file_comes_whole(served: RunningDaemon) -> None:
    big = Ended(served, "head -c 5000000 /dev/urandom > big")
    assert big.get("/outputs/media/big").content == (big.workspace / "big").read_bytes()


# ---- logs


def test_logs_are_bytes(left: Ended) -> None:
    out = left.get("/logs/stdout")
    assert (out.code, out.content, out.headers["Content-Type"]) == (
        200,
        b"a\xffb\n",
        "text/plain; charset=utf-8",
    )
    assert left.get("/logs/stderr?follow=true").content == b"problem\n"
    assert left.get("/logs/stdout/").code == 200


@pytest.mark.parametrize(
    ("offset", "rest", "at"),
    [
        ("1", b"\xffb\n", "1"),
        ("-2", b"b\n", "2"),
        ("-99", b"a\xffb\n", "0"),
        ("99", b"", "99"),
        ("0", b"a\xffb\n", "0"),
    ],
)
def test_logs_from_any_place(left: Ended, offset: str, rest: bytes, at: str) -> None:
    answer = left.get(f"/logs/stdout?offset={offset}")
    assert (answer.content, answer.headers["Jobd-Log-Offset"]) == (rest, at)


@pytest.mark.parametrize(
    ("target", "field"),
    [("/logs/stdin", "stream"), ("/logs/stdout?offset=x", "offset"), ("/logs/stdout?follow=maybe", "follow")],
)
def test_bad_questions_about_logs(left: Ended, target: str, field: str) -> None:
    answer = left.get(target)
    assert (answer.code, answer.fields) == (400, [field])


class Stream:
    """An answer that comes piece by piece."""

    def __init__(self, served: RunningDaemon, target: str, **headers: str) -> None:
        self.connection = Connection(served.socket)
        self.connection.request("GET", target, headers=headers)
        self.response = self.connection.getresponse()

    def line(self) -> bytes:
        return self.response.readline()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def test_a_log_is_followed_as_it_is_written(served: RunningDaemon) -> None:
    go = served.directory / "go"
    script = f"echo one; while [ ! -e {go} ]; do sleep 0.01; done; printf 'two\\nlast'; exit 3"
    job = served.submit("sh", "-c", script)
    with Stream(served, f"/jobs/v2/{job['id']}/logs/stdout?follow=true") as log:
        assert log.line() == b"one\n"
        served.in_status(job["id"], "RUNNING")
        go.touch()
        assert log.response.read() == b"two\nlast"
    assert served.client().show(job["id"])["exitCode"] == 3


def test_a_log_that_is_not_there_yet(served: RunningDaemon) -> None:
    blockers = [served.submit("sleep", "1000") for _ in os.sched_getaffinity(0)]
    job = served.submit("echo", "late")
    path = f"/jobs/v2/{job['id']}/logs/stdout"
    assert ask(served.socket, "GET", path).content == b""
    with Stream(served, f"{path}?follow=true") as log:
        for blocker in blockers:
            served.client().kill(blocker["id"])
        assert log.response.read() == b"late\n"


def test_a_job_that_cuts_its_own_log_short(served: RunningDaemon) -> None:
    go = served.directory / "cut"
    script = f"echo before; while [ ! -e {go} ]; do sleep 0.01; done; : > $0; echo after"
    job = served.submit("sh", "-c", script)
    log = served.in_status(job["id"], "RUNNING")["outputPath"] + f"/test-{job['id']}.out"
    served.client().kill(job["id"])
    job = served.submit("sh", "-c", script, log)  # its own log's name is not known before it is submitted
    with Stream(served, f"/jobs/v2/{job['id']}/logs/stdout?follow=true") as followed:
        assert followed.line() == b"before\n"
        go.touch()
        assert followed.response.read() == b"after\n"


def test_who_follows_and_goes_away_leaves_nothing(served: RunningDaemon) -> None:
    job = served.submit("sleep", "1000")
    served.in_status(job["id"], "RUNNING")
    assert served.process is not None
    descriptors = Path(f"/proc/{served.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    streams = [Stream(served, f"/jobs/v2/{job['id']}/logs/stdout?follow=true") for _ in range(20)]
    assert len(list(descriptors.iterdir())) >= before + 20
    for stream in streams:
        stream.connection.close()
        stream.response.close()
    until(lambda: len(list(descriptors.iterdir())) <= before + 2, what="the descriptors are closed")
    served.client().kill(job["id"])


# ---- events and stopping


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
def test_events(served: RunningDaemon, accept: str) -> None:
    with Stream(served, "/events", Accept=accept) as stream:
        stream.line()
        job = served.submit("true")
        seen: list[str] = []
        while "FINISHED" not in seen:
            line = stream.line().strip().removeprefix(b"data: ")
            if line.startswith(b"{") and json.loads(line)["id"] == job["id"]:
                seen.append(json.loads(line)["status"])
    assert "RUNNING" in seen


def test_stopping_ends_streams_and_waits(short_dir: Path) -> None:
    with RunningDaemon(short_dir) as running:
        job = running.submit("sh", "-c", "echo one; exec sleep 1000")
        path = f"/jobs/v2/{job['id']}"
        answers: list[Any] = []

        def wait() -> None:
            answers.append(ask(running.socket, "GET", f"{path}/wait?timeout=60"))

        waiting = threading.Thread(target=wait)
        with Stream(running, f"{path}/logs/stdout?follow=true") as log, Stream(running, "/events") as events:
            assert log.line() == b"one\n"
            waiting.start()
            until(lambda: b"jobd_connections 4" in ask(running.socket, "GET", "/metrics").content)
            begun = os.times().elapsed
            assert running.stop() == 0
            assert os.times().elapsed - begun < 2
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                log.response.read()  # not an orderly end: the job goes on writing
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                events.response.read()
        waiting.join(10)
        assert (answers[0].code, answers[0].headers["Retry-After"]) == (503, "1")
