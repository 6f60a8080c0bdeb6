"""What the benchmark puts on a daemon, and what it measures processes by. Linux only, as jobd is."""

from __future__ import annotations

import os
import re
import selectors
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jobd import status
from jobd.client import Client
from jobd.client.wire import dial

ACTIVE = ",".join(sorted(status.ACTIVE))
NO_OP = ["/bin/true"]


# ---- without jobd


def floor(jobs: int, at_once: int) -> float:
    """Bare posix_spawn and wait: what the machine itself can do, in jobs a second."""
    began = time.perf_counter()
    running: list[int] = []
    for _ in range(jobs):
        if len(running) == at_once:
            os.waitpid(running.pop(0), 0)
        running.append(os.posix_spawn(NO_OP[0], NO_OP, {}))
    for pid in running:
        os.waitpid(pid, 0)
    return jobs / (time.perf_counter() - began)


def write_through(directory: Path, times: int) -> list[float]:
    """Seconds that each of some writes of 4 KB took to be on the disk."""
    taken = []
    fd = os.open(directory / "probe", os.O_WRONLY | os.O_CREAT, 0o600)
    for at in range(times):
        began = time.perf_counter()
        os.pwrite(fd, b"x" * 4096, at * 4096)
        os.fdatasync(fd)
        taken.append(time.perf_counter() - began)
    os.close(fd)
    os.unlink(directory / "probe")
    return taken


# ---- many connections


class _Connection:
    """One kept connection with one request under way; the requests are ready-made, so that the time goes into
    the daemon."""

    def __init__(self, path: str) -> None:
        self.socket = dial(path, 5.0)
        self._buffer = b""

    def send(self, request: bytes) -> None:
        self._buffer = b""
        self.socket.sendall(request)

    def reply(self) -> bytes | None:
        """The body, once all of it is here."""
        self._buffer += self.socket.recv(1 << 16)
        head, _, body = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
        if length is None or len(body) < int(length[1]):
            return None
        if not head.startswith(b"HTTP/1.1 201"):
            raise AssertionError(f"not taken: {body[:300]!r}")
        return body


def submission(body: bytes) -> bytes:
    """A request as a client sends it."""
    head = (
        "POST /jobs/v2 HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
        f"Content-Type: application/json\r\nIdempotency-Key: {os.urandom(16).hex()}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def submit_from_many(path: str, body: bytes, jobs: int, clients: int) -> list[str]:
    """The ids of jobs that so many clients submit at once, each on a connection of its own."""
    requests = [submission(body) for _ in range(jobs)]
    selector = selectors.DefaultSelector()
    for _ in range(min(clients, jobs)):
        connection = _Connection(path)
        connection.send(requests.pop())
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    ids: list[str] = []
    while len(ids) < jobs:
        for key, _ in selector.select():
            answer = key.data.reply()
            if answer is not None:
                ids.append(_id(answer))
                if requests:
                    key.data.send(requests.pop())
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    selector.close()
    return ids


def _id(answer: bytes) -> str:
    found = re.search(rb'"id":"([0-9a-f-]{36}-007)"', answer)
    assert found, answer[:300]
    return found[1].decode()


# ---- ends


def await_all(client: Client, ids: Sequence[str]) -> None:
    """Until every job on the daemon is known to be over."""
    client.wait(ids[-1])
    while active := list(client.list({"status.in": ACTIVE}, limit=1)):
        client.wait(active[0]["id"])


def kill_all(client: Client) -> None:
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(client.kill, [job["id"] for job in client.list({"status.in": ACTIVE})]))


def assert_finished(client: Client, ids: Sequence[str]) -> None:
    for at in range(0, len(ids), 100):
        some = ids[at : at + 100]
        rows = list(client.list({"id.in": ",".join(some)}))
        assert [row["status"] for row in rows] == ["FINISHED"] * len(some)


# ---- processes


def cpu(pids: Iterable[int]) -> float:
    """CPU seconds of these processes so far, to the nanosecond."""
    return sum(
        int(task.joinpath("schedstat").read_text().split()[0]) / 1e9
        for pid in pids
        for task in Path(f"/proc/{pid}/task").iterdir()
    )


def memory(pid: int, *kinds: str) -> int:
    """Bytes, of Pss, Private_Dirty .. together."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.split(":")[0] in kinds)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def run_and_time(argv: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of a whole process, its output thrown away."""
    began = time.perf_counter()
    null = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(argv[0], argv, environment, file_actions=null)
    _, status, used = os.wait4(pid, 0)
    assert status == 0, f"{argv} ended with {status}"
    return time.perf_counter() - began, used.ru_utime + used.ru_stime
