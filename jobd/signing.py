"""The keys that webhooks are signed with: one for each person, all made of one master key.

Whoever knows a key can forge what it signs, so nobody gets one that signs for others too. The master key is a
file of the administrator's, or one that the daemon makes in its state directory.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from contextlib import suppress
from pathlib import Path

from jobd.errors import Invalid

_LEAST = 24
"""Bytes."""
_NAME = "webhook.key"


class Keyring:
    def __init__(self, file: Path | None, state_dir: Path) -> None:
        """Raises Invalid when the file that is named cannot be read, or holds too little to be a key."""
        self._master = _read(file) if file else _own(state_dir / _NAME)

    def of(self, owner: str) -> bytes:
        return hmac.new(self._master, f"webhooks of {owner}".encode(), hashlib.sha256).digest()


def shown(key: bytes) -> str:
    """As the libraries of Standard Webhooks take it."""
    return f"whsec_{base64.b64encode(key).decode()}"


def _read(file: Path) -> bytes:
    try:
        master = file.read_bytes().strip()
    except OSError as error:
        raise Invalid(f"notifications.keyFile: {file}: {error.strerror}") from error
    if len(master) < _LEAST:
        raise Invalid(f"notifications.keyFile: {file} holds {len(master)} bytes (expected {_LEAST} or more)")
    return master


def _own(file: Path) -> bytes:
    """Made once, and whole: by way of another name."""
    if not file.exists():
        new = file.with_suffix(".new")
        with suppress(FileNotFoundError):
            new.unlink()
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as made:
            made.write(os.urandom(32).hex().encode())
            made.flush()
            os.fsync(descriptor)
        new.rename(file)
    return _read(file)
