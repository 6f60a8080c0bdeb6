"""Other people's regular expressions cannot be made slow, and are refused in words."""

from __future__ import annotations

import contextlib
import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.regex import LONGEST_TEXT, compiled, matches, validator


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
        ("((((a{100}){100}){100}){100})", "multiply to 100000000"),
        ("([ab ]{1,100}b){1,100}q", "multiply to 10000 "),
        ("a{1001}", "at most 1000"),
        ("a{ 1, 1001 }", "at most 1000"),
        ("a{1001,}", "at most 1000"),
        ("a{30}b{40}", "multiply to 1200"),
        ("(" + "[ab]?" * 30 + "){1,40}q", "at most 32 in one so long"),
        ("(?x)a{1#}\n000}", "flag x"),
        (r"(\w?\w?\w?){1,90}q", "size limit"),
        ("x" * 201, "at most 200"),
    ],
)
def test_what_it_cannot_do_is_refused_in_words(pattern: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compiled(pattern)


def test_nothing_matches_no_text() -> None:
    assert not matches(".*", None)
    assert matches("^$", "")


@pytest.mark.parametrize(
    "pattern", [r"\x{1F600}", r"a\{2000\}", "a{31}b{32}", "a{1000}", r"\p{Greek}{3}", "a{0}b"]
)
def test_braces_that_are_taken(pattern: str) -> None:
    compiled(pattern)


def test_only_the_beginning_of_a_text_counts() -> None:
    assert matches("b", "a" * (LONGEST_TEXT - 1) + "b")
    assert not matches("b", "a" * LONGEST_TEXT + "b")


@pytest.mark.parametrize(
    "pattern", ["([ab ]{1,14}b){1,14}q", "([ab ]?){1,380}q", r"(\w?){1,99}q", "(.{1,30}.){1,30}q"]
)
def test_the_worst_that_is_taken_of_a_command_of_a_megabyte(pattern: str) -> None:
    """Without the bounds: minutes, with the interpreter's lock held. This only tells those apart."""
    text = "".join(Random(1).choices("ab \u4e00", k=1_200_000))
    begun = time.process_time()
    matches(pattern, text)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("[a-z]+", "abc", True),
        ("[a-z]+", "Abc", False),
        ("a|b", "ab", False),
        ("a", "a\n", False),
        (".*", "a" * LONGEST_TEXT, True),
        (".*", "a" * (LONGEST_TEXT + 1), False),
    ],
)
def test_a_validator_is_for_whole_values(pattern: str, text: str, fits: bool) -> None:
    assert validator(pattern)(text) is fits


@pytest.mark.parametrize("pattern", ["a)|(b", "(?=a)", "a{1001}", "("])
def test_a_validator_is_refused_as_a_search_is(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"group|look|at most"):
        validator(pattern)
