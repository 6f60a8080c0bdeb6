"""Callers who are slow, large, strange or not welcome: each gets an answer, and nobody else notices."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon, until
from tests.talk import ask, everything, raw

CONFIG = "idleTimeout: 1s\nbodyTimeout: 1s\nmaxBody: 1MB\nmaxJobsPerRequest: 100\n"
POST = b"POST /jobs/v2 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def served() -> Iterator[RunningDaemon]:
    with tempfile.TemporaryDirectory(prefix="jobd-") as name, RunningDaemon(Path(name), CONFIG) as running:
        yield running


def connect(served: RunningDaemon) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(str(served.socket))
    return sock


def error(answer: bytes) -> tuple[int, str]:
    """Code and message of an enveloped error."""
    head, _, content = answer.partition(b"\r\n\r\n")
    envelope = json.loads(content)
    assert envelope["status"] == "error"
    assert isinstance(envelope["version"], str)
    return int(head.split()[1]), envelope["message"]


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /jobs/v2 HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 300_000 + b"\r\n\r\n",
        b"POST /jobs/v2 HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"POST /jobs/v2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50,
        b"GET /jobs/v2 HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(500)) + b"\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_the_envelope(served: RunningDaemon, data: bytes) -> None:
    code, message = error(raw(served.socket, data))
    assert code == 400
    assert message


def test_a_body_that_is_too_large(served: RunningDaemon) -> None:
    answer = ask(served.socket, "POST", "/jobs/v2", b"x" * 2_000_000)
    assert answer.code == 413
    assert "at most 1 MB" in answer.json["message"]


def test_a_body_of_32_mb_by_curl(served: RunningDaemon, tmp_path: Path) -> None:
    file = tmp_path / "big"
    with file.open("wb") as writing:
        writing.truncate(32_000_000)
    for extra in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"]):
        answer = served.curl(
            "-w", "%{http_code}", "--data-binary", f"@{file}", *extra, "http://localhost/jobs/v2"
        )
        assert answer.stdout.endswith("413"), answer


def test_a_body_that_is_compressed_small(served: RunningDaemon) -> None:
    bomb = zlib.compress(b"[" + b" " * 50_000_000 + b"]")
    answer = ask(served.socket, "POST", "/jobs/v2", bomb, Content_Encoding="deflate")
    assert answer.code in (400, 413)


def test_a_body_that_does_not_come(served: RunningDaemon) -> None:
    head = POST + b"Content-Length: 100\r\n\r\n{"
    begun = time.monotonic()
    code, message = error(raw(served.socket, head))
    assert (code, "1 second" in message) == (408, True)
    assert time.monotonic() - begun < 5


def test_a_body_that_drips(served: RunningDaemon) -> None:
    with connect(served) as sock:
        sock.sendall(POST + b"Content-Length: 999\r\n\r\n")
        sock.settimeout(0.1)
        answer = drip(sock, 8)
    assert answer.startswith(b"HTTP/1.1 408")


def drip(sock: socket.socket, seconds: float) -> bytes:
    """Sends byte by byte until the other end has something to say, or has gone."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            return sock.recv(65536)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(b" ")
    raise AssertionError(f"still served after {seconds} s")


@pytest.mark.parametrize("start", [b"", b"GET /jobs/v2 HTTP/1.1\r\nX: "])
def test_a_header_that_does_not_come_or_drips(served: RunningDaemon, start: bytes) -> None:
    with connect(served) as sock:
        sock.sendall(start)
        sock.settimeout(0.1)
        answer = drip(sock, 8) if start else until(lambda: _closed(sock), 8)
    assert answer in (b"", True)


def _closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        return False


def test_a_kept_connection_is_closed_when_it_says_nothing(served: RunningDaemon) -> None:
    with connect(served) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b'"UP"' in everything(sock)


def test_300_idle_connections_stop_nobody(served: RunningDaemon) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(connect(served))
        begun = time.monotonic()
        assert ask(served.socket, "GET", "/healthz").code == 200
        assert time.monotonic() - begun < 1


def test_one_person_cannot_have_all_connections(short_dir: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))  # which the daemon inherits
        try:
            running = stack.enter_context(RunningDaemon(short_dir))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        socks = [stack.enter_context(connect(running)) for _ in range(120)]
        answers = [sock for sock in socks if _has_answer(sock)]
        assert 0 < len(answers) < 60
        assert error(everything(answers[0]))[0] == 503
        for sock in socks:
            sock.close()
        until(lambda: ask(running.socket, "GET", "/healthz").code == 200)


