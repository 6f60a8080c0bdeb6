"""One byte range of a file (RFC 9110, 14). What is none, or several at once, is answered with the whole."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jobd.errors import JobdError

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class Unsatisfiable(JobdError):
    """The range begins behind the end."""

    code = 416

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes, and none of those asked for")
        self.headers: Mapping[str, str] = {"Content-Range": f"bytes */{size}"}


def span(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last; None: the whole file. Raises Unsatisfiable."""
    found = _RANGE.fullmatch((header or "").strip().replace(" ", ""))
    if not found or found[0] == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size or stop <= start:
        raise Unsatisfiable(size)
    return start, stop
