"""What is told next, how fast, and when again. Pure, but for the clocks of Manners.

So much is under way at once, in all, of one person and of one receiver. Those people go first who have the
least under way, and a person's receivers take turns.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from jobd.store import outbox
from jobd.store.outbox import Due
from jobd.store.queries import Connection

_MOST = 64
_MOST_OF_PERSON = 32
MOST_OF_RECEIVER = 16
_MOST_GATHERED = 10_000
_GATHER = 0.02
"""Seconds for which outcomes are gathered: one turn goes on with several."""
_BUSY, _BUSY_OVER = 0.4, 0.2
"""The part of a processor that a busy daemon uses, over so many seconds."""
_SLOWLY = 150
"""A second."""
LEAST_PAUSE = 1.0
_LONGEST_PAUSE = 86400.0


@dataclass(frozen=True)
class Room:
    """What is under way, and so what else may begin."""

    lines: frozenset[str]
    of_receiver: Counter[str]
    of_person: Counter[str]
    last: str
    """The receiver that was served last."""

    @property
    def left(self) -> int:
        return _MOST - self.of_receiver.total()

    def left_for(self, receiver: str) -> int:
        of_person = self.of_person[_person(receiver)]
        return min(MOST_OF_RECEIVER - self.of_receiver[receiver], _MOST_OF_PERSON - of_person)


class Manners:
    """Telling makes way for what people wait for: while the daemon has much to do, it is done slowly."""

    def __init__(self) -> None:
        self._at, self._used = time.monotonic(), time.process_time()
        self._busy = False

    def pause(self, begun: int) -> float:
        """Seconds to the next turn, after one that has begun so many."""
        at, used = time.monotonic(), time.process_time()
        if at - self._at >= _BUSY_OVER:
            self._busy = used - self._used > _BUSY * (at - self._at)
            self._at, self._used = at, used
        return max(_GATHER, begun / _SLOWLY) if self._busy else _GATHER


def pick(sql: Connection, room: Room, now: float) -> list[list[Due]]:
    """What is to be told next: those first who have the least under way, however many receivers others have;
    and a person's receivers take turns, beginning after the one that was served last."""
    names = outbox.receivers(sql, now) if room.left > 0 else []
    names.sort(key=lambda name: (room.of_person[_person(name)], name <= room.last))
    people, picked, left = Counter(room.of_person), [], room.left
    for name in names:
        if left <= 0:
            break
        free = min(room.left_for(name), _MOST_OF_PERSON - people[_person(name)], left)
        found = outbox.due(sql, name, now, free + room.of_receiver[name]) if free > 0 else []
        begun = [one for one in found if one.line not in room.lines][:free]
        people[_person(name)] += len(begun)
        left -= len(begun)
        picked += [_together(sql, one) for one in begun]
    return picked


def _person(receiver: str) -> str:
    return receiver.partition(" ")[0]


def _together(sql: Connection, first: Due) -> list[Due]:
    return outbox.gathered(sql, first.line, _MOST_GATHERED) if first.wanted.digest else [first]


def pause_after(failures: int, policy: dict[str, Any]) -> float | None:
    """Seconds until the next try; None: there is none."""
    strategy, rate = policy["retryStrategy"], policy["retryRate"]
    if strategy == "NONE" or failures > policy["retryLimit"]:
        return None
    first = {"IMMEDIATE": 0, "DELAYED": policy["retryDelay"], "EXPONENTIAL": policy["retryDelay"] + rate}
    if failures == 1:
        pause = first[strategy]
    else:
        pause = rate * 2 ** min(failures - 1, 20) if strategy == "EXPONENTIAL" else rate
    return float(min(max(pause, LEAST_PAUSE), _LONGEST_PAUSE))
