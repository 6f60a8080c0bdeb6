"""What is carried out, and what came of it, as both ends know them and as they go between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_MOST_WORDS = 300


@dataclass(frozen=True)
class Message:
    id: str
    """Of the delivery; the same at every try, so that a receiver can drop repeats."""
    url: str
    """http(s)://.., mailto:name@host, or another scheme for apprise; macros are filled in already."""
    title: str
    """Subject of a mail, title for apprise."""
    body: str
    content_type: str
    """application/json or text/plain."""
    key: bytes
    """What the receiver's owner can check the signature with."""

    def as_list(self) -> list[Any]:
        return [self.id, self.url, self.title, self.body, self.content_type, self.key.hex()]

    @classmethod
    def of(cls, told: list[Any]) -> Message:
        id, url, title, body, content_type, key = told
        return cls(id, url, title, body, content_type, bytes.fromhex(key))


@dataclass(frozen=True)
class Outcome:
    delivered: bool
    code: int | None = None
    """Of HTTP or SMTP."""
    words: str = ""
    """What came of it, for people: at most 300 characters, printable."""
    for_good: bool = False
    """Trying again is of no use."""
    retry_after: float | None = None
    """Seconds, as the receiver asked; at most an hour."""

    def as_list(self) -> list[Any]:
        return [self.delivered, self.code, self.words, self.for_good, self.retry_after]


def failed(words: str, code: int | None = None, for_good: bool = False) -> Outcome:
    return Outcome(False, code, printable(words), for_good)


def printable(text: str, most: int = _MOST_WORDS) -> str:
    """On one line, and nothing in it that a terminal or a page would do rather than show."""
    seen = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * most])
    seen = " ".join(seen.split())
    return seen if len(seen) <= most else f"{seen[: most - 2]}.."
