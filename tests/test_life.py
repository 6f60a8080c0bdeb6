"""A hypothesis state machine over a real store: whatever is done to jobs in whatever order, their life stays
within the table of moves, the history tells it without a gap, and slots are never handed out twice."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from jobd.backend import Phase, Report
from jobd.config import Slots, System
from jobd.engine.admit import admit
from jobd.engine.decide import decide
from jobd.engine.handover import _never_taken, _place
from jobd.engine.ticket import placed
from jobd.status import ACTIVE, MOVES, START, TERMINAL, Condition, Status
from jobd.store import moves, queries
from jobd.store.store import open_store
from tests.stores import draft

SLOTS = Slots(processors=3, memory=1 << 30, gpus=2)
SYSTEM = System(id="local", slots=SLOTS)

reports = st.one_of(
    st.builds(
        Report, st.sampled_from([Phase.QUEUED, Phase.HELD, Phase.RUNNING, Phase.SUSPENDED]), st.just("test")
    ),
    st.builds(Report, st.just(Phase.ENDED), st.just("test"), exit_code=st.integers(0, 255)),
    st.builds(
        Report,
        st.just(Phase.ENDED),
        st.just("test"),
        condition=st.sampled_from(
            [Condition.KILLED, Condition.LOST, Condition.TIME_LIMIT, Condition.NODE_LOST]
        ),
    ),
)


class Life(RuleBasedStateMachine):
    jobs: Bundle[str] = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.store = self.call(self.open())

    async def open(self):
        return open_store(Path(self.directory.name))

    def call(self, coroutine):
        return self.runner.run(coroutine)

    def write(self, work):
        return self.call(self.store.write(work))

    def read(self, ask):
        return self.call(self.store.read(ask))

    def job(self, job_id):
        return self.read(lambda sql: queries.job(sql, job_id))

    @rule(target=jobs, processors=st.integers(1, 3), gpus=st.integers(0, 2), priority=st.integers(-1, 1))
    def submit(self, processors, gpus, priority):
        job = draft(processors=processors, gpus=gpus, priority=priority)
        self.write(lambda tx: moves.insert(tx, job, job.owner, ""))
        return job.id

    @rule()
    def turn(self):
        self.write(lambda tx: admit(tx, SYSTEM, 0.0))

    @rule(job_id=jobs, report=reports)
    def taken(self, job_id, report):
        job = self.job(job_id)
        if job.status is Status.SUBMITTING:
            self.write(lambda tx: _place(tx, job, _placed(job, report)))

    @rule(job_id=jobs)
    def never_taken(self, job_id):
        job = self.job(job_id)
        self.write(lambda tx: _never_taken(tx, job, 0.0, ""))

    @rule(job_id=jobs, report=reports)
    def reported(self, job_id, report):
        job = self.job(job_id)
        if job.over or job.local_id is None:
            return
        decision = decide(job, report, 1.0)
        if decision and decision.to and decision.to is not job.status:
            self.write(lambda tx: moves.move(tx, job, decision.to, decision.description, **decision.columns))

    @rule(job_id=jobs)
    def corrected(self, job_id):
        job = self.job(job_id)
        if job.condition is Condition.LOST:
            decision = decide(job, Report(Phase.ENDED, "late", exit_code=3), 2.0)
            self.write(lambda tx: moves.correct(tx, job, decision.to, "", **decision.columns))

    @rule(job_id=jobs, delete=st.booleans())
    def kill_asked(self, job_id, delete):
        job = self.job(job_id)
        wish = {"kill_asked": 1.0, "kill_asked_by": "alice"}
        if delete:
            wish |= {"delete_asked": 1.0, "delete_asked_by": "alice"}
        if not job.over:
            self.write(lambda tx: moves.change(tx, job, **wish))

    @rule()
    def daemon_restarts(self):
        self.call(self.store.close())
        self.store = self.call(self.open())

    @invariant()
    def slots_are_handed_out_once(self):
        held = self.read(lambda sql: queries.held(sql, "local"))
        running = self.read(lambda sql: queries.jobs(sql, "status IN ('SUBMITTING', 'QUEUED', 'RUNNING')"))
        indices = [index for job in running for index in job.gpu_indices]
        assert sum(one.processors for one in held) <= SLOTS.processors
        assert len(indices) == len(set(indices))
        assert set(indices) <= set(SLOTS.gpus)

    @invariant()
    def history_tells_the_life(self):
        for job in self.read(lambda sql: queries.jobs(sql, "1")):
            events = self.call(self.store.history(job, 1000))
            told = [Status(event.status) for event in events if event.status in Status.__members__]
            corrections = [at for at, event in enumerate(events) if event.status == "CORRECTED"]
            assert told[0] is START
            assert told[-1] is job.status
            assert len(corrections) <= 1
            steps = list(itertools.pairwise(told))
            if corrections:
                assert steps.pop()[0] is Status.FAILED
            assert all(new in MOVES[old] for old, new in steps), told
            assert (job.ended is not None) == (job.status in TERMINAL), job
            assert job.hidden <= (job.status not in ACTIVE)

    def teardown(self):
        self.call(self.store.close())
        self.runner.close()
        self.directory.cleanup()


def _placed(job, report):
    from dataclasses import replace

    return replace(placed(job), local_id="17", submitted=1.0, report=report)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
