"""How fast jobd is, beside what the machine itself can do in the same minutes.

    python -m tests.benchmark [--quick] [--json] [--directory DIR]

A real daemon in a directory of its own, with as many jobs at once as the machine has processors; one machine,
so the load runs on the processors that it measures. Rates are medians over rounds in which everything takes
its turn, and count as ratios to the floor just before and after: bare posix_spawn and wait of the same jobs,
as many at once. Times are medians and 99th percentiles. Every job is durable: on disk before its submission
is answered. `--directory` chooses the disk.

The aims are the project's own. Nothing here fails for being slow, and no test times anything.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobd.client import Client
from jobd.client.client import plain_request
from tests import launches, loads, past
from tests.daemon import RunningDaemon, until

PROCESSORS = len(os.sched_getaffinity(0))
"""How many jobs at once."""
_ROOT = Path(__file__).parent.parent
_SLEEP = ["/bin/sleep", "3600"]
_DEAF = ["/bin/sh", "-c", "trap '' TERM; echo deaf; exec /bin/sleep 3600"]
_MANY = 32
_GRACE = 1.0
_MB = 1 << 20


@dataclass(frozen=True)
class Sizes:
    rounds: int = 5
    floor: int = 300
    one_by_one: int = 300
    bulk: int = 500
    by_many: int = 640
    latencies: int = 300
    kills: int = 40
    deaf_kills: int = 5
    idle_seconds: float = 10.0
    stored: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    listings: int = 40
    restarts: int = 3
    running: int = 1_000
    commands: int = 20
    launches: int = 200


QUICK = Sizes(
    rounds=3, floor=150, one_by_one=100, bulk=200, by_many=160, latencies=100, kills=10, deaf_kills=2,
    idle_seconds=3.0, stored=(1_000, 100_000), listings=20, restarts=2, running=100, commands=7, launches=30,
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the result."""

    part: str
    what: str
    value: float
    unit: str
    p99: float | None = None
    floor: float | None = None
    """What `value` is compared with: of the same unit, from the same rounds."""
    ratio: float | None = None
    """How many times worse than the floor; the median over the rounds."""
    aim: str = ""


@dataclass
class Report:
    facts: dict[str, Any]
    rows: list[Row]

    def add(self, part: str, what: str, value: float, unit: str, **more: Any) -> None:
        self.rows.append(Row(part, what, value, unit, **more))

    def add_times(self, part: str, what: str, seconds: Sequence[float], **more: Any) -> None:
        self.add(part, what, 1e3 * statistics.median(seconds), "ms", p99=1e3 * p99(seconds), **more)


