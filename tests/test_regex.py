"""The regular expressions of a search cannot be made slow, and are refused in words."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.store.regex import compiled, matches


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("b+", "aBBc", True),
        ("^b", "ab", False),
        ("^a.*c$", "abc", True),
        (r"\d{3}", "a12", False),
        ("x|y", "Y", True),
    ],
)
def test_it_is_found_anywhere_in_either_case(pattern: str, text: str, found: bool) -> None:
    assert matches(pattern, text) is found


@given(st.text(max_size=30), st.text(max_size=20))
@settings(max_examples=300, deadline=None)
def test_any_pattern_is_taken_or_refused_in_words(pattern: str, text: str) -> None:
    with contextlib.suppress(ValueError):
        matches(pattern, text)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(a|aa)+$", "a*a*a*a*a*b", "(.*)(.*)(.*)x"])
def test_what_stops_a_backtracking_engine_is_quick_here(pattern: str) -> None:
    """Seconds and hours there; the bound only tells those from linear time."""
    begun = time.process_time()
    matches(pattern, "a" * 5000 + "!")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"(a)\1", "backreferences"),
        ("(?=a)", "look-around"),
        ("(", "unclosed group"),
        ("[z-a]", "range"),
        ("((((a{100}){100}){100}){100})", "size limit"),
        ("x" * 201, "at most 200"),
    ],
)
def test_what_it_cannot_do_is_refused_in_words(pattern: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compiled(pattern)


def test_nothing_matches_no_text() -> None:
    assert not matches(".*", None)
    assert matches("^$", "")
