"""Clients that submit, kill, delete and resubmit without pause, each with a book of what it was told; and the
account of it afterwards.

A job's first act is a line in a file of its own, so that "ran once" can be counted; it ends with a code that
its name tells. What a reply said is a promise, and the account looks whether each was kept.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from jobd.client import Client
from jobd.errors import Unavailable
from tests import processes
from tests.daemon import ENDINGS, RunningDaemon, until

Job = dict[str, Any]

LIVES = {
    "short": "exit {code}",
    "longer": "sleep 0.{tenths}; exit {code}",
    "forks": "sleep 600 & setsid sleep 600 & sleep 0.{tenths}; exit {code}",
    "deaf": "trap '' TERM; sleep 600 & wait; exit {code}",
    "long": "sleep 600 & wait; exit {code}",
}
ENDLESS = ("deaf", "long")
_FACTS = ["name", "status", "condition", "exitCode", "visible", "resubmitOf", "attempt", "evidence", "reason"]


@dataclass
class Book:
    """What one client did and was told."""

    acknowledged: list[str] = field(default_factory=list)
    kill_asked: set[str] = field(default_factory=set)
    """Whether a reply came or not."""
    endings: dict[str, str] = field(default_factory=dict)
    """By job; what a reply said."""
    left: dict[str, list[int]] = field(default_factory=dict)
    """Processes of jobs that a reply had just called over."""
    deleted: set[str] = field(default_factory=set)
    resubmits: int = 0
    """Tried; each can have made one job at most."""
    unanswered: list[str] = field(default_factory=list)
    """Why a client gave up."""


class Storm:
    """`with Storm(..) as storm:` the daemon may be killed and started at will, and must run at the end."""

    def __init__(self, daemon: RunningDaemon, seed: int, clients: int = 8) -> None:
        self.daemon = daemon
        self.marks = daemon.directory / "marks"
        self.marks.mkdir()
        self.end = threading.Event()
        self.books = [Book() for _ in range(clients)]
        self.faults: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number, Random(f"{seed}/{number}")))
            for number in range(clients)
        ]

    def __enter__(self) -> Storm:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        for thread in self._threads:
            thread.join(90)

    def _run(self, number: int, random: Random) -> None:
        try:
            with self.daemon.client(patience=30) as client:
                one = _One(self, self.books[number], f"c{number}", random, client)
                while not self.end.wait(random.random() * 0.04):
                    one.step()
                one.end_the_endless()
        except BaseException as fault:
            self.faults.append(fault)

    # the account

    def account(self) -> Counter[str]:
        """How many jobs ended how. To be asked for when nobody wants anything any more."""
        if self.faults:
            raise self.faults[0]
        jobs = {job["id"]: job for job in until(self._all_over, 60, "every job is over")}
        for book in self.books:
            self._promises_kept(book, jobs)
        self._no_copies(list(jobs.values()))
        asked = set().union(*(book.kill_asked for book in self.books))
        for job in jobs.values():
            self._account_for(job, job["id"] in asked)
        assert processes.of_jobs(jobs) == {}
        return Counter(job["condition"] for job in jobs.values())

    def _all_over(self) -> list[Job]:
        client = self.daemon.client()
        jobs = [
            job
            for visible in ("true", "false")
            for job in client.list({"visible": visible}, fields=_FACTS, order_by="created")
        ]
        return jobs if all(job["status"] in ENDINGS for job in jobs) else []

    def _promises_kept(self, book: Book, jobs: dict[str, Job]) -> None:
        assert [job_id for job_id in book.acknowledged if job_id not in jobs] == []
        assert {job_id: jobs[job_id]["status"] for job_id in book.endings} == book.endings
        assert [job_id for job_id in book.deleted if jobs[job_id]["visible"]] == []
        assert book.left == {}

    def _no_copies(self, jobs: list[Job]) -> None:
        submitted = Counter(job["name"] for job in jobs if not job["resubmitOf"])
        assert [name for name, number in submitted.items() if number > 1] == []
        resubmitted = sum(1 for job in jobs if job["resubmitOf"])
        assert resubmitted <= sum(book.resubmits for book in self.books)

    def _account_for(self, job: Job, kill_asked: bool) -> None:
        ran = self.ran(job["id"])
        story = f"{job}, which ran {ran} times; kill asked: {kill_asked}"
        if job["condition"] == "KILLED":
            assert kill_asked, story
            assert ran <= 1, story
        else:
            assert job["condition"] in ("NORMAL", "EXIT_CODE"), story
            assert ran == 1, story
            assert job["exitCode"] == int(job["name"].rpartition("-")[2]), story

    def ran(self, job_id: str) -> int:
        mark = self.marks / job_id
        return len(mark.read_text().splitlines()) if mark.exists() else 0


@dataclass
class _One:
    """One client."""

    storm: Storm
    book: Book
    name: str
    random: Random
    client: Client
    number: int = 0
    jobs: list[tuple[str, str]] = field(default_factory=list)
    """Ids of those that can still be asked about, with their kind of life."""

    def step(self) -> None:
        act = self.random.choices([self.submit, self.kill, self.delete, self.resubmit], [10, 2, 1, 2])[0]
        try:
            act()
        except Unavailable as trouble:
            self.book.unanswered.append(f"{act.__name__}: {trouble}")

    def submit(self) -> None:
        self.number += 1
        kind = self.random.choice(list(LIVES))
        code = self.random.choice([0, 0, 1, 7, 42, 255])
        script = LIVES[kind].format(code=code, tenths=self.random.randrange(1, 9))
        request = {
            "name": f"{self.name}-{self.number}-{kind}-{code}",
            "command": ["sh", "-c", f'echo "$$" >> {self.storm.marks}/"$JOBD_JOB_ID"; {script}'],
            "environment": {"PATH": os.environ["PATH"]},
        }
        key = f"{self.name}-{self.number}"
        job = self.client.submit(**request, directory=str(self.storm.marks), key=key)
        self._acknowledged(job, kind)
        if self.random.random() < 0.2:  # a reply that was lost on its way, as it were
            again = self.client.submit(**request, directory=str(self.storm.marks), key=key)
            assert again["id"] == job["id"]

    def resubmit(self) -> None:
        if self.jobs:
            job_id, kind = self.random.choice(self.jobs)
            self.book.resubmits += 1
            self._acknowledged(self.client.resubmit(job_id), kind)

    def kill(self) -> None:
        if self.jobs:
            self._kill(self.random.choice(self.jobs)[0])

    def delete(self) -> None:
        if not self.jobs:
            return
        job_id, _ = self.jobs.pop(self.random.randrange(len(self.jobs)))
        self.book.kill_asked.add(job_id)
        job = self.client.delete(job_id)
        self._told(job)
        if not job.get("visible"):  # a row of the listing of hidden jobs does not say so
            self.book.deleted.add(job_id)

    def end_the_endless(self) -> None:
        for job_id, kind in self.jobs:
            if kind in ENDLESS:
                self._kill(job_id)
        self._find_the_unanswered()

    def _find_the_unanswered(self) -> None:
        """Jobs that were made although no reply said so."""
        for job in list(self.client.list({"name.like": f"{self.name}-*"})):
            if job["status"] not in ENDINGS and job["name"].split("-")[2] in ENDLESS:
                self._kill(job["id"])

    def _kill(self, job_id: str) -> None:
        self.book.kill_asked.add(job_id)
        self._told(self.client.kill(job_id))

    def _acknowledged(self, job: Job, kind: str) -> None:
        self.book.acknowledged.append(job["id"])
        self.jobs.append((job["id"], kind))

    def _told(self, job: Job) -> None:
        if job["status"] in ENDINGS:
            self.book.endings[job["id"]] = job["status"]
            if left := processes.of_job(job["id"]):
                self.book.left[job["id"]] = left