def p99(values: Sequence[float]) -> float:
    return sorted(values)[max(0, -(-len(values) * 99 // 100) - 1)]


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def say(words: str) -> None:
    print(f"  {words} ..", file=sys.stderr, flush=True)


# ---- the parts


def run(sizes: Sizes, directory: Path | None = None) -> Report:
    report = Report(_facts(directory), [])
    with _daemon(directory, PROCESSORS) as daemon, daemon.client() as client:
        say("rates")
        report.facts["containment"] = client.doctor().get("containment", {}).get("rung")
        measure_rates(report, sizes, daemon, client)
        say("latencies")
        measure_latencies(report, sizes, client)
        say("kills")
        measure_kills(report, sizes, client)
        say("rest")
        measure_rest(report, sizes, daemon, client)
        say("jobctl")
        measure_jobctl(report, sizes, daemon)
    say("other users")
    measure_launches(report, sizes)
    with _daemon(directory, sizes.running) as daemon:
        measure_history(report, sizes, daemon)
    return report


def _facts(directory: Path | None) -> dict[str, Any]:
    return {
        "processors": PROCESSORS,
        "load": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "directory": str(directory or tempfile.gettempdir()),
        "user": "root" if os.geteuid() == 0 else "not root",
    }


@contextlib.contextmanager
def _daemon(directory: Path | None, at_once: int) -> Iterator[RunningDaemon]:
    slots = f"{{processors: {at_once}, memory: 1000GB}}"
    system = (
        f"{{id: local, backend: local, killGrace: {_GRACE}, slots: {slots}, queues: [{{name: default}}]}}"
    )
    with (
        tempfile.TemporaryDirectory(prefix="jobd-bench-", dir=directory) as name,
        RunningDaemon(Path(name), f"systems:\n  - {system}\n") as daemon,
    ):
        yield daemon


def measure_rates(report: Report, sizes: Sizes, daemon: RunningDaemon, client: Client) -> None:
    """Everything in turn, round after round."""
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in _RATES}
    for _ in range(sizes.rounds):
        for name, rate, floor in _round(sizes, daemon, client):
            runs[name].append((rate, floor))
    disk = loads.write_through(daemon.directory, 20 * sizes.rounds)
    report.add_times("floor", "4 KB written through to the disk", disk)
    floors = [floor for each in runs.values() for _, floor in each if floor]
    report.add("floor", "posix_spawn + wait of no-op jobs", statistics.median(floors), "/s")
    for name, (part, what, aim) in _RATES.items():
        _add_rate(report, part, what, runs[name], aim)


def _add_rate(report: Report, part: str, what: str, runs: list[tuple[float, float]], aim: str) -> None:
    rates, floors = zip(*runs, strict=True)
    more: dict[str, float] = {}
    if all(floors):
        more = {
            "floor": statistics.median(floors),
            "ratio": statistics.median(floor / rate for rate, floor in runs),
        }
    report.add(part, what, statistics.median(rates), "/s", aim=aim, **more)


_RATES = {
    "one": ("end to end", "no-op jobs, one request each on one connection", "floor / 4"),
    "bulk": ("end to end", "no-op jobs, one request with all", "floor / 3"),
    "many": ("end to end", f"no-op jobs, {_MANY} clients", "floor / 3"),
    "submit one": ("submit", "durable submits, 1 client", ""),
    "submit many": ("submit", f"durable submits, {_MANY} clients", ""),
}


def _round(sizes: Sizes, daemon: RunningDaemon, client: Client) -> Iterator[tuple[str, float, float]]:
    """(which, rate, the floor just before and after it)."""
    ends = {
        "one": lambda: _one_by_one(client, sizes.one_by_one),
        "bulk": lambda: _in_bulk(client, sizes.bulk),
        "many": lambda: _by_many(daemon, sizes.by_many),
    }
    floor = loads.floor(sizes.floor, PROCESSORS)
    for name, submit in ends.items():
        rate = _end_to_end(client, submit)
        before, floor = floor, loads.floor(sizes.floor, PROCESSORS)
        yield name, rate, (before + floor) / 2
    with _busy_machine(daemon, client):
        yield "submit one", _rate(lambda: _one_by_one(client, sizes.one_by_one)), 0.0
        yield "submit many", _rate(lambda: _by_many(daemon, sizes.by_many)), 0.0


def _rate(submit: Callable[[], list[str]]) -> float:
    began = time.perf_counter()
    ids = submit()
    return len(ids) / (time.perf_counter() - began)


def _end_to_end(client: Client, submit: Callable[[], list[str]]) -> float:
    began = time.perf_counter()
    ids = submit()
    loads.await_all(client, ids)
    taken = time.perf_counter() - began
    loads.assert_finished(client, ids)
    return len(ids) / taken


def _one_by_one(client: Client, jobs: int) -> list[str]:
    """As people do: with their environment and their directory."""
    return [client.submit(loads.NO_OP)["id"] for _ in range(jobs)]


def _in_bulk(client: Client, jobs: int) -> list[str]:
    request = {"name": "bulk", "command": loads.NO_OP}
    return [job["id"] for job in client.submit_many([request] * jobs)]


def _by_many(daemon: RunningDaemon, jobs: int) -> list[str]:
    body = json.dumps(plain_request(loads.NO_OP, {})).encode()
    return loads.submit_from_many(str(daemon.socket), body, jobs, _MANY)


@contextlib.contextmanager
def _busy_machine(daemon: RunningDaemon, client: Client) -> Iterator[None]:
    """All processors are taken, so that what is submitted waits; it is thrown away afterwards."""
    job = client.submit(_SLEEP, processorsPerNode=PROCESSORS)
    daemon.in_status(job["id"], "RUNNING")
    yield
    daemon.stop()
    past.forget_waiting(daemon.state / "jobd.db")
    daemon.start()
    client.kill(job["id"])


def measure_latencies(report: Report, sizes: Sizes, client: Client) -> None:
    submits, ends = [], []
    for _ in range(sizes.latencies):
        began = time.perf_counter()
        job = client.submit(loads.NO_OP)
        submits.append(time.perf_counter() - began)
        client.wait(job["id"])
        ends.append(time.perf_counter() - began)
        time.sleep(0.005)  # until all is idle again
    report.add_times("latency", "submit, acknowledged on disk", submits, aim="p50 2 ms, p99 10 ms")
    report.add_times("latency", "submit to end known", ends, aim="p50 10 ms, then 4 ms")


def measure_kills(report: Report, sizes: Sizes, client: Client) -> None:
    plain = [_kill(client, _SLEEP) for _ in range(sizes.kills)]
    report.add_times("kill", "kill to gone and known: a plain job", plain, aim="p50 5 ms")
    deaf = [_kill(client, _DEAF) - _GRACE for _ in range(sizes.deaf_kills)]
    report.add_times("kill", f"the same beyond its grace of {_GRACE:g} s: ignores TERM", deaf, aim="100 ms")


def _kill(client: Client, command: list[str]) -> float:
    job = client.submit(command, directory=None)
    pid = until(lambda: _pid_if_running(client, job["id"]))
    if command is _DEAF:
        until(lambda: b"".join(client.logs(job["id"])))
    began = time.perf_counter()
    killed = client.kill(job["id"])
    taken = time.perf_counter() - began
    assert killed["status"] == "STOPPED", killed
    assert not Path(f"/proc/{pid}").exists()
    return taken


def _pid_if_running(client: Client, job_id: str) -> str:
    job = client.show(job_id)
    return str(job["localId"]) if job["status"] == "RUNNING" else ""


def measure_rest(report: Report, sizes: Sizes, daemon: RunningDaemon, client: Client) -> None:
    pids = _pids(daemon, client)
    _add_memory(report, "daemon and keeper after all this", pids)
    daemon.restart()
    pids = _pids(daemon, client)
    used = _cpu_at_rest(pids, sizes.idle_seconds)
    _add_memory(report, "daemon and keeper, freshly started", pids)
    report.add("idle", "CPU of daemon and keeper, of one processor", used, "%", aim="0.2 %")


def _pids(daemon: RunningDaemon, client: Client) -> list[int]:
    assert daemon.process is not None
    return [daemon.process.pid, client.doctor()["containment"]["keeper"]]


def _add_memory(report: Report, what: str, pids: list[int]) -> None:
    used = sum(loads.memory(pid, "Pss") for pid in pids) / _MB
    report.add("idle", f"memory (PSS) of {what}", used, "MB", aim="70 MB")


def _cpu_at_rest(pids: list[int], seconds: float) -> float:
    """Percent of one processor."""
    time.sleep(min(1.0, seconds))  # what was under way ends
    before = loads.cpu(pids)
    time.sleep(seconds)
    return 100 * (loads.cpu(pids) - before) / seconds


def measure_jobctl(report: Report, sizes: Sizes, daemon: RunningDaemon) -> None:
    python = [sys.executable, "-I", "-c"]
    program = f"import sys; sys.path.insert(0, {str(_ROOT)!r}); from jobd.cli import main; sys.exit(main())"
    bare, jobctl = [], []
    for _ in range(sizes.commands):
        bare.append(loads.run_and_time([*python, "pass"], daemon.environment))
        jobctl.append(loads.run_and_time([*python, program, "list"], daemon.environment))
    for at, what in enumerate(("wall", "CPU")):
        ratio = statistics.median(one[at] / other[at] for one, other in zip(jobctl, bare, strict=True))
        words = f"jobctl list, whole process, {what} (floor: python -I -c pass)"
        floor = 1e3 * statistics.median(times[at] for times in bare)
        times = [times[at] for times in jobctl]
        report.add_times("jobctl", words, times, floor=floor, ratio=ratio, aim="6 times, then 4")


# ---- with a long past


def measure_launches(report: Report, sizes: Sizes) -> None:
    """Through the keeper alone, beside setpriv."""
    if os.geteuid() != 0:
        return
    times = launches.measured(sizes.launches)
    floor = 1e3 * statistics.median(times["bare setpriv"])
    for way, seconds in times.items():
        more = (
            {}
            if way == "bare setpriv"
            else {"floor": floor, "ratio": 1e3 * statistics.median(seconds) / floor}
        )
        report.add_times("one job's life", way, seconds, **more)


def measure_history(report: Report, sizes: Sizes, daemon: RunningDaemon) -> None:
    with daemon.client() as client:
        me = client.me()["username"]
        finished, failed = (client.run([path], name="fit-0")["id"] for path in ("/bin/true", "/bin/false"))
        for stored in sizes.stored:
            daemon.stop()
            say(f"{stored:,} jobs stored")
            past.fill(daemon.state / "jobd.db", stored, me, finished, failed)
            _add_restarts(report, sizes, daemon, f"{stored:,} stored")
            _add_listings(report, sizes, client, stored, me)
        say(f"{sizes.running:,} running")
        _measure_running(report, sizes, daemon, client)
        loads.kill_all(client)
        daemon.stop()
        past.drop(daemon.state)  # or whoever ends this daemon would go through all of it


def _add_restarts(report: Report, sizes: Sizes, daemon: RunningDaemon, what: str) -> None:
    taken = []
    for _ in range(sizes.restarts):
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.stop()
        taken.append(timed(daemon.start))
    report.add_times("restart", f"ready after a start with {what}", taken, aim="1 s")


def _add_listings(report: Report, sizes: Sizes, client: Client, stored: int, me: str) -> None:
    taken: dict[str, list[float]] = {}
    for _ in range(sizes.listings):
        for name, where, order in _listings(me, stored):
            rows = lambda where=where, order=order: list(client.list(where, limit=50, order_by=order))  # noqa: E731
            taken.setdefault(name, []).append(timed(rows))
    for name, times in taken.items():
        words = f"50 rows of {stored:,}: {name}"
        report.add_times("list", words, times, aim="p50 10 ms, 2 x that of 1,000")


def _listings(me: str, stored: int) -> Iterator[tuple[str, dict[str, str], str]]:
    """(what it is called, the search, its order)"""
    middle = (time.time() - stored * past.APART / 2) * 1000
    hours = f"{middle:.0f},{middle + 2 * 3600_000:.0f}"
    yield "no filter", {}, "lastUpdated"
    yield "no filter, by creation", {}, "created"
    yield "status", {"status": "FAILED"}, "lastUpdated"
    yield "status, of those not over", {"status.in": loads.ACTIVE}, "lastUpdated"
    yield "owner and status", {"owner": me, "status": "FAILED"}, "lastUpdated"
    yield "name.like, a prefix", {"name.like": "fit-12*"}, "lastUpdated"
    yield "name", {"name": "fit-12"}, "lastUpdated"
    yield "id.like, a prefix", {"id.like": "abcd*"}, "lastUpdated"
    yield "created, two hours of long ago", {"created.between": hours}, "lastUpdated"
    yield "owner and created, the same hours", {"owner": me, "created.between": hours}, "lastUpdated"
    yield "owner, by creation", {"owner": me}, "created"


def _measure_running(report: Report, sizes: Sizes, daemon: RunningDaemon, client: Client) -> None:
    client.submit_many([{"name": "run", "command": _SLEEP}] * sizes.running)
    until(lambda: _running(client) == sizes.running, 120.0, "all are running")
    keeper = client.doctor()["containment"]["keeper"]
    supervisors = until(lambda: _all_of(loads.children(keeper), sizes.running))
    private = [loads.memory(pid, "Private_Clean", "Private_Dirty") for pid in supervisors]
    what = f"private memory per job, {sizes.running:,} running"
    report.add("running", what, statistics.mean(private) / _MB, "MB", aim="1 MB")
    share = _cpu_at_rest(supervisors, sizes.idle_seconds)
    report.add("running", "CPU of all their supervisors, of one processor", share, "%", aim="0 %")
    _add_restarts(report, sizes, daemon, f"{sizes.stored[-1]:,} stored, {sizes.running:,} running")
    assert _running(client) == sizes.running, "they are known again"


def _running(client: Client) -> int:
    return sum(1 for _ in client.list({"status": "RUNNING"}))


def _all_of(pids: list[int], number: int) -> list[int]:
    return pids if len(pids) == number else []


# ---- the result


def table(report: Report) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in report.facts.items())
    lines = [facts, "", _line("", "", "", "p99", "floor", "times", "aim")]
    part = ""
    for row in report.rows:
        lines.append(_line(row.part if row.part != part else "", row.what, *_figures(row), row.aim))
        part = row.part
    return "\n".join(lines)


def _figures(row: Row) -> tuple[str, str, str, str]:
    return (
        f"{_number(row.value)} {row.unit}",
        "" if row.p99 is None else _number(row.p99),
        "" if row.floor is None else _number(row.floor),
        "" if row.ratio is None else f"{row.ratio:.1f}",
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _line(part: str, what: str, value: str, high: str, bare: str, ratio: str, aim: str) -> str:
    return f"{part:<11} {what:<66} {value:>11} {high:>8} {bare:>8} {ratio:>6}   {aim}".rstrip()


def main(argv: list[str] | None = None, sizes: Sizes | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="about a minute, and rougher")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--directory", type=Path, help="where the daemon's state is to be, on which disk")
    arguments = parser.parse_args(argv)
    report = run(sizes or (QUICK if arguments.quick else Sizes()), arguments.directory)
    print(json.dumps(asdict(report), indent=1) if arguments.json else table(report))


if __name__ == "__main__":
    main()
