"""Whose turn it is, on a real store: between users by what they hold, within a user by priority, and never at
a cost that grows with those who wait."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections import Counter
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobd.config import Queue, Slots, System
from jobd.engine.admit import admit, why
from jobd.engine.fair import Past
from jobd.engine.room import Roomy, admins_part, short
from jobd.status import Status
from jobd.store import drains, moves, queries
from jobd.store.job import Job
from jobd.store.store import open_store
from tests.daemon import until
from tests.stores import draft

GB = 1 << 30


class Machine:
    """A system whose jobs start when it is their turn, and end when a test says so."""

    def __init__(self, directory: Path, **facts: Any) -> None:
        self.runner = asyncio.Runner()
        self.store = self.run(self._open(directory))
        self.past = Past()
        self.waits: dict[queries.Line, str] = {}
        self.is_now(**facts)

    def is_now(self, processors: int = 4, memory: int = 16 * GB, gpus: Any = 0, **facts: Any) -> None:
        slots = Slots(processors=processors, memory=memory, gpus=gpus)
        self.system = System(id="local", **{"slots": slots, **facts})

    async def _open(self, directory: Path) -> Any:
        return open_store(directory)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def submit(self, owner: str, number: int = 1, **facts: Any) -> list[str]:
        drafts = [draft(owner=owner, **facts) for _ in range(number)]
        self.run(self.store.write(lambda tx: [moves.insert(tx, job, owner, "Submitted.") for job in drafts]))
        return [job.id for job in drafts]

    def turn(self, **more: Any) -> list[Job]:
        """Those that start."""
        turn = self.run(self.store.write(lambda tx: admit(tx, self.system, 100.0, self.past, **more)))
        self.waits = turn.waits
        return turn.jobs

    def job(self, job_id: str) -> Job:
        return self.run(self.store.job(job_id))

    def why(self, job_id: str) -> str:
        return why(self.job(job_id), self.system, self.waits)

    def end(self, *jobs: Job) -> None:
        def work(tx: Any) -> None:
            for job in jobs:
                current = queries.job(tx.sql, job.id)
                assert current
                assert moves.move(tx, current, Status.FINISHED, "Ended.", ended=1.0)

        self.run(self.store.write(work))

    def close(self) -> None:
        self.run(self.store.close())
        self.runner.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    one = Machine(tmp_path)
    yield one
    one.close()


def owners(jobs: list[Job]) -> Counter[str]:
    return Counter(job.owner for job in jobs)


def ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


# ---- between users


def test_one_job_beside_another_users_ten_thousand_is_next(machine: Machine) -> None:
    machine.submit("alice", 10_000)
    running = machine.turn()
    assert owners(running) == {"alice": 4}
    (single,) = machine.submit("bob")
    machine.end(running[0])
    assert ids(machine.turn()) == [single]


def test_on_one_slot_users_take_turns_however_short_their_jobs(machine: Machine) -> None:
    """Nobody holds anything when it is free: what counts then is whose last turn is longest ago."""
    machine.is_now(processors=1)
    for owner, number in (("alice", 20), ("bob", 20), ("cleo", 2)):
        machine.submit(owner, number)
    order = []
    for _ in range(9):
        (job,) = machine.turn()
        order.append(job.owner)
        machine.end(job)
    assert order == ["alice", "bob", "cleo"] * 2 + ["alice", "bob", "alice"]


def test_what_is_held_counts_not_how_many_jobs(machine: Machine) -> None:
    machine.submit("alice", 5, processors=2)
    machine.submit("bob", 5)
    assert owners(machine.turn()) == {"alice": 1, "bob": 2}


def test_the_scarcest_of_what_a_user_holds_counts(machine: Machine) -> None:
    """A quarter of the memory is as much as two of eight processors."""
    machine.is_now(processors=8)
    machine.submit("alice", 8, memory=4 * GB)
    machine.submit("bob", 8)
    assert owners(machine.turn()) == {"alice": 3, "bob": 5}


def test_nobodys_own_priority_pushes_others_back_but_their_queues_does(machine: Machine) -> None:
    machine.is_now(1, queues=(Queue(name="default"), Queue(name="urgent", priority=5)))
    machine.submit("alice", 2)
    (held,) = machine.turn()
    machine.submit("bob", 1, priority=1000)
    (cleo,) = machine.submit("cleo", queue="urgent", priority=-1000)
    machine.end(held)
    (first,) = machine.turn()
    assert first.id == cleo
    machine.end(first)
    assert owners(machine.turn()) == {"bob": 1}, "whose turn it is, whatever the priority"


def test_within_a_user_priority_then_submission_also_over_one_that_is_staged(machine: Machine) -> None:
    machine.is_now(1)
    (running,) = machine.submit("alice") and machine.turn()
    staged, later = machine.submit("alice", 2)
    assert machine.turn() == []
    assert machine.job(staged).status is Status.STAGED
    assert machine.job(later).status is Status.PENDING
    (urgent,) = machine.submit("alice", priority=3)
    order = []
    for _ in range(3):
        machine.end(running)
        (running,) = machine.turn()
        order.append(running.id)
    assert order == [urgent, staged, later]


# ---- nobody starves


def test_a_big_job_whose_turn_it_is_keeps_what_it_needs_free(machine: Machine) -> None:
    machine.submit("bob", 4)
    running = machine.turn()
    (big,) = machine.submit("alice", processors=4)
    machine.submit("bob", 100)
    for job in running:
        assert machine.turn() == []
        machine.end(job)
    assert ids(machine.turn()) == [big]


def test_a_big_job_is_reached_although_its_user_holds_the_most(machine: Machine) -> None:
    """Three others with one short job after the other always hold less than Alice with her long one."""
    machine.submit("alice")
    machine.turn()
    (big,) = machine.submit("alice", processors=3)
    for owner in ("bob", "cleo", "dora"):
        machine.submit(owner, 200)
    running: list[Job] = []
    for _ in range(200):
        running += machine.turn()
        if machine.job(big).status is Status.SUBMITTING:
            return
        machine.end(running.pop(0))
    raise AssertionError("never reached")


def test_who_waits_for_a_gpu_does_not_stop_who_needs_none(machine: Machine) -> None:
    machine.is_now(gpus=[3])
    first, second = machine.submit("alice", 2, gpus=1)
    (plain,) = machine.submit("alice")
    assert {job.id: job.gpu_indices for job in machine.turn()} == {first: (3,), plain: ()}
    assert machine.why(second) == "Waits for free GPUs."
    machine.end(machine.job(first))
    assert [job.gpu_indices for job in machine.turn()] == [(3,)]


def test_a_job_that_fits_no_more_is_in_nobodys_way(machine: Machine) -> None:
    machine.is_now(processors=8)
    machine.submit("alice", processors=8)
    machine.turn()
    (big,) = machine.submit("alice", processors=8)
    machine.is_now(processors=4)
    machine.end(*machine.run(machine.store.read(lambda sql: queries.submitting(sql, "local"))))
    (small,) = machine.submit("alice")
    assert ids(machine.turn()) == [small]
    assert machine.why(big) == "local has fewer processors now than it asks for."


# ---- what keeps a line waiting, and its reason


def test_reasons_are_those_of_the_last_turn(machine: Machine) -> None:
    machine.is_now(2, queues=(Queue(name="default", max_user_jobs=2),))
    machine.submit("bob", processors=2)
    (blocker,) = machine.turn()
    waiting = machine.submit("alice", 5)
    machine.turn()
    assert {machine.why(one) for one in waiting} == {"Waits for free processors."}
    machine.end(blocker)
    machine.is_now(4, queues=(Queue(name="default", max_user_jobs=2),))
    assert len(machine.turn()) == 2
    assert machine.why(waiting[4]) == "Queue default takes 2 jobs of one user at a time."
    assert machine.job(waiting[4]).status is Status.PENDING


def test_a_thousand_behind_a_quota_hide_nobody(machine: Machine) -> None:
    machine.is_now(queues=(Queue(name="default", max_user_jobs=1),))
    machine.submit("alice", 2000)
    assert owners(machine.turn()) == {"alice": 1}
    machine.submit("bob")
    assert owners(machine.turn()) == {"bob": 1}


def test_a_queue_that_is_not_configured_any_more(machine: Machine) -> None:
    (job,) = machine.submit("alice", queue="gone")
    assert machine.turn() == []
    assert machine.why(job) == "Its queue gone is not configured any more."


def test_drained_starts_nothing_and_resumes(machine: Machine) -> None:
    machine.is_now(queues=(Queue(name="default"), Queue(name="other")))
    machine.run(machine.store.write(lambda tx: drains.begin(tx, "local", "default", "a new disk", "root")))
    (waits,) = machine.submit("alice")
    (goes,) = machine.submit("alice", queue="other")
    assert ids(machine.turn()) == [goes]
    assert machine.why(waits) == "Queue default was drained by root: a new disk"
    assert machine.job(waits).status is Status.PENDING
    machine.run(machine.store.write(lambda tx: drains.begin(tx, "local", "", "moving", "ada")))
    machine.turn()
    assert machine.why(waits) == "local was drained by ada: moving"
    for queue in ("", "default"):
        assert machine.run(machine.store.write(lambda tx, queue=queue: drains.end(tx, "local", queue, "ada")))
    assert ids(machine.turn()) == [waits]


def test_a_full_disk_stops_its_user_alone(machine: Machine) -> None:
    (waits,) = machine.submit("alice")
    (goes,) = machine.submit("bob")
    assert ids(machine.turn(full={"alice": "no room"})) == [goes]
    assert machine.why(waits) == "no room"


def test_a_system_that_queues_by_itself_gets_all_and_by_turns(machine: Machine) -> None:
    machine.is_now(slots=None, queues=(Queue(name="default", max_jobs=6),))
    machine.submit("alice", 10)
    machine.submit("bob", 10)
    assert owners(machine.turn()) == {"alice": 3, "bob": 3}


@pytest.mark.parametrize(
    ("work_dir", "looked_at"),
    [
        ("${HOME}/jobd", "{home}"),
        ("/scratch/${OWNER}/jobs", "/scratch/{owner}"),
        ("/scratch/lab-${OWNER}-x/jobs", "/scratch/lab-{owner}-x"),
        ("/scratch/jobs", "/scratch/jobs"),
    ],
)
def test_room_is_looked_for_no_deeper_than_the_admin_wrote(work_dir: str, looked_at: str) -> None:
    system, me = System(id="local", work_dir=work_dir), pwd.getpwuid(os.geteuid())
    assert admins_part(system, me.pw_name) == looked_at.format(home=me.pw_dir, owner=me.pw_name)
    assert admins_part(system, "nobody-of-that-name") == ""


def test_room_is_that_of_the_nearest_directory_that_is_there(tmp_path: Path) -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    for least, told in ((1, False), (1 << 60, True)):
        system = System(id="local", work_dir=f"{tmp_path}/not/there", min_free=least)
        assert bool(short(system, [me])) is told


def test_room_that_was_seen_holds_for_a_moment_and_for_those_alone() -> None:
    roomy = Roomy()
    assert not roomy.holds({"alice"}), "nobody has looked"
    roomy.note({"alice", "bob"}, {"bob": "no room"})
    assert roomy.holds({"alice"})
    assert not roomy.holds({"alice", "bob"}), "too little is looked at again"
    assert not roomy.holds({"alice", "carol"}), "a new one's disk was not looked at"
    until(lambda: not roomy.holds({"alice"}))


def test_a_turn_tells_whether_all_processors_are_taken(machine: Machine) -> None:
    def full() -> bool:
        return bool(
            machine.run(machine.store.write(lambda tx: admit(tx, machine.system, 1.0, machine.past))).full
        )

    machine.submit("alice", processors=4)
    assert not full(), "it started, and nobody waits"
    machine.submit("bob")
    assert full()


# ---- cost


def test_a_turn_reads_no_more_with_many_who_wait(machine: Machine) -> None:
    """Counted in steps of SQLite's virtual machine, which no other load on the machine changes."""
    machine.submit("alice", 4, processors=1)
    machine.turn()

    def steps() -> int:
        counted = 0

        def count() -> int:
            nonlocal counted
            counted += 1
            return 0

        def work(tx: Any) -> None:
            tx.sql.set_progress_handler(count, 50)
            admit(tx, machine.system, 100.0, machine.past)
            tx.sql.set_progress_handler(None, 0)

        machine.run(machine.store.write(work))
        return counted

    for owner in ("alice", "bob"):
        machine.submit(owner, 5)
    steps()  # which moves the first ones to STAGED
    few = steps()
    for owner in ("alice", "bob"):
        machine.submit(owner, 5000)
    assert steps() <= few * 1.5
