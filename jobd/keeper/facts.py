"""What an input's source is now, without reading it: a file's size and time of change, or what its server
says of it. As whoever this process is.

Nobody waits long for that: what does not answer soon is not known.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from typing import Any
from urllib.error import HTTPError

from jobd.errors import Refused, Unavailable
from jobd.keeper import fetch

Facts = dict[str, Any]
"""directory, size (bytes), modified, etag: those that are known."""

_IDLE = 3.0
_BUDGET = 6.0
"""Seconds, for one server and for all of them."""
_GONE = {404, 410}


def of_all(sources: Iterable[str]) -> dict[str, Facts | None]:
    """By source; None: it is gone; nothing is known of what is not ours to see. Raises Unavailable."""
    deadline = time.monotonic() + _BUDGET
    return {
        source: _of_path(source) if source.startswith("/") else _of_url(source, deadline)
        for source in sources
    }


def _of_path(path: str) -> Facts | None:
    """Links are followed, as staging does."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        return {}
    except OSError as error:
        raise Unavailable(f"{path!r} cannot be looked at: {error.strerror}") from error
    return {"directory": stat.S_ISDIR(found.st_mode), "size": found.st_size, "modified": found.st_mtime}


def _of_url(url: str, deadline: float) -> Facts | None:
    left = deadline - time.monotonic()
    if left <= 0:
        return {}
    try:
        return fetch.look(url, min(_IDLE, left))
    except HTTPError as error:
        with error:
            return None if error.code in _GONE else {}
    except (Refused, OSError, ValueError):
        return {}
