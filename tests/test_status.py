"""The table of moves holds together: what is derived from it is what it says."""

from __future__ import annotations

import pytest

from jobd import status
from jobd.status import MOVES, Condition, Status


def test_every_status_can_be_entered_and_left_or_is_terminal():
    entered = {new for onward in MOVES.values() for new in onward} | {status.START}
    assert entered == set(Status) == set(MOVES)
    assert {Status.FINISHED, Status.FAILED, Status.STOPPED} == status.TERMINAL


def test_every_status_can_come_to_an_end():
    for start in status.ACTIVE:
        seen, todo = set(), {start}
        while todo:
            seen |= todo
            todo = {new for old in todo for new in MOVES[old]} - seen
        killable = set() if start in status.PUTTING_AWAY else {Status.STOPPED}
        assert seen >= status.TERMINAL - {Status.STOPPED} | killable, f"{start} cannot reach every ending"


@pytest.mark.parametrize(
    ("exit_code", "signal", "condition"),
    [
        (0, None, Condition.NORMAL),
        (7, None, Condition.EXIT_CODE),
        (None, 9, Condition.SIGNAL),
        (None, None, Condition.LOST),
    ],
)
def test_T4_without_a_code_nothing_is_guessed(exit_code, signal, condition):
    assert status.judge(exit_code, signal) is condition


def test_only_a_normal_ending_is_finished():
    finished = {condition for condition in Condition if status.ending(condition) is Status.FINISHED}
    assert finished == {Condition.NORMAL}
