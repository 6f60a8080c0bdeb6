"""The client's way with a server that misbehaves: a real one, over a real Unix socket, that is told what to
do with each request. (How it gets on with jobd itself is in test_client_daemon.py.)"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobd.client import Client, Unreachable, hosts, wire
from jobd.client.client import default_name, plain_request, quote
from jobd.errors import Conflict, Forbidden, Invalid, JobdError, NotFound, Unavailable


class Request:
    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.method, self.target, self.headers, self.body = method, target, headers, body


Step = Callable[[socket.socket, Request], None]


class Server:
    """Answers the requests with the steps of a plan, one each; the last step serves all further ones."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plan: list[Step] = []
        self.requests: list[Request] = []
        self.listener = socket.socket(socket.AF_UNIX)
        here = os.open(path.parent, os.O_RDONLY)
        self.listener.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)
        self.listener.listen(8)
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def does(self, *steps: Step) -> None:
        self.plan = list(steps)
        self.requests.clear()

    def close(self) -> None:
        for open_socket in (self.listener, *self.connections):
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection, connection.makefile("rb") as file:
            while request := _read(file):
                self.requests.append(request)
                step = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
                step(connection, request)


def _read(file: Any) -> Request | None:
    line = file.readline().decode()
    if not line:
        return None
    method, target, _ = line.split()
    headers = {}
    while (header := file.readline().decode().strip()) != "":
        name, _, value = header.partition(": ")
        headers[name.lower()] = value
    return Request(method, target, headers, file.read(int(headers.get("content-length", 0))))


def raw(content: bytes) -> Step:
    return lambda connection, _: connection.sendall(content)


def reply(result: object = None, code: int = 200, message: str | None = None, **headers: str) -> Step:
    status = "success" if code < 400 else "error"
    body = json.dumps({"status": status, "message": message, "version": "1", "result": result}).encode()
    lines = [f"HTTP/1.1 {code} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return raw("\r\n".join([*lines, "", ""]).encode() + body)


def drop(connection: socket.socket, _: Request) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def broken_off(connection: socket.socket, _: Request) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    connection.shutdown(socket.SHUT_RDWR)


def silence(seconds: float) -> Step:
    def step(connection: socket.socket, _: Request) -> None:
        threading.Event().wait(seconds)

    return step


def chunked(*pieces: bytes, whole: bool = True, **headers: str) -> Step:
    def step(connection: socket.socket, _: Request) -> None:
        more = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *more, "", ""]
        connection.sendall("\r\n".join(head).encode())
        for piece in pieces:
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        if whole:
            connection.sendall(b"0\r\n\r\n")
        else:
            connection.shutdown(socket.SHUT_RDWR)

    return step


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    serving = Server(tmp_path / "s")
    yield serving
    serving.close()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(str(server.path), patience=10) as connected:
        yield connected


JOB = {"id": "1-007", "name": "n", "status": "FINISHED", "visible": True}


def test_connection_is_kept(server: Server, client: Client) -> None:
    server.does(reply(JOB))
    assert [client.show("x")["id"] for _ in range(5)] == ["1-007"] * 5
    assert len(server.connections) == 1


def test_lost_reply_to_a_submit_is_tried_again_with_the_same_key(server: Server, client: Client) -> None:
    server.does(drop, broken_off, reply(JOB, 201))
    assert client.submit(["true"])["id"] == "1-007"
    keys = {request.headers["idempotency-key"] for request in server.requests}
    assert (len(server.requests), len(keys)) == (3, 1)
    assert len({request.body for request in server.requests}) == 1


def test_two_submits_have_two_keys(server: Server, client: Client) -> None:
    server.does(reply(JOB, 201))
    client.submit(["true"])
    client.submit(["true"])
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 2


def test_slow_reply_counts_as_lost(server: Server) -> None:
    server.does(silence(5), reply(JOB))
    with Client(str(server.path), timeout=0.2) as client:
        assert client.show("x") == JOB
    assert len(server.requests) == 2


