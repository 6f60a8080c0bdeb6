"""Words for a terminal: made harmless, measured, cut, coloured.

Names and messages come from other people and programs. Whatever is not printable, escape sequences and
reversed text above all, is shown as its number (\\x1b), so that it can neither move a cursor nor forge a
line. Only a job's own output goes through as it is.
"""

from __future__ import annotations

import os
import sys

COLOURS = {"FINISHED": "32", "RUNNING": "36", "FAILED": "31", "STOPPED": "33", "PAUSED": "35"}
NARROWEST = 20


def printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def width(text: str) -> int:
    """Columns that it takes on a terminal."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, columns: int) -> str:
    """At most so many columns of it, with a mark where something is missing."""
    if width(text) <= columns:
        return text
    mark = "…" if (sys.stdout.encoding or "").lower().startswith("utf") else "~"
    kept = text[:columns]
    while kept and width(kept) > columns - 1:
        kept = kept[:-1]
    return (kept + mark)[:columns]


def pad(text: str, columns: int, right: bool = False) -> str:
    space = " " * (columns - width(text))
    return space + text if right else text + space


def coloured(text: str, word: str) -> str:
    """In the colour of a status."""
    code = COLOURS.get(word)
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def wants_colour(choice: str, stream: object) -> bool:
    """--color auto|always|never and https://no-color.org."""
    if choice != "auto":
        return choice == "always"
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and is_terminal(stream)


def is_terminal(stream: object) -> bool:
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty())


def terminal_width(default: int = 80) -> int:
    """Columns; shutil has this too, but takes 5 ms to import."""
    try:
        columns = int(os.environ.get("COLUMNS", 0)) or os.get_terminal_size(1).columns
    except (ValueError, OSError):
        columns = default
    return max(columns, NARROWEST)


def age(seconds: float) -> str:
    """How long ago, in one unit: 42s, 5m, 3h, 2d."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(int(seconds), 0)}s"


def clock(seconds: float) -> str:
    """How long: 0:42, 1:02:03, 2-01:00:00."""
    minutes, second = divmod(max(int(seconds), 0), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}-{hour:02}:{minute:02}:{second:02}"
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def local_time(iso: str | None, milliseconds: bool = False) -> str:
    """A time on the wire in this terminal's zone."""
    import time

    seconds = moment(iso)
    if seconds is None:
        return ""
    words = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    return f"{words}.{round(seconds * 1000) % 1000:03}" if milliseconds else words


def moment(iso: str | None) -> float | None:
    """Seconds since the epoch of a time on the wire."""
    if not iso:
        return None
    from datetime import datetime

    return datetime.fromisoformat(iso).timestamp()
