"""Where inputs come from, and what each is called in the job's work directory: the plan that staging carries
out.

    /path, file:///path            on this machine
    http://host/.., https://..     fetched
    agave://system/path            on this machine, beneath the directory that the configuration names

A name is the last part of the path, so that programs that look at it work; the second of two with one name
gets its input's id before it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from jobd.apps.app import App
from jobd.errors import Fault
from jobd.units import BadUnit, shown

_FORMS = "a path that starts with /, or file://, http://, https:// or agave://system/path"
_LONGEST_NAME = 200
_OURS = ".jobd"
"""Names that begin so are jobd's own."""

Plan = tuple[dict[str, Any], ...]


def plan(
    app: App, inputs: Mapping[str, Sequence[str]], roots: Mapping[str, str], at: str = ""
) -> tuple[Plan, list[Fault]]:
    """`roots`: the directories that `agave://` can name, by system. Also what is wrong with it."""
    entries: list[dict[str, Any]] = []
    faults: list[Fault] = []
    in_place = {field.id for field in app.inputs if field.value.in_place}
    for field, sources in inputs.items():
        for source in sources:
            try:
                place, name = located(source, roots)
                if field in in_place and not place.startswith("/"):
                    raise BadUnit(f"{shown(source)} cannot be used in place", "a path")
            except BadUnit as wrong:
                faults.append(Fault(f"{at}inputs.{field}", wrong.problem, wrong.expected))
            else:
                entries.append({"input": field, "source": place, "name": name, "inPlace": field in in_place})
    return _with_names_of_their_own(entries), faults


def located(source: str, roots: Mapping[str, str]) -> tuple[str, str]:
    """An absolute path or an http URI, and the last part of its path. Raises BadUnit."""
    if source.startswith("/"):
        return source, _last(source)
    try:
        uri = urlsplit(source)
        host = uri.hostname or ""
    except ValueError:
        raise BadUnit(f"{shown(source)} is not a URI", _FORMS) from None
    path = unquote(uri.path, errors="surrogateescape")
    if uri.scheme in ("http", "https") and host:
        return source, _last(path)
    if uri.scheme == "file" and host in ("", "localhost") and path.startswith("/"):
        return path, _last(path)
    if uri.scheme == "agave" and host:
        return _on_system(source, host, path, roots), _last(path)
    raise BadUnit(f"{shown(source)} is not a place where a file can be", _FORMS)


def _on_system(source: str, system: str, path: str, roots: Mapping[str, str]) -> str:
    root = next((root for name, root in roots.items() if name.lower() == system), None)
    if root is None:
        known = ", ".join(roots) or "none: storageSystems of the configuration names none"
        raise BadUnit(f"{shown(source)}: there is no storage system {system!r}", known)
    if ".." in path.split("/"):
        raise BadUnit(f"{shown(source)} leads out of {system}", "a path without ..")
    return os.path.join(root, path.lstrip("/"))


def _last(path: str) -> str:
    return os.path.basename(path.rstrip("/"))


def _with_names_of_their_own(entries: list[dict[str, Any]]) -> Plan:
    taken: set[str] = set()
    named = []
    for entry in entries:
        name = _free(_safe(entry["name"], entry["input"]), entry["input"], taken)
        taken.add(name)
        named.append({**entry, "name": name})
    return tuple(named)


def _safe(name: str, field: str) -> str:
    """What can be a file's name beside jobd's own mark."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        return field
    short = os.fsencode(name)[:_LONGEST_NAME].decode(errors="surrogateescape")
    return f"{field}-{short}" if short.startswith(_OURS) else short


def _free(name: str, field: str, taken: set[str]) -> str:
    number, found = 1, name
    while found in taken:
        found = f"{field}-{name}" if number == 1 else f"{field}-{number}-{name}"
        number += 1
    return found
