"""Times and sizes in words, read and written: for requests on the wire, for the configuration, for people.

Inside jobd a time is seconds and a size is bytes. K, M, G .. are powers of 1024, as Slurm and PBS count
memory. What cannot be read raises BadUnit, a ValueError whose text names the forms that would be taken.
"""

from __future__ import annotations

import json
import math
import re
import time

MB = 1024**2
GB = 1024**3
MOST_BYTES = 2**63 - 1
"""What the store can hold."""
MOST_SECONDS = 100_000 * 3600

RUN_TIME_FORM = "HH:MM:SS, for example 01:00:00"
DURATION_FORM = 'seconds, or "HH:MM:SS", or a number with a unit: "30s", "15m", "24h", "7d"'
SIZE_FORM = 'a number with a unit, for example "16GB" or "512MB"'
MEMORY_FORM = 'a number of GB, or a size such as "16GB" or "512MB"'

_CLOCK = re.compile(r"(\d{1,6}):([0-5]\d):([0-5]\d)", re.ASCII)
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s*(s|m|h|d)?", re.ASCII | re.IGNORECASE)
_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,9})?)\s*(?:([KMGTPE])(?:i?B)?|B)", re.ASCII | re.IGNORECASE)
_PLAIN = re.compile(r"\d{1,20}(?:\.\d{1,9})?", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class BadUnit(ValueError):
    """A time or size that cannot be read: what is wrong, and what would be right."""

    def __init__(self, problem: str, expected: str) -> None:
        super().__init__(f"{problem} (expected {expected})")
        self.problem = problem
        self.expected = expected


def parse_run_time(value: object) -> int:
    """Seconds of a `maxRunTime` as requests have it, "HH:MM:SS" and nothing else; hours may go past 24."""
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise BadUnit(f"{shown(value)} is not a run time", RUN_TIME_FORM)
    if found[0] == "00:00:00":
        raise BadUnit("a run time of nothing", RUN_TIME_FORM)
    return int(_in_range(_clock_seconds(found), value, RUN_TIME_FORM))


def format_run_time(seconds: float) -> str:
    """HH:MM:SS. A part of a second counts as a whole one: a limit never looks like less than it is."""
    minutes, second = divmod(math.ceil(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}"


def parse_duration(value: object) -> float:
    """Seconds of a duration in the configuration or on a command line: 90, "HH:MM:SS", "15m" .."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _in_range(value, value, DURATION_FORM)
    if isinstance(value, str):
        if clock := _CLOCK.fullmatch(value):
            return _in_range(_clock_seconds(clock), value, DURATION_FORM)
        if number := _DURATION.fullmatch(value.strip()):
            seconds = float(number[1]) * _SECONDS[(number[2] or "s").lower()]
            return _in_range(seconds, value, DURATION_FORM)
    raise BadUnit(f"{shown(value)} is not a duration", DURATION_FORM)


def parse_memory(value: object) -> int:
    """Bytes of a `memoryPerNode` as requests have it: a number is GB, or a text with its unit."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _bytes(value, GB, value, MEMORY_FORM)
    if isinstance(value, str) and _PLAIN.fullmatch(value.strip()):  # as a form has it
        return _bytes(float(value), GB, value, MEMORY_FORM)
    return parse_size(value, MEMORY_FORM)


def parse_size(value: object, form: str = SIZE_FORM) -> int:
    """Bytes of a size that names its unit: "16GB", "1.5 GiB", "512m"."""
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        raise BadUnit(f"{shown(value)} is not a size", form)
    power = " KMGTPE".index((found[2] or " ").upper())
    return _bytes(float(found[1]), 1024**power, value, form)


def gigabytes(size: int) -> float:
    """A size as replies have it: a number of GB."""
    return size / GB


def format_size(size: float) -> str:
    """A size for people: "512 MB", "1.5 GB"."""
    power = 0
    while size >= 1023.95 and power < 6:  # which would be shown as 1024.0
        size, power = size / 1024, power + 1
    unit = ("bytes", "KB", "MB", "GB", "TB", "PB", "EB")[power]
    return f"{size:.1f}".removesuffix(".0") + f" {unit}"


def _clock_seconds(found: re.Match[str]) -> int:
    return int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3])


def _in_range(seconds: float, value: object, form: str) -> float:
    if not 0 <= seconds <= MOST_SECONDS:  # which a NaN is not
        raise BadUnit(f"{shown(value)} is not a time between 0 and {MOST_SECONDS // 3600} hours", form)
    return seconds


def _bytes(number: float, unit: int, value: object, form: str) -> int:
    if not 0 < number * unit <= MOST_BYTES:
        raise BadUnit(f"{shown(value)} is not a size above 0 and below 8 EB", form)
    return max(1, int(number * unit))


def shown(value: object) -> str:
    """A value as it stands in JSON and YAML, cut short."""
    text = json.dumps(value, default=str, ensure_ascii=False).encode(errors="backslashreplace").decode()
    return text if len(text) <= 60 else f"{text[:57]}..."


def format_moment(at: float) -> str:
    """In this machine's zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
