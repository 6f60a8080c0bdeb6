"""Times and sizes: what is read, what is written, and in what words everything else is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobd.units import (
    GB,
    MB,
    MOST_BYTES,
    BadUnit,
    format_run_time,
    format_size,
    gigabytes,
    parse_duration,
    parse_memory,
    parse_run_time,
    parse_size,
    shown,
)


@given(st.integers(1, 100_000 * 3600))
def test_a_run_time_survives_its_words(seconds: int) -> None:
    assert parse_run_time(format_run_time(seconds)) == seconds
    assert parse_duration(format_run_time(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("01:00:00", 3600),
        ("00:00:01", 1),
        ("1:00:00", 3600),
        ("168:00:00", 604800),
        ("100000:00:00", 360000000),
    ],
)
def test_run_times(text: str, seconds: int) -> None:
    assert parse_run_time(text) == seconds


@pytest.mark.parametrize(
    "value",
    ["1h", "60", "00:60:00", "00:00:60", "01:00", "-01:00:00", "", " 01:00:00", "01:00:00\n", 3600, None,
     True, [], "00:00:00", "999999:00:00", "100000:00:01", "\u0660\u0661:00:00"],
)  # fmt: skip
def test_a_run_time_is_nothing_else(value: object) -> None:
    with pytest.raises(BadUnit, match=r"\(expected HH:MM:SS, for example 01:00:00\)$"):
        parse_run_time(value)


def test_the_words_of_a_wrong_run_time() -> None:
    with pytest.raises(ValueError, match="is not a run time") as caught:
        parse_run_time("1h")
    assert str(caught.value) == '"1h" is not a run time (expected HH:MM:SS, for example 01:00:00)'


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00:00"), (0.2, "00:00:01"), (59.0, "00:00:59"), (360000, "100:00:00")]
)
def test_a_part_of_a_second_counts_as_a_whole_one(seconds: float, text: str) -> None:
    assert format_run_time(seconds) == text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(90, 90), (1.5, 1.5), (0, 0), ("90", 90), ("30s", 30), ("15m", 900), ("24h", 86400), ("7d", 604800),
     ("1.5h", 5400), ("10 M", 600), ("00:00:00", 0), ("02:30:00", 9000)],
)  # fmt: skip
def test_durations(value: object, seconds: float) -> None:
    assert parse_duration(value) == seconds


@pytest.mark.parametrize(
    "value",
    [-1, "-1", "h", "1w", "1h30m", "", None, True, [], {}, float("nan"), float("inf"), 1e30, "9" * 12, "1e3"],
)
def test_a_duration_says_what_forms_it_has(value: object) -> None:
    with pytest.raises(
        BadUnit, match=r'expected seconds, or "HH:MM:SS", or a number with a unit: "30s", "15m"'
    ):
        parse_duration(value)


@given(st.integers(1, 2**52))
def test_memory_survives_its_wire_form(size: int) -> None:
    assert parse_memory(gigabytes(size)) == size
    assert parse_memory(f"{size}B") == size


@pytest.mark.parametrize(
    ("value", "size"),
    [(16, 16 * GB), (0.5, 512 * MB), ("16", 16 * GB), (" 1.5 ", 1536 * MB),
     ("16GB", 16 * GB), ("16gb", 16 * GB), ("16G", 16 * GB),
     ("1.5 GiB", 1536 * MB), ("512MB", 512 * MB), ("1K", 1024), ("2TB", 2048 * GB), ("1P", 1024 * 1024 * GB),
     ("7E", 7 * 2**60), ("8B", 8)],
)  # fmt: skip
def test_memory(value: object, size: int) -> None:
    assert parse_memory(value) == size


@pytest.mark.parametrize(
    "value",
    ["GB", "-1GB", "1 2GB", "", None, True, False, [], 0, -1, "0GB", "8EB", 1e30, float("nan"),
     float("inf"), "1XB", "16iB", "1e3GB", 2**80],
)  # fmt: skip
def test_memory_says_what_forms_it_has(value: object) -> None:
    with pytest.raises(BadUnit, match=r'expected a number of GB, or a size such as "16GB" or "512MB"'):
        parse_memory(value)


@given(st.one_of(st.floats(), st.integers(), st.text(), st.booleans(), st.none()))
def test_whatever_comes_is_read_within_bounds_or_refused(value: object) -> None:
    for parse in (parse_memory, parse_size, parse_duration, parse_run_time):
        with suppress(BadUnit):
            assert 0 <= parse(value) <= MOST_BYTES


def test_a_size_needs_its_unit() -> None:
    with pytest.raises(
        BadUnit, match=r'^16 is not a size .expected a number with a unit, for example "16GB"'
    ):
        parse_size(16)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (512, "512 bytes"), (1024, "1 KB"), (512 * MB, "512 MB"), (1.5 * GB, "1.5 GB"),
     (1024 * GB - 1, "1 TB"), (MOST_BYTES, "8 EB")],
)  # fmt: skip
def test_sizes_for_people(size: float, text: str) -> None:
    assert format_size(size) == text


def test_a_value_is_shown_as_it_was_written_and_cut_short() -> None:
    assert shown(None) == "null"
    assert shown(True) == "true"
    assert shown("\ud800") == '"\\ud800"'
    assert len(shown("x" * 1000)) == 60
