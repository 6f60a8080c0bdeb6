"""What an admin's monitor sees, and the store being looked after."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jobd.api.metrics import CONTENT_TYPE, FIGURES
from jobd.store.store import Store, open_store
from tests.clumsy import System
from tests.daemon import RunningDaemon, until
from tests.stores import add
from tests.talk import ask

# ---- metrics

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (-?\d+(?:\.\d+)?(?:e[+-]\d+)?|\+Inf)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')


def parsed(text: str) -> Samples:
    """By the rules of the text format, version 0.0.4: each figure described once, its samples below that and
    together, none twice, histograms complete."""
    assert text.endswith("\n")
    samples: Samples = defaultdict(dict)
    kinds: dict[str, str] = {}
    figure = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            figure = line.split(" ")[2]
            assert figure not in kinds, f"{figure} is there twice"
        elif line.startswith("# TYPE "):
            _, _, name, kinds[figure] = line.split(" ")
            assert (name, kinds[name] in ("gauge", "counter", "histogram")) == (figure, True)
        else:
            name, labels, value = sample(line)
            suffix = name.removeprefix(figure)
            allowed = ("_bucket", "_sum", "_count") if kinds[figure] == "histogram" else ("",)
            assert suffix in allowed, f"{line} below {figure}"
            assert kinds[figure] != "counter" or figure.endswith("_total")
            assert labels not in samples[name], f"{line} is there twice"
            samples[name][labels] = value
    for name in (name for name, kind in kinds.items() if kind == "histogram"):
        check_histogram(samples, name)
    return samples


def sample(line: str) -> tuple[str, tuple[tuple[str, str], ...], float]:
    found = _SAMPLE.fullmatch(line)
    assert found, f"not a sample: {line}"
    labels = tuple(_LABEL.findall(found[2] or ""))
    assert "".join(f'{name}="{value}",' for name, value in labels).rstrip(",") == (found[2] or "").rstrip(",")
    return found[1], labels, float(found[3])


def check_histogram(samples: Samples, name: str) -> None:
    for labels, count in samples[f"{name}_count"].items():
        buckets = [
            (float(dict(each)["le"]), value)
            for each, value in samples[f"{name}_bucket"].items()
            if tuple(label for label in each if label[0] != "le") == labels
        ]
        assert buckets == sorted(buckets), "ever more"
        assert buckets[-1] == (float("inf"), count)
        assert labels in samples[f"{name}_sum"]


def metrics(daemon: RunningDaemon) -> Callable[..., float | None]:
    answer = ask(daemon.socket, "GET", "/metrics")
    assert (answer.code, answer.headers["Content-Type"]) == (200, CONTENT_TYPE)
    samples = parsed(answer.content.decode())
    return lambda name, **labels: samples[name].get(tuple(labels.items()))


def test_the_parser_is_strict() -> None:
    head = "# HELP a_total x\n# TYPE a_total counter\n"
    assert parsed(f'{head}a_total{{b="c\\"d"}} 1\n')
    twice = "a_total 1\na_total 1"
    for wrong in ("a_total{b=c} 1", "a_total  1", "b 1", twice, "a_total{b='c'} 1", "a_total x"):
        with pytest.raises(AssertionError):
            parsed(f"{head}{wrong}\n")


def test_what_a_monitor_sees(short_dir: Path) -> None:
    config = "systems: [{id: local, slots: {processors: 2, memory: 1GB, gpus: [5]}}]\n"
    with RunningDaemon(short_dir, config) as daemon:
        client = daemon.client()
        for _ in range(3):
            daemon.run("true")
        daemon.run("false")
        runs, waits = daemon.submit("sleep", "1000", gpus=1), daemon.submit("true", gpus=1)
        daemon.in_status(runs["id"], "RUNNING")
        daemon.in_status(waits["id"], "STAGED")
        client.drain("local", 'a "quoted" \\ reason')
        told = metrics(daemon)
        assert told("jobd_submitted_total") == told("jobd_jobs_stored") == 6
        assert told("jobd_ended_total", condition="NORMAL") == 3
        assert told("jobd_ended_total", condition="EXIT_CODE") == 1
        assert told("jobd_jobs", system="local", status="RUNNING") == 1
        assert told("jobd_jobs", system="local", status="STAGED") == 1
        assert told("jobd_attempts_total", system="local") == 5
        assert told("jobd_wait_seconds_count", system="local") == 5
        assert told("jobd_slots", system="local", kind="memory") == 1 << 30
        assert told("jobd_slots_held", system="local", kind="gpus") == 1
        assert told("jobd_system_up", system="local") == 1
        assert told("jobd_system_drained", system="local", queue="") == 1
        assert told("jobd_store_writable") == 1
        assert told("jobd_store_bytes", file="store") > 4096
        assert abs(told("jobd_start_time_seconds") - time.time()) < 100
        daemon.restart()
        assert metrics(daemon)("jobd_submitted_total") == 0
        assert metrics(daemon)("jobd_jobs_stored") == 6


def test_polls_that_fail_are_counted(short_dir: Path) -> None:
    system = System(short_dir / "system")
    with RunningDaemon(short_dir, system.configuration()) as daemon:
        job = daemon.submit("x")
        daemon.in_status(job["id"], "QUEUED")
        until(lambda: metrics(daemon)("jobd_system_last_answer_seconds", system="clumsy"))
        system.is_in_mood("down")
        until(lambda: (metrics(daemon)("jobd_polls_failed_total", system="clumsy") or 0) > 2)
        assert metrics(daemon)("jobd_system_up", system="clumsy") == 0
        (trouble,) = daemon.client().health()["troubles"]
        assert trouble == "clumsy does not answer: cannot reach the controller"
        assert daemon.client().health()["status"] == "DEGRADED"
        assert "controller" in daemon.jobctl("doctor").stdout
        system.is_in_mood()
        until(lambda: daemon.client().health()["status"] == "UP")
        system.says("ENDED 0")
        daemon.ended(job["id"])


def test_every_figure_is_explained() -> None:
    for name, (kind, words) in FIGURES.items():
        assert re.fullmatch(_NAME, name)
        assert name.endswith("_total") == (kind == "counter")
        assert words.endswith(".")
        assert not set(words) & set("\n\\")


# ---- upkeep


def with_store(directory: Path, test: Callable[[Store], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        store = open_store(directory)
        try:
            await test(store)
        finally:
            await store.close()

    asyncio.run(run())


def test_upkeep_shortens_the_log(tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        for _ in range(20):
            await add(store)
        assert store.sizes()["log"] > 0
        await store.upkeep()
        assert (store.damage, store.sizes()["log"]) == ("", 0)
        assert store.checked
        await add(store)

    with_store(tmp_path, test)


def test_upkeep_gives_back_what_is_worth_it(tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        await store.write(lambda tx: tx.sql.execute("CREATE TABLE ballast (x)"))
        fill = "INSERT INTO ballast VALUES (zeroblob(40000000))"
        await store.write(lambda tx: tx.sql.execute(fill))
        job = await add(store)
        await store.write(lambda tx: tx.sql.execute("DROP TABLE ballast"))
        await store.upkeep()
        assert store.sizes()["store"] < 1_000_000
        assert await store.job(job.id) == job

    with_store(tmp_path, test)


def test_upkeep_finds_damage_and_changes_nothing(tmp_path: Path) -> None:
    async def fill(store: Store) -> None:
        for _ in range(50):
            await add(store)

    with_store(tmp_path, fill)
    with closing(sqlite3.connect(tmp_path / "jobd.db")) as sql:
        sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        (root,) = sql.execute("SELECT rootpage FROM sqlite_master WHERE name = 'job_named'").fetchone()
    file = tmp_path / "jobd.db"
    content = bytearray(file.read_bytes())
    content[(root - 1) * 4096 + 8 : root * 4096] = b"\xff" * 4088
    file.write_bytes(content)

    async def test(store: Store) -> None:
        await store.upkeep()
        assert store.damage
        assert store.checked

    with_store(tmp_path, test)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_store_is_looked_after_at_its_time(short_dir: Path) -> None:
    soon = time.localtime(time.time() + 65)
    with RunningDaemon(short_dir, f'upkeepAt: "{soon.tm_hour:02}:{soon.tm_min:02}"\n') as daemon:
        daemon.run("true")
        until(lambda: metrics(daemon)("jobd_store_whole"), 130, "it was checked")
        until(lambda: metrics(daemon)("jobd_store_bytes", file="log") == 0, what="its log was emptied")
