"""The record of one attempt, as its supervisor writes it: `attempts/<tag>`, one page, JSON lines padded with
NULs.

    {"version": 1, "tag", "supervisor", "supervisor_ticks", "boot_id", "rung", "cgroup", "notes", "claimed"}
    {"pid", "ticks", "started"}
    {"survivors"}       only after a KILL that has not worked yet; the next line takes its place
    {"over": true, "exit_code", "signal", "condition", "message", "survivors", "ended", "wall", "cpu", ..}

A line counts when its newline is there; later lines add to earlier ones. The whole page is written at the
claim, so the end can be written on a full disk. The file is locked before it has its name, so that nobody
sees it unlocked while its writer lives. This format is all that crosses versions of jobd: fields may be
added, never change their meaning.
"""

import fcntl
import os

VERSION = 1
SIZE = 4096

_ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\", **{code: f"\\u{code:04x}" for code in range(32)}}


class Writer:
    """An open record; holds the lock as long as this process (and no fork of it) has it open."""

    def __init__(self, fd: int, offset: int = 0) -> None:
        self.fd = fd
        self.offset = offset

    def line(self, facts: dict[str, object], *, keep: bool = True) -> None:
        """Add a line; with `keep` false the next one replaces it. One write of the rest of the page."""
        data = self._fitting(facts)
        os.pwrite(self.fd, data.ljust(SIZE - self.offset, b"\0"), self.offset)
        if keep:
            self.offset += len(data)

    def _fitting(self, facts: dict[str, object]) -> bytes:
        """The line, its texts cut so that it leaves room for the end line to come."""
        for limit in (1000, 300, 100, 20):
            data = (to_json({key: _cut(value, limit) for key, value in facts.items()}) + "\n").encode("ascii")
            if len(data) <= SIZE - self.offset:
                break
        return data

    def sync(self) -> None:
        """Make it survive a power cut: the page, then its name. A record that the daemon has already taken
        over and removed needs neither."""
        if os.fstat(self.fd).st_nlink:
            os.fsync(self.fd)
            directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(directory)
            os.close(directory)


def claim(tag: str, facts: dict[str, object]) -> Writer | None:
    """Make the record in the present directory; None: somebody has it already. Raises OSError: no space,
    say."""
    hidden = f".{tag}.{os.getpid()}"
    fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        writer = Writer(fd)
        writer.line({"version": VERSION, "tag": tag, **facts})
        os.link(hidden, tag)
    except FileExistsError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    finally:
        os.unlink(hidden)
    return writer


def to_json(value: object) -> str:
    """JSON in ASCII. The json module would cost each supervisor more memory than the rest of its code."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{to_json(key)}: {to_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(to_json, value)) + "]"
    return '"' + "".join(map(_character, str(value).translate(_ESCAPES))) + '"'


def _character(char: str) -> str:
    code = ord(char)
    if code < 127:
        return char
    if code > 0xFFFF:
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"


def _cut(value: object, limit: int) -> object:
    if isinstance(value, str) and len(value) > limit:
        return value[: limit - 2] + ".."
    if isinstance(value, list):
        return [_cut(item, limit // 4) for item in value[:8]]
    return value
