"""Log lines for systemd's journal, by its native protocol: a datagram of fields, so that a line has a
priority, and one that is about a job can be found by it:

    journalctl -u jobd JOBD_JOB_ID=76641c9d-a138-4991-ae1b-4812883eda0b-007
    journalctl -u jobd JOBD_EVENT=ended JOBD_OWNER=alice

(JOB_ID is systemd's own field, for its own jobs.) Where the journal does not take the datagram, the line goes
to stderr, each of its lines with its priority in front, as sd-daemon(3) has it.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import struct
import sys
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
_JOB_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-007\b")


class JournalHandler(logging.Handler):
    """A line that names a job gets the field JOBD_JOB_ID; one with `facts` a field for each of them."""

    def __init__(self, address: str = SOCKET) -> None:
        super().__init__()
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            try:
                self._socket.sendto(entry(fields(record, text)), self._address)
            except OSError:  # nobody is there, or it is too long for a datagram
                print(prefixed(record.levelno, text), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()


def is_stderr(environ: Mapping[str, str] = os.environ) -> bool:
    """Does our standard error go to the journal? The variable alone may be a parent's."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def fields(record: logging.LogRecord, text: str) -> dict[str, str]:
    found = {
        "MESSAGE": text,
        "PRIORITY": str(priority(record.levelno)),
        "SYSLOG_IDENTIFIER": "jobd",
        "JOBD_LOGGER": record.name,
    }
    found |= {f"JOBD_{name.upper()}": str(value) for name, value in getattr(record, "facts", {}).items()}
    job = _JOB_ID.search(text)
    return {**found, "JOBD_JOB_ID": job[0]} if job else found


def entry(found: Mapping[str, str]) -> bytes:
    """A value of more than one line goes with its length in front."""
    return b"".join(_field(name.encode(), value.encode("utf-8", "replace")) for name, value in found.items())


def _field(name: bytes, value: bytes) -> bytes:
    if b"\n" in value:
        return name + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name + b"=" + value + b"\n"


def priority(level: int) -> int:
    """syslog's, of logging's."""
    steps = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
    return next((number for least, number in steps if level >= least), 7)


def prefixed(level: int, text: str) -> str:
    return "\n".join(f"<{priority(level)}>{line}" for line in text.splitlines() or [""])
