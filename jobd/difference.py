"""What has changed between two configurations, one line per option, for the log of a reload.

Both are plain data. Lists of things that have a name (systems by their id, queues by their name) are compared
thing by thing. Values of `environment` and `options` are not shown: there may be a password in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_KEYS = ("id", "name")
_UNSHOWN = {"environment", "options"}
_NONE = object()


def differences(old: Any, new: Any, *path: str) -> Iterator[str]:
    """For example "systems.local.killGrace: 10.0 -> 5.0"."""
    if old == new:
        return
    before, after = _named(old), _named(new)
    if before is None or after is None:
        yield _line(path, old, new)
        return
    for name in {**before, **after}:
        yield from differences(before.get(name, _NONE), after.get(name, _NONE), *path, name)


def _named(value: Any) -> Mapping[str, Any] | None:
    """As a mapping, if it is one or is a list of things with names."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, list | tuple) or not all(isinstance(one, Mapping) for one in value):
        return None
    key = next((key for key in _KEYS if all(key in one for one in value)), None)
    return {str(one[key]): one for one in value} if key else None


def _line(path: tuple[str, ...], old: Any, new: Any) -> str:
    where = ".".join(path)
    if old is _NONE:
        return f"{where}: added"
    if new is _NONE:
        return f"{where}: removed"
    if _UNSHOWN.intersection(path):
        return f"{where}: changed"
    return f"{where}: {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