def test_busy_server_is_asked_again_when_it_says(server: Server, client: Client) -> None:
    server.does(reply(code=503, message="wait", Retry_After="0.2"), reply(JOB))
    began = time.monotonic()
    assert client.show("x") == JOB
    assert time.monotonic() - began >= 0.2


def test_busy_for_too_long_is_unavailable(server: Server) -> None:
    server.does(reply(code=503, message="the disk is full", Retry_After="0.05"))
    with Client(str(server.path), patience=0.3) as client, pytest.raises(Unavailable, match="disk is full"):
        client.show("x")
    assert len(server.requests) > 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [(400, Invalid), (403, Forbidden), (404, NotFound), (409, Conflict), (413, Invalid), (500, JobdError)],
)
def test_codes_become_errors(server: Server, client: Client, code: int, kind: type[JobdError]) -> None:
    server.does(reply(code=code, message="so it is"))
    with pytest.raises(kind, match="so it is") as caught:
        client.show("x")
    assert (type(caught.value), caught.value.code) == (kind, code)


def test_faults_come_field_by_field(server: Server, client: Client) -> None:
    faults = [
        {"field": "name", "problem": "is missing", "expected": "a name"},
        {"field": "gpus", "problem": "is -1"},
    ]
    server.does(reply({"errors": faults}, 400, "2 faults"))
    with pytest.raises(Invalid) as caught:
        client.submit(["true"])
    assert [fault.as_dict() for fault in caught.value.faults] == faults


