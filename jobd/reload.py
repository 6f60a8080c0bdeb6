"""`jobd reload`: has the running daemon read its configuration again, and waits for what comes of it.

`systemctl reload` runs it. (Type=notify-reload, which needs no such thing, came with systemd 253.) A signal
carries no answer; the daemon leaves it in the lock of its state directory, beside its pid.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from typing import Any

from jobd import journal
from jobd.errors import Unavailable

_PATIENCE = 60.0
"""Seconds."""
_OK, _NOBODY, _WRONG = 0, 75, 78


def main(state_dir: str) -> int:
    """Returns the exit code: 78, as at a start, when the configuration is not right; 75 when no daemon
    answers."""
    try:
        word = reload(f"{state_dir}/lock")
    except Unavailable as trouble:
        print(f"jobd: {trouble}", file=sys.stderr)
        return _NOBODY
    if not journal.is_stderr():  # where the daemon has said it already
        _tell(word["faults"], word["changes"])
    return _WRONG if word["faults"] else _OK


def _tell(faults: list[str], changes: list[str]) -> None:
    for fault in faults:
        print(f"jobd: {fault}", file=sys.stderr)
    for change in changes:
        print(f"changed: {change}")
    if not faults and not changes:
        print("nothing has changed")


def reload(lock: str) -> dict[str, Any]:
    """What the daemon says when it has read it. Raises Unavailable when there is none, or it does not say."""
    before = _word(lock)
    daemon = _daemon(lock, before)
    try:
        signal.pidfd_send_signal(daemon, signal.SIGHUP)
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and _is_held(lock):
            word = _word(lock)
            if word.get("reloads", 0) > before["reloads"]:
                return word
            time.sleep(0.02)
    except ProcessLookupError:
        pass
    finally:
        os.close(daemon)
    raise Unavailable("the daemon has ended, or is too busy to say what came of it: see its log")


def holder(state_dir: str) -> int:
    """The pid of the daemon that has that state directory; 0: none has."""
    lock = f"{state_dir}/lock"
    try:
        return int(_word(lock).get("pid", 0)) if _is_held(lock) else 0
    except (OSError, Unavailable):
        return 0


def _daemon(lock: str, word: dict[str, Any]) -> int:
    """Its pidfd. The lock being held, with the same word in it, once that is open, it is nobody else's."""
    try:
        descriptor = os.pidfd_open(word["pid"])
    except (KeyError, ProcessLookupError):
        raise Unavailable(f"no daemon holds {lock}") from None
    if not (_is_held(lock) and "reloads" in word and _word(lock).get("pid") == word["pid"]):
        os.close(descriptor)
        raise Unavailable(f"no daemon holds {lock}, or it is one that knows of no reload")
    return descriptor


def _is_held(lock: str) -> bool:
    with open(lock, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _word(lock: str) -> dict[str, Any]:
    """{} while there is nothing whole to read."""
    try:
        with open(lock, encoding="utf-8") as file:
            found = json.load(file)
    except ValueError:
        return {}
    except OSError as error:
        raise Unavailable(f"{lock} cannot be read: {error.strerror}") from error
    return found if isinstance(found, dict) else {}
