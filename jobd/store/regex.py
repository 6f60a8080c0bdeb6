"""Regular expressions in time linear in the text, for searching by somebody else's pattern.

Python's `re` backtracks: 25 characters can take it seconds, in which it holds the interpreter's lock and the
daemon stands still. pydantic brings Rust's `regex`, which cannot; so a pattern is used as pydantic validates
text by one. Upper and lower case are not told apart, as in `like`. Back-references and look-around are
refused.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

_LONGEST_PATTERN = 200


@lru_cache(maxsize=64)
def compiled(pattern: str) -> Callable[[str], bool]:
    """A test of a text. Raises ValueError, in words, when the pattern cannot be taken."""
    if len(pattern) > _LONGEST_PATTERN:
        raise ValueError(f"a pattern has at most {_LONGEST_PATTERN} characters")
    try:
        adapter = TypeAdapter(Annotated[str, StringConstraints(pattern=f"(?i){pattern}")])
    except (SchemaError, UnicodeEncodeError) as error:
        raise ValueError(_reason(str(error))) from None

    def matches(text: str) -> bool:
        try:
            adapter.validate_python(text)
        except ValidationError:
            return False
        return True

    return matches


def matches(pattern: str, text: str | None) -> bool:
    """SQL's `regexp`: does it match anywhere? No text, no match."""
    return text is not None and compiled(pattern)(text)


def _reason(words: str) -> str:
    """The last line of the compiler's message, which says what is wrong."""
    return words.strip().splitlines()[-1].removeprefix("error: ").strip()