def test_answer_that_is_not_jobds(server: Server, client: Client) -> None:
    server.does(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
    with pytest.raises(JobdError, match="not jobd's"):
        client.show("x")
    server.does(raw(b"SSH-2.0-OpenSSH\r\n"))
    client.patience = 0.1
    with pytest.raises(Unreachable, match="not an HTTP server"):
        client.show("x")


def test_large_body_refused_before_it_was_read(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()

    def refuse() -> None:
        connection, _ = listener.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        connection.close()

    thread = threading.Thread(target=refuse)
    thread.start()
    with Client(str(tmp_path / "s"), patience=0) as client, pytest.raises(Invalid, match="413"):
        client.submit(["true"], environment={"X": "x" * 5_000_000})
    thread.join()
    listener.close()


def test_delete_whose_reply_was_lost_is_found_done(server: Server, client: Client) -> None:
    server.does(drop, reply(code=404, message="no job"), reply([{**JOB, "visible": False}]))
    assert client.delete("1-007")["visible"] is False
    assert "visible=false" in server.requests[-1].target


def test_delete_of_no_job_is_not_found(server: Server, client: Client) -> None:
    server.does(reply(code=404, message="no job"))
    with pytest.raises(NotFound):
        client.delete("1-007")
    assert len(server.requests) == 1


def test_restore_whose_reply_was_lost_is_found_done(server: Server, client: Client) -> None:
    server.does(drop, reply(code=409, message="not hidden"), reply([JOB]))
    assert client.restore("1-007")["visible"] is True


def test_pages_are_fetched_as_needed(server: Server, client: Client) -> None:
    rows = [{"id": f"{number}"} for number in range(250)]

    def page(connection: socket.socket, request: Request) -> None:
        query = dict(pair.split("=") for pair in request.target.partition("?")[2].split("&"))
        offset, limit = int(query["offset"]), int(query["limit"])
        reply(rows[offset : offset + limit])(connection, request)

    server.does(page)
    assert [row["id"] for row in client.list()] == [row["id"] for row in rows]
    assert len(server.requests) == 3
    assert len(list(client.list(limit=120))) == 120
    assert next(client.list())["id"] == "0"


def test_job_that_comes_in_between_two_pages_shows_none_twice(server: Server, client: Client) -> None:
    first = [{"id": f"{number}"} for number in range(100)]
    server.does(reply(first), reply([first[-1], {"id": "100"}]))
    assert [row["id"] for row in client.list()] == [str(number) for number in range(101)]


def test_wait_asks_in_slices_and_times_out(server: Server, client: Client) -> None:
    server.does(reply({**JOB, "status": "RUNNING"}))
    with pytest.raises(TimeoutError, match="still RUNNING"):
        client.wait("1-007", timeout=0.05)
    server.does(reply({**JOB, "status": "RUNNING"}), drop, reply(JOB))
    assert client.wait("1-007", timeout=10) == JOB


def test_log_is_followed_over_a_broken_connection(server: Server, client: Client) -> None:
    server.does(chunked(b"one\n", b"tw", whole=False), drop, chunked(b"o\n"))
    assert b"".join(client.logs("1-007", follow=True)) == b"one\ntwo\n"
    asked = [request.target.rpartition("offset=")[2] for request in server.requests]
    assert asked == ["0", "6", "6"]


def test_followed_tail_goes_on_from_where_the_server_began(server: Server, client: Client) -> None:
    server.does(chunked(b"ab", whole=False, jobd_log_offset="98"), chunked(b"c"))
    assert b"".join(client.logs("1-007", follow=True, offset=-2)) == b"abc"
    assert [request.target.rpartition("offset=")[2] for request in server.requests] == ["-2", "100"]


def test_log_cut_short_is_not_taken_for_whole(server: Server, client: Client) -> None:
    server.does(chunked(b"one\n", whole=False))
    with pytest.raises(Unreachable):
        list(client.logs("1-007"))


def test_body_that_ends_with_the_connection(server: Server, client: Client) -> None:
    def step(connection: socket.socket, _: Request) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        connection.shutdown(socket.SHUT_RDWR)

    server.does(step)
    assert b"".join(client.logs("1-007")) == b"all of it"


def test_server_that_comes_back(server: Server, tmp_path: Path) -> None:
    with Client(str(tmp_path / "s"), patience=20) as client:
        server.does(reply(JOB))
        client.show("x")
        server.close()
        (tmp_path / "s").unlink()
        successor: list[Server] = []

        def come_back() -> None:
            successor.append(Server(tmp_path / "s"))
            successor[0].does(reply(JOB))

        timer = threading.Timer(0.4, come_back)
        timer.start()
        assert client.show("x") == JOB
        timer.join()
        successor[0].close()


def test_nobody_there(tmp_path: Path) -> None:
    with (
        Client(str(tmp_path / "s"), patience=0.1) as client,
        pytest.raises(Unreachable, match="does not answer"),
    ):
        client.me()


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user, whom only root can become")
def test_socket_that_may_not_be_used(short_dir: Path) -> None:
    short_dir.chmod(0o755)
    serving = Server(short_dir / "s")
    (short_dir / "s").chmod(0o600)
    code = (
        "import os, sys; from jobd.client import Client; os.setgid(65534); os.setuid(65534)\n"
        "try: Client(sys.argv[1]).me()\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    command = [sys.executable, "-c", code, str(short_dir / "s")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "Forbidden"
    serving.close()


def test_path_over_the_kernels_limit(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 100) / ("e" * 100)
    directory.mkdir(parents=True)
    for name in ("s", "s" * 120):
        if len(name) > 100:
            (directory / "s").rename(directory / name)
        else:
            long = Server(directory / name)
            long.does(reply(JOB))
        with Client(str(directory / name)) as client:
            assert client.show("x") == JOB
    long.close()


def test_full_queue_of_connections_is_waited_for(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen(0)
    first = wire.dial(str(tmp_path / "s"), 5)
    began = time.monotonic()
    with pytest.raises(wire.Away):
        wire.dial(str(tmp_path / "s"), 0.3)
    assert 0.25 < time.monotonic() - began < 5
    accepted: list[socket.socket] = []
    timer = threading.Timer(0.2, lambda: accepted.append(listener.accept()[0]))
    timer.start()
    second = wire.dial(str(tmp_path / "s"), 10)
    timer.join()
    for one in (first, second, *accepted, listener):
        one.close()


def test_threads_share_a_client(server: Server, client: Client) -> None:
    def echo(connection: socket.socket, request: Request) -> None:
        reply({**JOB, "id": request.target.rpartition("/")[2]})(connection, request)

    server.does(echo)
    wrong: list[object] = []

    def ask(number: int) -> None:
        for turn in range(20):
            wanted = f"{number}-{turn}"
            found = client.show(wanted)["id"]
            if found != wanted:
                wrong.append((wanted, found))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, len(server.connections) <= 8) == ([], True)


def test_child_of_a_fork_makes_its_own_connection(server: Server, client: Client) -> None:
    server.does(reply(JOB))
    client.show("x")
    client._pid -= 1  # as a child finds it
    client.show("x")
    assert len(server.connections) == 2


def test_plain_request() -> None:
    request = plain_request(["/opt/bin/fit", "-n", "3"], {"gpus": 1})
    assert (request["name"], request["gpus"], request["directory"]) == ("fit", 1, os.getcwd())
    assert request["environment"]["PATH"] == os.environ["PATH"]
    mask = os.umask(0o27)
    assert plain_request(["fit"], {})["umask"] == "0027"
    os.umask(mask)
    bare = plain_request(["fit"], {"name": "other", "directory": None, "environment": None, "umask": None})
    assert bare == {"name": "other", "command": ["fit"]}


@pytest.mark.parametrize(
    ("command", "name"), [(["/a/b/c"], "c"), (["x" * 70], "x" * 64), (["/"], "job"), ([], "job")]
)
def test_default_name(command: list[str], name: str) -> None:
    assert default_name(command) == name


def test_quote() -> None:
    assert quote("a b/c?é~") == "a%20b%2Fc%3F%C3%A9~"
    assert quote("a/b", b"/") == "a/b"


# ---- which daemon


def test_host_named_comes_first(tmp_path: Path) -> None:
    environ = {"JOBD_HOST": "unix:///a/b", "HOME": str(tmp_path)}
    assert str(hosts.find("/c/d", environ=environ)) == "unix:///c/d"
    assert str(hosts.find(environ=environ)) == "unix:///a/b"
    assert hosts.find(own=True, environ=environ).state == f"{tmp_path}/.local/state/jobd"


@pytest.mark.parametrize("host", ["ssh://-oProxyCommand=x", "relative/path", "tcp://1.2.3.4:5"])
def test_host_of_no_known_form(host: str) -> None:
    with pytest.raises(Invalid):
        hosts.find(host)


def test_own_daemon_is_found_where_its_lock_says(tmp_path: Path) -> None:
    serving = Server(tmp_path / "elsewhere")
    serving.does(reply(JOB))
    (tmp_path / "lock").write_text(json.dumps({"pid": os.getpid(), "socket": str(tmp_path / "elsewhere")}))
    host = hosts.find(environ={"JOBD_STATE_DIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")})
    assert host.alive()
    with Client(str(tmp_path / "none")) as client:
        client.host = host
        assert client.show("x") == JOB
    serving.close()


def test_no_own_daemon_is_told_at_once(tmp_path: Path) -> None:
    host = hosts.find(environ={"JOBD_STATE_DIR": str(tmp_path)})
    with Client(str(tmp_path / "none")) as client:
        client.host = host
        began = time.monotonic()
        with pytest.raises(Unreachable, match="no jobd of yours is running"):
            client.me()
        assert time.monotonic() - began < 1


def test_autostart_can_be_turned_off(tmp_path: Path) -> None:
    own = hosts.find(environ={"JOBD_STATE_DIR": str(tmp_path)})
    assert hosts.may_start(own, {})
    assert not hosts.may_start(own, {"JOBD_AUTOSTART": "0"})
    assert not hosts.may_start(hosts.find("/some/socket"), {})
    assert not hosts.may_start(hosts.Host("/run/jobd/jobd.sock", system=True), {})
