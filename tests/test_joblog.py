"""What the daemon's log says of jobs: of each what an admin looks for, and of what did not happen nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobd.status import Condition, Status
from jobd.store import moves
from jobd.store.store import Store
from jobd.store.writer import Transaction
from tests.daemon import RunningDaemon, until
from tests.stores import add, draft, get
from tests.test_store import with_store


def lines(daemon: RunningDaemon, job_id: str) -> list[str]:
    """Without time, level and logger."""
    return [line.partition("jobd.jobs: ")[2] for line in daemon.logged().splitlines() if job_id in line]


def test_a_line_when_it_is_submitted_when_it_starts_and_when_it_ends(daemon: RunningDaemon) -> None:
    job = daemon.run("sh", "-c", "exit 7", name="a\nforged line")
    of = f"{job['id']} owner={job['owner']} name='a\\nforged line' system=local"
    assert until(lambda: lines(daemon, job["id"])[2:], what="all three are there")
    assert lines(daemon, job["id"]) == [
        f"submitted {of}",
        f"started {of}",
        f"ended {of} status=FAILED condition=EXIT_CODE exit_code=7",
    ]


def test_how_it_ended_is_told_of_every_ending(daemon: RunningDaemon) -> None:
    killed = daemon.submit("sleep", "1000")
    daemon.in_status(killed["id"], "RUNNING")
    daemon.client().kill(killed["id"])
    never = daemon.run("no-such-program")
    for job, ending in (
        (killed, "STOPPED condition=KILLED signal=15"),
        (never, "FAILED condition=LAUNCH_FAILED"),
    ):
        found = until(lambda job=job: [line for line in lines(daemon, job["id"]) if "ended" in line])
        assert [line.partition("status=")[2] for line in found] == [ending]


def test_at_level_warning_it_says_nothing_of_them(short_dir: Path) -> None:
    with RunningDaemon(short_dir, "logLevel: warning\n") as daemon:
        assert daemon.run("true")["status"] == "FINISHED"
        assert daemon.logged() == ""


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The first words of all that is logged of jobs."""
    found: list[str] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage().partition(" ")[0])

    log, handler = logging.getLogger("jobd.jobs"), Keeps()
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield found
    log.setLevel(before)
    log.removeHandler(handler)


def test_what_is_taken_back_or_comes_too_late_is_not_told(tmp_path: Path, told: list[str]) -> None:
    async def test(store: Store) -> None:
        job = await add(store)

        def half(tx: Transaction) -> None:
            moves.insert(tx, draft(), "alice", "Submitted.")
            moves.move(tx, job, Status.STOPPED, "", condition=Condition.KILLED)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await store.write(half)
        assert await store.write(lambda tx: moves.move(tx, job, Status.SUBMITTING, ""))
        assert not await store.write(lambda tx: moves.move(tx, job, Status.STOPPED, ""))

    with_store(tmp_path, test)
    assert told == ["submitted"]


def test_a_corrected_ending_and_a_job_that_goes_on_are_no_new_ones(tmp_path: Path, told: list[str]) -> None:
    async def test(store: Store) -> None:
        job = await add(store, status=Status.SUBMITTING, started=1.0)

        async def move(to: Status, **facts: Condition) -> None:
            seen = await get(store, job.id)
            assert await store.write(lambda tx: moves.move(tx, seen, to, "", **facts))

        for status in Status.RUNNING, Status.PAUSED, Status.RUNNING:
            await move(status)
        await move(Status.FAILED, condition=Condition.LOST)
        lost = await get(store, job.id)
        await store.write(lambda tx: moves.correct(tx, lost, Status.FINISHED, "", condition=Condition.NORMAL))

    with_store(tmp_path, test)
    assert told == ["submitted", "started", "ended", "corrected"]
