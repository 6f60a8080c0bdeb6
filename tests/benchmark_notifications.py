"""How fast notifications are delivered, and what submits lose by it meanwhile.

    python -m tests.benchmark_notifications [--notifications 10000] [--rounds 4] [--directory DIR]

A real daemon whose only queue is closed, so that nothing but submitting and telling goes on; a receiver of
webhooks on loopback, in a process of its own, which answers at once; a client that submits one job after the
other on a kept connection. In each round it submits for a while with nothing to tell, then while that round's
share of the notifications is delivered, then with nothing to tell again. Ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_long
from pathlib import Path
from typing import Any

from jobd.client import Client
from tests.benchmark import Report, say, table
from tests.daemon import RunningDaemon, until

CONFIG = """
systems: [{id: local, queues: [{name: closed, maxJobs: 0}]}]
maxActiveJobs: -1
"""
AIM = "0.9 or more"
_QUIET = 3.0
"""Seconds of submitting with nothing to tell."""
_IN_ONE_REQUEST = 500
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Receiver:
    """Takes every webhook, and counts them."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._count, self._port = context.Value(c_long, 0), context.Value(c_long, 0)
        self.process = context.Process(target=_receive, args=(self._count, self._port), daemon=True)
        self.process.start()
        until(lambda: self._port.value, 20, "the receiver listens")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port.value}/hook?job=${{JOB_ID}}"

    @property
    def count(self) -> int:
        return int(self._count.value)


def _receive(count: Any, port: Any) -> None:
    asyncio.run(_serve(count, port))


async def _serve(count: Any, port: Any) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            size = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
            await reader.readexactly(size)
            count.value += 1
            writer.write(_ANSWER)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port.value = server.sockets[0].getsockname()[1]
    await server.serve_forever()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


@contextmanager
def set_up(directory: Path | None) -> Iterator[tuple[Client, Receiver]]:
    with tempfile.TemporaryDirectory(prefix="jobd-benchmark-", dir=directory) as name:
        receiver, daemon = Receiver(), RunningDaemon(Path(name), CONFIG)
        daemon.start()
        try:
            with daemon.client() as client:
                yield client, receiver
        finally:
            daemon.stop()  # no job ever ran
            receiver.process.terminate()
            receiver.process.join()


def run(notifications: int, rounds: int, directory: Path | None = None) -> Report:
    report = Report({"processors": os.cpu_count()}, [])
    rates, ratios = [], []
    with set_up(directory) as (client, receiver):
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            before = _submits(client, _lasts(_QUIET))
            rate, meanwhile = _round(client, receiver, notifications // rounds)
            after = _submits(client, _lasts(_QUIET))
            rates.append(rate)
            ratios.append(meanwhile / statistics.mean((before, after)))
    report.add("notifications", "delivered by webhook", statistics.median(rates), "/s")
    what = "submits meanwhile, beside submits with nothing to tell"
    report.add("notifications", what, statistics.median(ratios), "times", aim=AIM)
    return report


def _round(client: Client, receiver: Receiver, notifications: int) -> tuple[float, float]:
    """Notifications a second, and submits a second meanwhile."""
    expected = receiver.count + notifications
    began = time.perf_counter()
    wish = [{"event": "PENDING", "url": receiver.url}]
    for left in range(notifications, 0, -_IN_ONE_REQUEST):
        client.submit_many([_job(notifications=wish)] * min(left, _IN_ONE_REQUEST))
    meanwhile = _submits(client, lambda: receiver.count < expected)
    return notifications / (time.perf_counter() - began), meanwhile


def _submits(client: Client, goes_on: Callable[[], bool]) -> float:
    """A second."""
    began, number = time.perf_counter(), 0
    while goes_on():
        client.submit(**_job())
        number += 1
    return number / (time.perf_counter() - began)


def _lasts(seconds: float) -> Callable[[], bool]:
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() < end


def _job(**more: Any) -> dict[str, Any]:
    return {"name": "told", "command": ["true"], "directory": "/", **more}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark_notifications")
    parser.add_argument("--notifications", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--directory", type=Path, help="where the daemon's store is")
    options = parser.parse_args(argv)
    print(table(run(options.notifications, options.rounds, options.directory)))


if __name__ == "__main__":
    main()
