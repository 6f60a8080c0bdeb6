"""How often a system is asked: soon while something is about to change, seldom while nothing does, and ever
more seldom while it is sick (T9)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from jobd.config import System
from jobd.engine.lane import Lane, Wanted
from jobd.engine.pace import Pace, Sickness
from jobd.errors import Down, Refused, Unavailable


def test_pauses_grow_from_a_tenth_to_the_interval_while_nothing_changes():
    pace = Pace(10.0, adaptive=True)
    pauses = []
    for _ in range(10):
        pace.answered(changed=False, took=0.0)
        pauses.append(pace.pause)
    assert pauses[:3] == [1.0, 1.5, 2.25]
    assert pauses[-1] == 10.0


def test_a_change_makes_them_short_again():
    pace = Pace(10.0, adaptive=True)
    for _ in range(10):
        pace.answered(changed=False, took=0.0)
    pace.answered(changed=True, took=0.0)
    assert pace.pause == 1.0
    pace.answered(changed=False, took=0.0)
    pace.hurry()
    assert pace.pause == 1.0


def test_slow_answers_are_asked_for_seldom():
    pace = Pace(10.0, adaptive=True)
    pace.answered(changed=True, took=4.0)
    assert pace.pause == 40.0
    pace.answered(changed=True, took=400.0)
    assert pace.pause == 300.0


def test_a_system_that_brings_news_is_looked_at_at_its_interval():
    pace = Pace(30.0, adaptive=False)
    pace.answered(changed=True, took=9.0)
    pace.hurry()
    assert pace.pause == 30.0


def test_sickness_doubles_up_to_a_limit():
    sickness = Sickness.begin(10.0)
    pauses = [sickness.pause]
    for _ in range(6):
        sickness = sickness.longer()
        pauses.append(sickness.pause)
    assert pauses == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]


def test_requests_of_a_poll_under_way_share_the_next():
    wanted = Wanted()
    assert [wanted.add({"a"}), wanted.add({"b"})] == [1, 2]
    assert (wanted.last, wanted.take()) == (2, {"a", "b"})
    assert wanted.take() == set()
    wanted.add({"a"})
    wanted.add(None)
    assert wanted.take() is None


class Asked:
    """A backend's method, and how many were in it at once."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.times: list[float] = []

    def __call__(self) -> str:
        self.times.append(time.monotonic())
        if self.error:
            raise self.error
        return "answer"


def lane(asked: Asked) -> Lane:
    nothing: Any = None
    return Lane(nothing, System(id="x", backend="y"), nothing, 0.05, nothing, nothing)


def test_T9_while_a_system_is_down_one_call_at_a_time_tries_ever_more_seldom():
    asked = Asked()

    async def main() -> list[Any]:
        one = lane(asked)
        asked.error = Down("nobody there")
        with pytest.raises(Down):
            await one.ask(asked)
        many = [asyncio.create_task(one.ask(asked)) for _ in range(8)]
        while len(asked.times) < 4:
            await asyncio.sleep(0.01)
        assert one.trouble == "nobody there"
        asked.error = None
        ends = await asyncio.gather(*many, return_exceptions=True)
        await one.stop()
        return ends

    ends = asyncio.run(main())
    pauses = [later - sooner for sooner, later in zip(asked.times, asked.times[1:4], strict=False)]
    assert all(pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.2), strict=False))
    assert ends.count("answer") >= 5
    assert len(asked.times) == 9


@pytest.mark.parametrize("error", [Refused("no"), Unavailable("later")])
def test_what_is_said_of_one_job_makes_no_system_sick(error):
    asked = Asked()
    asked.error = error

    async def main() -> None:
        one = lane(asked)
        for _ in range(3):
            with pytest.raises(type(error)):
                await one.ask(asked)
        assert one.sick is None
        await one.stop()

    asyncio.run(main())


def test_newcomers_to_a_full_machine_share_a_turn():
    async def main() -> None:
        one = lane(Asked())
        one.newcomer()
        assert one.bell.is_set(), "it may start"
        one.bell.clear()
        one.full = True
        for _ in range(9):
            one.newcomer()
        assert not one.bell.is_set()
        await asyncio.wait_for(one.bell.wait(), 5)
        one.bell.clear()
        one.newcomer()
        await asyncio.wait_for(one.bell.wait(), 5)
        await one.stop()

    asyncio.run(main())
