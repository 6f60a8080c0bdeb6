"""The outbox in the store: what fires, what is due, in which order, and that nothing is lost on the way."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobd.engine.message import for_command, message
from jobd.engine.outgoing import Room, pause_after, pick
from jobd.errors import Invalid
from jobd.status import Condition, Status
from jobd.store import deliveries, moves, notifications, outbox
from jobd.store.job import Job
from jobd.store.notifications import Wanted
from jobd.store.outbox import Due, Try
from jobd.store.pems import Whose
from jobd.store.store import Store, open_store
from jobd.verbs.notification import read
from tests.stores import draft, get


class Box:
    """A store, and what the engine does with its outbox."""

    def __init__(self, directory: Path) -> None:
        self.runner = asyncio.Runner()
        self.store: Store = self.runner.run(self._open(directory))

    async def _open(self, directory: Path) -> Store:
        return open_store(directory)

    def close(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()

    def write(self, work: Any) -> Any:
        return self.runner.run(self.store.write(work))

    def read(self, ask: Any) -> Any:
        return self.store.query(ask)

    def job(self, *wishes: dict[str, Any], **facts: Any) -> Job:
        job = draft(**facts)
        self.write(lambda tx: moves.insert(tx, job, job.owner, "Submitted.", map(read, wishes)))
        return self.runner.run(get(self.store, job.id))

    def move(self, job: Job, *to: Status, **columns: Any) -> Job:
        for status in to:
            job = self.runner.run(get(self.store, job.id))
            last = columns if status is to[-1] else {}
            assert self.write(
                lambda tx, status=status, job=job, last=last: moves.move(tx, job, status, "", **last)
            )
        return self.runner.run(get(self.store, job.id))

    def due(self, **room: Any) -> list[list[Due]]:
        free = {"lines": frozenset(), "of_receiver": Counter(), "of_person": Counter(), "last": ""}
        return self.read(lambda sql: pick(sql, Room(**{**free, **room}), time.time()))

    def tell(self, together: list[Due], *, delivered: bool = True, again: float | None = None) -> None:
        now = time.time()
        one = Try(now, now, delivered, 200 if delivered else 500, "said", again)
        self.write(lambda tx: outbox.tried(tx, together, one))

    def drain(self) -> list[Due]:
        """Tells all there is, in the order in which it becomes due."""
        told: list[Due] = []
        while found := self.due():
            for together in found:
                self.tell(together)
                told += together
        return told


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.close()


def hook(event: str = "*", **more: Any) -> dict[str, Any]:
    return {"event": event, "url": "https://lab/hook", "persistent": True, **more}


RUN = (Status.SUBMITTING, Status.RUNNING, Status.FINISHED)


def test_a_persistent_one_fires_at_each_event_and_tells_in_order(box: Box) -> None:
    job = box.move(box.job(hook()), *RUN, condition=Condition.NORMAL)
    (first,) = box.due()
    assert [one.event for one in first] == ["PENDING"]
    assert (first[0].facts["status"], first[0].facts["id"]) == ("PENDING", job.id)
    told = box.drain()
    assert [one.event for one in told] == ["PENDING", *RUN]
    assert [one.facts["condition"] for one in told] == [None, None, None, "NORMAL"]


def test_one_that_fires_once_fires_once(box: Box) -> None:
    job = box.job(hook("RUNNING", persistent=False), hook("FINISHED", persistent=False))
    box.move(job, Status.SUBMITTING, Status.RUNNING, Status.QUEUED, Status.RUNNING, Status.FINISHED)
    assert [one.event for one in box.drain()] == ["RUNNING", "FINISHED"]


def test_a_condition_is_an_event_when_the_job_is_over(box: Box) -> None:
    job = box.job(hook("TIME_LIMIT"), hook("NORMAL"))
    box.move(job, Status.SUBMITTING, Status.RUNNING)
    assert box.due() == []
    box.move(job, Status.FAILED, condition=Condition.TIME_LIMIT)
    (told,) = box.drain()
    assert (told.event, told.facts["status"]) == ("TIME_LIMIT", "FAILED")


def test_a_correction_is_told_too(box: Box) -> None:
    job = box.job(hook("FINISHED", persistent=False), hook("FAILED", persistent=False))
    job = box.move(job, Status.SUBMITTING, Status.FAILED, condition=Condition.LOST)
    facts = {"condition": Condition.NORMAL}
    assert box.write(lambda tx: moves.correct(tx, job, Status.FINISHED, "It was seen.", **facts))
    assert [one.event for one in box.drain()] == ["FAILED", "FINISHED"]


def test_what_does_not_come_true_tells_nothing(box: Box) -> None:
    job = box.job(hook("SUBMITTING"))
    box.move(job, Status.SUBMITTING)
    late = Status.FAILED
    assert not box.write(lambda tx: moves.move(tx, job, late, ""))  # it is not in PENDING any more
    assert [one.event for one in box.drain()] == ["SUBMITTING"]


def test_a_transaction_that_fails_tells_nothing(box: Box) -> None:
    job = box.job(hook("SUBMITTING"))

    def move_and_fail(tx: Any) -> None:
        moves.move(tx, job, Status.SUBMITTING, "")
        raise KeyError

    box.store.changes.fired.clear()
    with pytest.raises(KeyError):
        box.write(move_and_fail)
    assert box.due() == []
    assert not box.store.changes.fired.is_set()


def test_the_next_of_a_line_waits_for_the_first_even_if_that_has_to_be_tried_again(box: Box) -> None:
    job = box.move(box.job(hook()), Status.SUBMITTING)
    (first,) = box.due()
    box.tell(first, delivered=False, again=time.time() + 60)
    assert box.due() == []
    assert box.read(lambda sql: outbox.next_due(sql, time.time())) == pytest.approx(time.time() + 60, abs=5)
    box.tell(first, delivered=False)  # for good
    assert [one.event for one in box.drain()] == ["SUBMITTING"]
    states = box.read(lambda sql: [one.state for one in deliveries.of_job(sql, job.seq, None, None, 9, 0)])
    assert states == ["DELIVERED", "FAILED"]


def test_other_targets_and_other_jobs_do_not_wait(box: Box) -> None:
    box.job(hook(), {"event": "*", "url": "mailto:ann@lab"}, {"event": "*", "command": ["true"]})
    box.job(hook())
    assert len(box.due()) == 4


def test_in_order_whatever_fails_and_crashes(box: Box) -> None:
    """What was sent but not recorded (a crash) is sent again, with the same id."""
    chance = random.Random(7)
    jobs = [box.job(hook()) for _ in range(5)]
    heard: dict[str, list[tuple[str, str]]] = {job.id: [] for job in jobs}
    steps = {job.id: [*RUN] for job in jobs}
    while any(steps.values()) or box.due():
        job = chance.choice(jobs)
        if steps[job.id]:
            box.move(job, steps[job.id].pop(0))
        for together in box.due():
            (one,) = together
            fate = chance.choice(["crash before", "crash after", "refused", "taken"])
            if fate in ("crash after", "taken"):
                heard[one.facts["id"]].append((one.id, one.event))
            if fate == "taken":
                box.tell(together)
            if fate == "refused":
                box.tell(together, delivered=False, again=time.time())
    for told in heard.values():
        ids = list(dict.fromkeys(told))
        assert [event for _, event in ids] == ["PENDING", *RUN]


def test_mail_gathers_what_there_is_to_tell_of_jobs_of_one_name(box: Box) -> None:
    mail = {"event": "FINISHED", "url": "mailto:ann@lab", "digest": 1}
    for name in ("fit", "fit", "fit", "bars"):
        box.move(box.job(mail, name=name), *RUN)
    assert box.due() == []
    time.sleep(1)
    found = box.due()
    assert sorted(len(together) for together in found) == [1, 3]
    fits = max(found, key=len)
    box.tell(fits, delivered=False, again=time.time())
    box.move(box.job(mail, name="fit"), *RUN)
    (again,) = [together for together in box.due() if together[0].facts["name"] == "fit"]
    assert len(again) == 4
    box.tell(again)
    assert [one.facts["name"] for one in box.drain()] == ["bars"]


def test_receivers_take_turns_and_none_has_more_than_its_share(box: Box) -> None:
    for number in range(40):
        box.job(hook(url="https://slow/x"), owner="bob")
        if number % 10 == 0:
            box.job(hook(url="https://quick/x"), owner="alice")
    first = [together[0].receiver for together in box.due()]
    assert (first.count("bob https://slow"), first.count("alice https://quick")) == (16, 4)
    busy = Counter({"bob https://slow": 16})
    full = box.due(of_receiver=busy, of_person=Counter(bob=16))
    assert {together[0].receiver for together in full} == {"alice https://quick"}
    lines = frozenset(together[0].line for together in box.due())
    assert not lines & {together[0].line for together in box.due(lines=lines)}


def test_one_person_has_half_of_all_and_the_turn_goes_on_behind_who_was_served_last(box: Box) -> None:
    for host in ("a", "b", "c"):
        for _ in range(20):
            box.job(hook(url=f"https://{host}/x"), owner="bob")
    box.job(hook(url="https://z/x"), owner="zoe")

    def begun(last: str) -> dict[str, int]:
        return dict(Counter(together[0].receiver for together in box.due(last=last)))

    assert begun("") == {"bob https://a": 16, "bob https://b": 16, "zoe https://z": 1}
    assert begun("bob https://a") == {"bob https://b": 16, "bob https://c": 16, "zoe https://z": 1}
    theirs = Counter({"bob https://a": 16, "bob https://b": 10})
    left = box.due(of_receiver=theirs, of_person=Counter(bob=26), last="bob https://b")
    assert Counter(together[0].receiver for together in left) == {"bob https://c": 6, "zoe https://z": 1}


def test_however_many_receivers_others_have_whoever_has_none_under_way_is_served_next(box: Box) -> None:
    for person in ("alice", "carol"):
        for number in range(50):
            box.job(hook(url=f"https://h{number}/x"), owner=person)
    box.job(hook(url="https://h/x"), owner="bob")
    busy = {"of_person": Counter(alice=31, carol=32), "of_receiver": Counter({"alice https://h7": 63})}
    for last in ("", "alice https://h1", "bob https://h", "carol https://h5"):
        ((told,),) = box.due(last=last, **busy)
        assert told.owner == "bob"


def test_another_target_takes_what_is_still_open_along(box: Box) -> None:
    job = box.job(hook(policy={"retryLimit": 1}))
    box.move(job, Status.SUBMITTING)
    (one,) = box.read(lambda sql: notifications.of_job(sql, job.seq, None))
    to = read(hook(url="https://elsewhere/x"))

    def change(tx: Any) -> None:
        notifications.change(tx, one.id, to)
        outbox.moved(tx, one.seq, to)

    box.write(change)
    told = box.drain()
    assert [(one.event, one.receiver, one.wanted.url) for one in told] == [
        ("PENDING", "alice https://elsewhere", "https://elsewhere/x"),
        ("SUBMITTING", "alice https://elsewhere", "https://elsewhere/x"),
    ]


def anew(box: Box, told: list[Due]) -> None:
    box.write(lambda tx: outbox.anew(tx, told[0].seq, told[0].wanted))


def test_those_that_are_tried_anew_go_in_order_whichever_is_asked_for_first(box: Box) -> None:
    box.move(box.job(hook()), *RUN)
    failed = []
    while found := box.due():
        box.tell(found[0], delivered=False)
        failed += found
    for together in reversed(failed):
        anew(box, together)
    (first,) = box.due()
    assert first[0].event == "PENDING"
    assert [one.event for one in box.drain()] == ["PENDING", *RUN]


def test_one_that_is_tried_anew_goes_before_one_that_is_due(box: Box) -> None:
    box.move(box.job(hook()), Status.SUBMITTING)
    (first,) = box.due()
    box.tell(first, delivered=False)
    (second,) = box.due()
    anew(box, first)
    assert [together[0].event for together in box.due()] == ["PENDING"]
    box.tell(second)  # it was under way
    assert [one.event for one in box.drain()] == ["PENDING"]


def test_one_that_gets_another_target_under_way_is_still_told_there(box: Box) -> None:
    """Whatever comes of the old one, and whenever."""
    job = box.job(hook("PENDING"))
    (one,) = box.read(lambda sql: notifications.of_job(sql, job.seq, None))
    to = read(hook("PENDING", url="https://elsewhere/x"))
    (under_way,) = box.due()

    def change(tx: Any) -> None:
        notifications.change(tx, one.id, to)
        outbox.moved(tx, one.seq, to)

    box.write(change)
    (elsewhere,) = box.due()
    box.tell(under_way, delivered=False, again=time.time() + 3600)
    (still,) = box.due()
    assert still[0].receiver == "alice https://elsewhere"
    box.tell(elsewhere, delivered=False)
    box.tell(under_way, delivered=False, again=time.time() + 3600)
    (row,) = box.read(lambda sql: deliveries.of_job(sql, job.seq, None, None, 9, 0))
    assert (row.state, row.tries) == ("FAILED", 3)
    assert len(box.read(lambda sql: deliveries.attempts(sql, one.seq, 9, 0))) == 3


def test_one_that_is_tried_anew_under_way_is_not_given_up(box: Box) -> None:
    box.job(hook("PENDING"))
    (under_way,) = box.due()
    box.tell(under_way, delivered=False, again=time.time())
    (under_way,) = box.due()
    anew(box, under_way)
    box.tell(under_way, delivered=False)  # the last time, as one counted before
    (again,) = box.due()
    assert again[0].tries == again[0].counted_from + 1 == 2
    anew(box, again)
    box.tell(again)
    assert box.due() == []


def test_one_that_was_taken_back_leaves_nothing_and_holds_nobody_up(box: Box) -> None:
    job = box.job(hook(), hook("SUBMITTING"))
    box.move(job, Status.SUBMITTING)
    (under_way,) = box.due()
    first, second = box.read(lambda sql: notifications.of_job(sql, job.seq, None))

    def take_back(tx: Any) -> None:
        outbox.removed(tx, "notification_seq = ?", (first.seq,))
        notifications.remove(tx, first.id)

    box.write(take_back)
    box.tell(under_way)  # what came of it is nobody's any more
    (told,) = box.drain()
    assert told.notification_id == second.id


def test_what_is_settled_is_forgotten_in_time_and_what_was_to_be_saved_is_not(box: Box) -> None:
    saved = {"saveOnFailure": True}
    box.job(
        hook("PENDING"),
        hook("PENDING", policy=saved, url="https://saved/x"),
        hook("PENDING", url="https://b/x"),
    )
    for together in box.due():
        box.tell(together, delivered=together[0].receiver.endswith("lab"))
    box.job(hook("PENDING"))
    box.write(lambda tx: outbox.forget(tx, time.time() + 1))
    left = box.read(lambda sql: deliveries.of_owner(sql, Whose("alice"), None, 9, 0))
    assert [(one.state, one.url) for one in left] == [
        ("OPEN", "https://lab/hook"),
        ("FAILED", "https://saved/x"),
    ]


@pytest.mark.parametrize(
    ("policy", "pauses"),
    [
        ({"retryStrategy": "NONE"}, [None]),
        ({"retryStrategy": "IMMEDIATE", "retryRate": 5, "retryLimit": 3}, [1, 5, 5, None]),
        ({"retryStrategy": "DELAYED", "retryDelay": 60, "retryRate": 5, "retryLimit": 2}, [60, 5, None]),
        ({"retryStrategy": "EXPONENTIAL", "retryRate": 5, "retryLimit": 4}, [5, 10, 20, 40, None]),
        ({"retryStrategy": "EXPONENTIAL", "retryDelay": 60, "retryRate": 0, "retryLimit": 2}, [60, 1, None]),
    ],
)
def test_how_long_until_the_next_try(policy: dict[str, Any], pauses: list[float | None]) -> None:
    whole = read(hook(policy=policy)).policy
    assert [pause_after(number, whole) for number in range(1, len(pauses) + 1)] == pauses


def test_no_pause_is_longer_than_a_day() -> None:
    whole = read(hook(policy={"retryStrategy": "EXPONENTIAL", "retryRate": 86400, "retryLimit": 1440})).policy
    assert pause_after(1440, whole) == 86400


def test_a_wish_is_read_back_as_it_was(box: Box) -> None:
    wish = {"event": "*", "url": "mailto:a@lab", "body": {"text": ["${JOB_ID}", None]}, "digest": "10m"}
    job = box.job(wish)
    (one,) = box.read(lambda sql: notifications.of_job(sql, job.seq, None))
    assert one.wanted == read(wish)
    assert isinstance(one.wanted, Wanted)


def told_of(box: Box, number: int, wish: dict[str, Any]) -> list[Due]:
    box.write(
        lambda tx: [
            moves.insert(tx, draft(name="é" * 64), "alice", "Submitted.", [read(wish)]) for _ in range(number)
        ]
    )
    (together,) = box.read(
        lambda sql: pick(sql, Room(frozenset(), Counter(), Counter(), ""), time.time() + 60)
    )
    return together


@pytest.mark.parametrize(("number", "body"), [(5000, None), (300, "${JOB_ID}" + "${JOB_NAME}" * 20)])
def test_a_mail_about_thousands_of_jobs_has_as_many_as_fit_and_says_how_many_there_are(
    box: Box, number: int, body: str | None
) -> None:
    together = told_of(box, number, {"event": "*", "url": "mailto:ann@lab", "digest": "1s", "body": body})
    said = message(together, "mailto:ann@lab", "http://localhost", b"")
    listed = sum(one.facts["id"] in said.body for one in together)
    assert 150 < listed < number
    assert f".. and {number - listed} more" in said.body
    assert len(said.body) <= 256 * 1024
    assert f"{number} PENDING" in said.title


@pytest.mark.parametrize("body", ["${JOB_ERROR}" * 1300, {"x": ["${JOB_ERROR}" * 1300]}])
def test_what_would_be_too_long_with_its_macros_filled_in_is_refused(box: Box, body: Any) -> None:
    (one,) = told_of(box, 1, hook(body=body))
    assert message([one], "https://lab/x", "http://localhost", b"").key == b""
    one.facts["reason"] = "x" * 1000
    with pytest.raises(Invalid, match=r"13\d{5} characters with its macros filled in"):
        message([one], "https://lab/x", "http://localhost", b"")
    with pytest.raises(Invalid, match="characters with its macros filled in"):
        for_command(one, "http://localhost")
