"""The daemon's end of the courier: the process (main.py), the socket that messages go to it by, and what came
of each.

It is started at the first message, and again when it has died, not faster than makes sense. After a change of
the configuration another one takes over; what the old one has under way, it ends. The event loop is the
daemon's own: what a message costs it is a line of JSON each way, and lines go together where there are
several.
"""

from __future__ import annotations

from dataclasses import dataclass

from jobd.config import Notifications


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


class Courier:
    def __init__(self, settings: Notifications) -> None:
        self._settings = settings

    async def send(self, message: Message) -> Outcome:
        """Never raises for a receiver's sake."""
        raise NotImplementedError

    def renew(self, settings: Notifications) -> None:
        """The configuration was read again."""
        self._settings = settings

    async def close(self) -> None:
        """At once; what is under way is not waited for."""
