"""What is counted while the daemon runs, for /metrics (api/metrics.py says what each means). A restart begins
anew, which is what those who read counters expect."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

WAITS = (1.0, 10.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0, 604800.0)
"""Seconds."""


@dataclass
class Histogram:
    bounds: tuple[float, ...] = WAITS
    counts: Counter[int] = field(default_factory=Counter)
    """By the place of the smallest bound that is not below the value."""
    total: float = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass
class Figures:
    """Of one execution system."""

    started: int = 0
    """Attempts that were begun to be handed over."""
    polls: int = 0
    failed_polls: int = 0
    waited: Histogram = field(default_factory=Histogram)
    """Seconds from a job's submission to its first attempt."""
