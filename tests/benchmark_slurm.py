"""How fast jobd is in front of Slurm, beside sbatch and squeue themselves in the same minutes.

    python -m tests.benchmark_slurm [--tracked N]

A real cluster and a real daemon on this machine, as root. Jobs that are only counted go to a partition that
starts none. Nothing here fails for being slow.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.benchmark import p99, say
from tests.daemon import RunningDaemon
from tests.slurm import Cluster

_BATCH = 100
_ROUNDS = 3
_WINDOW = 20.0
"""Seconds over which commands are counted."""
_ENDS = 20
_PROGRAMS = ("sbatch", "squeue", "sacct", "scontrol", "scancel")


class Bench:
    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster = cluster
        self.calls, self.sbatch = directory / "calls", str(directory / "sbatch")
        self.calls.touch()
        options = f"conf: {cluster.conf}"
        for name in _PROGRAMS:
            wrapper = directory / name
            wrapper.write_text(f'#!/bin/sh\necho {name} >> {self.calls}\nexec /usr/bin/{name} "$@"\n')
            wrapper.chmod(0o755)
            options += f", {name}: {wrapper}"
        systems = f"systems: [{{id: cluster, backend: slurm, options: {{{options}}}, queues: "
        self.daemon = RunningDaemon(directory, systems + "[{name: debug}, {name: down}]}]\n")

    def request(self, queue: str, *command: str) -> dict[str, Any]:
        environment = {"PATH": "/usr/bin:/bin"}
        return {"name": "bench", "batchQueue": queue, "command": list(command), "environment": environment}

    # submits

    def by_sbatch(self, at_once: int) -> float:
        """Jobs per second of sbatch itself, by the same wrapper as jobd."""

        def one(_: int) -> str:
            return self.cluster.run(
                self.sbatch, "--parsable", "-p", "down", "-o", "/dev/null", input="#!/bin/sh\ntrue\n"
            )

        with ThreadPoolExecutor(at_once) as threads:
            return rate(lambda: list(threads.map(one, range(_BATCH))), _BATCH)

    def by_jobd(self, number: int) -> float:
        """Jobs per second from one request until Slurm has them all, and that is on record."""
        client, on_their_way = self.daemon.client(), {"status.in": "PENDING,STAGED,SUBMITTING"}

        def submit() -> None:
            client.submit_many([self.request("down", "true")] * number)
            while any(client.list(on_their_way, fields=["id"], limit=1)):
                time.sleep(0.1)

        return rate(submit, number)

    def count(self, status: str) -> int:
        return sum(1 for _ in self.daemon.client().list({"status": status}, fields=["id"]))

    # polls

    def commands_per_poll(self) -> tuple[float, int]:
        """Of any kind, and how many polls there were."""
        self.calls.write_text("")
        time.sleep(_WINDOW)
        calls = Counter(self.calls.read_text().split())
        return calls.total() / max(1, calls["squeue"]), calls["squeue"]

    def seconds_per_squeue(self) -> float:
        command = ("squeue", "--noheader", "--states=all")
        return statistics.median(1 / rate(lambda: self.cluster.run(*command), 1) for _ in range(5))

    # ends

    def delays(self) -> list[float]:
        """Seconds from a job's last act to its end in jobd's reply."""
        found = []
        for _ in range(_ENDS):
            job = self.daemon.submit("/bin/sh", "-c", "sleep 1; date +%s.%N", batchQueue="debug")
            self.daemon.client().wait(job["id"])
            known = time.time()
            found.append(known - float(b"".join(self.daemon.client().logs(job["id"]))))
        return found


def rate(work: Callable[[], Any], number: int) -> float:
    began = time.perf_counter()
    work()
    return number / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark_slurm")
    parser.add_argument("--tracked", type=int, default=5000, help="the most jobs in the queue")
    tracked = parser.parse_args().tracked
    with Cluster(cpus=16) as cluster, tempfile.TemporaryDirectory(prefix="jobd-") as name:
        bench = Bench(cluster, Path(name))
        bench.daemon.start()
        try:
            measure(bench, tracked)
        finally:
            bench.daemon.kill9()


def measure(bench: Bench, tracked: int) -> None:
    print(f"processors {len(os.sched_getaffinity(0))}, load {os.getloadavg()[0]:.1f}")
    say("ends")
    ends = bench.delays()
    print(f"end to known: median {statistics.median(ends):.2f} s, p99 {p99(ends):.2f} s")
    for number in (1, 100):
        measure_polls(bench, number)
    say("submits")
    for at_once in (1, 4):
        pairs = [(bench.by_sbatch(at_once), bench.by_jobd(_BATCH)) for _ in range(_ROUNDS)]
        bare, ours = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"submits: sbatch, {at_once} at once, {bare:.0f}/s; through jobd {ours:.0f}/s")
    measure_polls(bench, tracked)
    print(f"squeue itself with as many: {bench.seconds_per_squeue():.2f} s")


def measure_polls(bench: Bench, number: int) -> None:
    say(f"{number} tracked")
    missing = number - bench.count("QUEUED")
    each = bench.by_jobd(missing) if missing > 0 else 0.0
    commands, polls = bench.commands_per_poll()
    print(f"{number} tracked: {commands:.2f} commands per poll, {polls} polls in {_WINDOW:.0f} s")
    if missing > 0:
        print(f"  the last {missing} of them were submitted at {each:.0f}/s")


if __name__ == "__main__":
    main()