def _has_answer(sock: socket.socket) -> bool:
    sock.settimeout(0.05)
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        sock.settimeout(20)


def test_more_jobs_than_one_request_may_have(served: RunningDaemon) -> None:
    answer = ask(served.socket, "POST", "/jobs/v2", [{"name": "x", "command": ["true"]}] * 101)
    assert answer.code == 400
    assert "at most 100" in answer.json["message"]


def test_requests_one_after_the_other_without_waiting(served: RunningDaemon) -> None:
    one = b"GET /jobs/v2/x HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = raw(served.socket, one * 50 + last)
    assert answer.count(b"HTTP/1.1 404") == 50
    assert answer.count(b"HTTP/1.1 200") == 1


def test_a_broken_body_breaks_nothing_else(served: RunningDaemon) -> None:
    """The answer names the place, and the connection goes on."""
    with connect(served) as sock:
        for _ in range(2):
            sock.sendall(POST + b'Content-Length: 8\r\n\r\n{"name" ')
            answer = sock.recv(65536)
            code, message = error(answer)
            assert (code, "line 1 column 9" in message) == (400, True)


def test_what_cannot_be_expected(served: RunningDaemon) -> None:
    length = b"Content-Length: 2\r\n"
    answer = raw(served.socket, POST + b"Expect: foo\r\nConnection: close\r\n" + length + b"\r\n{}")
    assert error(answer)[0] == 417
    answer = raw(served.socket, POST + b"Expect: 100-continue\r\nConnection: close\r\n" + length + b"\r\n{}")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 ")
    old = POST.replace(b"1.1", b"1.0") + b"Expect: foo\r\n"
    assert error(raw(served.socket, old + length + b"\r\n{}"))[0] == 400


def test_a_broken_gzip_is_answered_and_leaves_no_traceback(served: RunningDaemon) -> None:
    body = b"\x1f\x8b" + b"no gzip" * 10
    head = POST + b"Content-Encoding: gzip\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert error(raw(served.socket, head + body))[0] == 400
    assert "Traceback" not in served.logged()


BODIES = {
    "objects": b"[" + b'{"a":1},' * 2_000_000 + b"0]",
    "fewer objects": b"[" + b'{"a":111111111},' * 990_000 + b"0]",
    "numbers": b"[" + b"1," * 8_000_000 + b"0]",
    "fewer numbers": b"[" + b"0.1234567," * 1_200_000 + b"0]",
    "arrays": b"[" + b"[]," * 5_300_000 + b"0]",
    "names": b"{" + b",".join(b'"%d":1' % n for n in range(1_240_000)) + b',"7":1',
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_large_body_does_not_keep_the_daemon_from_ending(short_dir: Path, kind: str) -> None:
    body = BODIES[kind]
    with RunningDaemon(short_dir, "maxBody: 17MB\n") as running:
        head = POST + b"Content-Length: %d\r\n\r\n" % len(body)
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                sock = stack.enter_context(connect(running))
                sock.sendall(head + body)
            began = time.monotonic()
            assert running.stop() == 0
            assert time.monotonic() - began < 3, "2 s, and some for a busy machine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can call as somebody else")
def test_somebody_else_is_refused(served: RunningDaemon) -> None:
    served.directory.chmod(0o755)
    served.socket.chmod(0o666)
    job = served.run("true")

    def as_nobody(target: str) -> tuple[int, str]:
        command = ["curl", "-s", "-i", "--unix-socket", str(served.socket), f"http://localhost{target}"]
        told = subprocess.run(
            command, capture_output=True, user=65534, group=65534, extra_groups=[], check=True
        )
        return error(told.stdout)

    for target in ("/jobs/v2", f"/jobs/v2/{job['id']}", "/profiles/v2/me", "/events", "/doctor"):
        code, message = as_nobody(target)
        assert (code, message) == (403, "this daemon serves root only")
    command = ["curl", "-s", "--unix-socket", str(served.socket), "http://localhost/healthz"]
    told = subprocess.run(command, capture_output=True, user=65534, group=65534, extra_groups=[], check=True)
    assert json.loads(told.stdout)["status"] == "success"
