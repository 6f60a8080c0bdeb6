"""Regular expressions in time linear in the text, for somebody else's pattern: a search's, or an app's
validator.

Python's `re` backtracks: 25 characters can take it seconds, in which it holds the interpreter's lock and the
daemon stands still. pydantic brings Rust's `regex`, which cannot; so a pattern is used as pydantic validates
text by one. Back-references and look-around are refused.

It holds the lock too, for the length of the text times that of the compiled pattern, which writes every
{m,n} out. So only the first 4,096 characters of a text count, and patterns that would become large are
refused: the worst that is left takes a tenth of a second or two for one text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

LONGEST_TEXT = 4096
"""Characters; what comes behind them is not looked at."""
_LONGEST_PATTERN = 200
_MOST_REPETITIONS = 1000
"""Of all counted repetitions together, as if each stood inside the next."""
_LARGEST = 5000
"""Characters of a pattern without its counts, times its repetitions."""

_BRACES = re.compile(r"\\[xuU]\{[^}]*\}|\\.|\{([^}]*)\}", re.DOTALL)
"""What is in braces, unless they are a character's number, or are escaped themselves."""
_VERBOSE = re.compile(r"\(\?[a-zA-Z-]*x")
"""There, comments may stand inside braces."""


@lru_cache(maxsize=64)
def compiled(pattern: str) -> Callable[[str], bool]:
    """A search's test of a text: is it anywhere in there? Upper and lower case are not told apart, as in
    `like`. Raises ValueError, in words, when the pattern cannot be taken."""
    _check(pattern)
    found = _test(f"(?i){pattern}")
    return lambda text: found(text[:LONGEST_TEXT])


@lru_cache(maxsize=256)
def validator(pattern: str) -> Callable[[str], bool]:
    """A test of whole values, as Agave's validators are. One that is longer than can be looked at fails it.
    Raises ValueError as above."""
    _check(pattern)
    _test(pattern)  # by itself, or `a)|(b` would come out of the brackets
    fits = _test(rf"\A(?:{pattern})\z")
    return lambda text: len(text) <= LONGEST_TEXT and fits(text)


def _check(pattern: str) -> None:
    if len(pattern) > _LONGEST_PATTERN:
        raise ValueError(f"a pattern has at most {_LONGEST_PATTERN} characters")
    _refuse_large(pattern)


def _test(pattern: str) -> Callable[[str], bool]:
    try:
        adapter = TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])
    except (SchemaError, UnicodeEncodeError) as error:
        raise ValueError(_reason(str(error))) from None

    def matches(text: str) -> bool:
        try:
            adapter.validate_python(text)
        except ValidationError:
            return False
        return True

    return matches


def _refuse_large(pattern: str) -> None:
    if _VERBOSE.search(pattern):
        raise ValueError("the flag x is not taken")
    repeated = math.prod(max(1, _largest(inside)) for inside in _BRACES.findall(pattern))
    if repeated > _MOST_REPETITIONS:
        raise ValueError(f"its repetitions multiply to {repeated} (expected at most {_MOST_REPETITIONS})")
    length = len(_BRACES.sub(lambda found: found[0] if found[1] is None else "", pattern))
    if repeated > 1 and repeated * length > _LARGEST:
        most = _LARGEST // length
        raise ValueError(f"its repetitions multiply to {repeated} (expected at most {most} in one so long)")


def _largest(counts: str) -> int:
    return max(map(int, re.findall("[0-9]+", counts)), default=1)


def matches(pattern: str, text: str | None) -> bool:
    """SQL's `regexp`: does it match anywhere? No text, no match."""
    return text is not None and compiled(pattern)(text)


def _reason(words: str) -> str:
    """The last line of the compiler's message, which says what is wrong."""
    return words.strip().splitlines()[-1].removeprefix("error: ").strip()
