"""How often a system is asked for news, and how seldom when it is sick (T9). Times in seconds.

While something is about to change the pauses are short; with every answer that brings nothing new they grow,
up to the configured interval. An answer that was slow is followed by a pause ten times as long. A system that
does not answer is asked by one call at a time, after pauses that double.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

_SHORTEST = 0.1
"""Of the configured interval: the pause when something is about to change."""
_GROWTH = 1.5
_SHARE = 10.0
"""A pause is at least so many times as long as the answer before it took."""
_LONGEST_AWAY = 300.0


@dataclass
class Pace:
    """Of looking at all jobs on one system."""

    interval: float
    """The longest pause while all is well."""
    adaptive: bool
    """False for a system that brings news by itself: then every pause is that long."""
    pause: float = field(init=False)
    """Until the next look."""

    def __post_init__(self) -> None:
        self.pause = self.interval
        self.hurry()

    def hurry(self) -> None:
        """Something is about to change."""
        if self.adaptive:
            self._calm = self.pause = self.interval * _SHORTEST

    def answered(self, changed: bool, took: float) -> None:
        if not self.adaptive:
            return
        if changed:
            self.hurry()
        self.pause = max(self._calm, min(_SHARE * took, _LONGEST_AWAY))
        self._calm = min(self._calm * _GROWTH, self.interval)

    def failed(self) -> None:
        self.pause = self.interval


@dataclass(frozen=True)
class Sickness:
    """A system does not answer."""

    pause: float
    until: float
    """Nobody asks before, in monotonic time."""

    @classmethod
    def begin(cls, pause: float) -> Sickness:
        return cls(pause, time.monotonic() + pause)

    def longer(self) -> Sickness:
        return self.begin(min(2 * self.pause, _LONGEST_AWAY))
