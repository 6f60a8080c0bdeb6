"""The linear-time regular expressions agree with Python's, and cannot be made slow."""

import contextlib
import re
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.store.regex import Regex, matches

atoms = st.sampled_from(
    ["a", "b", "c", ".", r"\d", r"\w", r"\S", "[ab]", "[^a-b]", "[0-9x]", "^", "$", r"\."]
)
repeats = st.sampled_from(["", "*", "+", "?", "{2}", "{1,}", "{0,2}", "*?"])


def _join(parts: list[tuple[str, str]]) -> str:
    return "".join(atom + ("" if atom in "^$" else repeat) for atom, repeat in parts)


sequences = st.lists(st.tuples(atoms, repeats), max_size=4).map(_join)
patterns = st.recursive(
    sequences,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("|".join),
        st.tuples(inner, repeats).map(lambda pair: f"({pair[0]}){pair[1]}"),
        st.tuples(inner, inner).map("".join),
    ),
    max_leaves=4,
)


@given(patterns, st.text("abcAB12.x ", max_size=12))
@settings(max_examples=600, deadline=None)
def test_it_agrees_with_re(pattern: str, text: str) -> None:
    # `$` of `re` also holds before a last newline; there is none in these texts
    assert Regex(pattern).search(text) == bool(re.search(pattern, text, re.IGNORECASE))


@given(st.text(string.printable, max_size=30), st.text(max_size=20))
@settings(max_examples=500, deadline=None)
def test_any_pattern_is_taken_or_refused_in_words(pattern: str, text: str) -> None:
    with contextlib.suppress(ValueError):
        Regex(pattern).search(text)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(a|aa)+$", "a*a*a*a*a*b", "(.*)(.*)(.*)x"])
def test_what_stops_a_backtracking_engine_is_quick_here(pattern: str) -> None:
    begun = time.process_time()
    Regex(pattern).search("a" * 5000 + "!")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "pattern",
    [r"(a)\1", "(?=a)", "(?P<x>a)", "a{999}", "((a{40}){40})", "(", ")", "[a", "[z-a]", "*a", "a**", "\\",
     "x" * 201, "(" * 30 + ")" * 30, "a{3,2}"],
)  # fmt: skip
def test_what_it_cannot_do_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Regex(pattern)


def test_nothing_matches_no_text() -> None:
    assert not matches(".*", None)
    assert matches("^$", "")
