"""The configuration's files laid over each other, and which of them each value came from.

Read in this order, each laid over what came before: jobd.yaml; `systems/*.yaml` beside it, one system per
file (its id is the file's name unless it says another); `conf.d/*.yaml`. Mappings merge key by key, `systems`
merges by id with those of earlier files, everything else (other lists too) is replaced. Knows nothing of what
the options mean.
"""

from __future__ import annotations

import os
from collections.abc import Set
from typing import Any, NamedTuple

from jobd import places
from jobd.errors import Fault, Invalid
from jobd.yamlfile import Document, Path, load


class _Origin(NamedTuple):
    document: Document
    path: Path


class Layers:
    """`value` is what all files together say; `faults` is what could not be read."""

    def __init__(self, file: str, required: bool, refused: Set[str] = frozenset()) -> None:
        """`refused`: keys that no file may have."""
        self.value: dict[str, Any] = {}
        self.faults: list[Fault] = []
        self._refused = refused
        self._origins: dict[Path, _Origin] = {}
        self._read_all(file, required)

    def fault(self, path: Path, problem: str, expected: str) -> Fault:
        """A fault at its place in the file that has the value; where nobody wrote it, without a place."""
        dotted = ".".join(map(str, path))
        near = path
        while near and near not in self._origins:
            near = near[:-1]
        if near not in self._origins:
            return Fault(dotted, problem, expected)
        document, start = self._origins[near]
        line, column = document.where((*start, *path[len(near) :]))
        return Fault(f"{document.name}:{line}:{column}: {dotted}", problem, expected)

    def _read_all(self, file: str, required: bool) -> None:
        if document := self._read(file, required):
            self._lay_file(document)
        for document in self._read_drop_ins(file, "systems"):
            document.value.setdefault("id", os.path.basename(document.name).rpartition(".")[0])
            self._lay_system(_Origin(document, ()), document.value, known=0)
        for document in self._read_drop_ins(file, "conf.d"):
            self._lay_file(document)

    def _read_drop_ins(self, file: str, name: str) -> list[Document]:
        try:
            found = places.drop_ins(file, name)
        except OSError as error:
            self.faults.append(Fault(str(error.filename), error.strerror or str(error)))
            return []
        return [document for path in found if (document := self._read(path))]

    def _read(self, path: str, required: bool = True) -> Document | None:
        try:
            document = load(path)
        except Invalid as error:
            self.faults += error.faults
        except OSError as error:
            if required or not isinstance(error, FileNotFoundError):
                self.faults.append(Fault(path, error.strerror or str(error)))
        else:
            if document.value is None:  # a file of comments alone
                document.value = {}
            if isinstance(document.value, dict):
                return document
            self.faults.append(document.fault((), "this is not a mapping", "option: value"))
        return None

    def _lay_file(self, document: Document) -> None:
        for key in self._refused & document.value.keys():
            self.faults.append(document.fault((key,), "there is no such option in a file"))
            del document.value[key]
        self._lay((), self.value, _Origin(document, ()), document.value)

    def _lay(self, at: Path, base: dict[str, Any], source: _Origin, over: dict[str, Any]) -> None:
        for key, value in over.items():
            here, origin = (*at, key), _below(source, key)
            if here == ("systems",) and isinstance(value, list):
                self._lay_systems(origin, value)
            elif isinstance(value, dict) and isinstance(base.get(key), dict):
                self._lay(here, base[key], origin, value)
            else:
                base[key] = value
                self._came(here, origin)

    def _lay_systems(self, source: _Origin, systems: list[Any]) -> None:
        if not isinstance(self.value.get("systems"), list):
            self.value["systems"] = []
            self._came(("systems",), source)
        known = len(self.value["systems"])
        for place, system in enumerate(systems):
            self._lay_system(_below(source, place), system, known)

    def _lay_system(self, source: _Origin, system: Any, known: int) -> None:
        """Over the one of the same id among the first `known`, which are those of earlier files; else
        beside them."""
        systems = self.value.setdefault("systems", [])
        ids = [one.get("id") if isinstance(one, dict) else None for one in systems[:known]]
        if isinstance(system, dict) and system.get("id") in ids:
            place = ids.index(system["id"])
            self._lay(("systems", place), systems[place], source, system)
        else:
            systems.append(system)
            self._came(("systems", len(systems) - 1), source)

    def _came(self, at: Path, origin: _Origin) -> None:
        """Notes where a value is from, which is where all that is in it is from."""
        self._origins = {path: other for path, other in self._origins.items() if path[: len(at)] != at}
        self._origins[at] = origin


def _below(origin: _Origin, step: str | int) -> _Origin:
    return _Origin(origin.document, (*origin.path, step))
