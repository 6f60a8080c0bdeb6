"""YAML and JSON files, with the line and column of every value: what the configuration and `jobctl -f` share.

The parser's events are walked here without recursion, so that a file costs what its size says:
* aliases are refused (a few lines of them can stand for a billion values); so are tags, and a second
  document;
* plain words are read as YAML 1.2 has them, not 1.1: `no`, `12:30`, `010`, `1_000`, `2026-11-23` stay text;
* keys are always text, as written, and none may come twice.
A name that ends in .json is read by json, which is stricter (YAML takes `{"a":1, "b":}`); its positions
come from a small tokenizer. Faults are jobd.errors.Fault with a field like `job.yaml:6:5:
notifications.0.event`.

yaml is imported only when a file is read, because that costs as much as all of jobctl.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from jobd.errors import Fault, Invalid

SIZE_LIMIT = 16 * 1024 * 1024
DEPTH_LIMIT = 100
NODE_LIMIT = 1_000_000

Path = tuple[str | int, ...]
Position = tuple[int, int]
"""Line and column, from 1."""


class Document:
    """A file's plain data, and where each of its values stands."""

    def __init__(self, name: str, value: Any, positions: dict[Path, Position]) -> None:
        self.name = name
        self.value = value
        self._positions = positions

    def where(self, path: Path) -> Position:
        """Line and column of a key or list item; of what should hold it, where it is missing."""
        while path and path not in self._positions:
            path = path[:-1]
        return self._positions.get(path, (1, 1))

    def fault(self, path: Path, problem: str, expected: str = "") -> Fault:
        """A fault that says where in the file it is."""
        return _fault(self.name, self.where(path), problem, expected, path)

    def located(self, fault: Fault) -> Fault:
        """A fault of the daemon's reply, whose field is dotted ("3.maxRunTime"), with its place in this
        file."""
        line, column = self.place(fault)
        return Fault(
            f"{self.name}:{line}:{column}: {fault.field}".removesuffix(": "), fault.problem, fault.expected
        )

    def place(self, fault: Fault) -> Position:
        """Where in this file such a fault was made."""
        return self.where(self._path(fault.field))

    def _path(self, dotted: str) -> Path:
        """Keys may hold dots themselves, so the longest key that is there counts."""
        value, path, words = self.value, [], dotted.split(".")
        while words:
            step: str | int = words[0]
            size = 1
            if isinstance(value, list) and words[0].isdecimal():
                step = int(words[0])
            elif isinstance(value, dict):
                sizes = range(len(words), 1, -1)
                size = next((n for n in sizes if ".".join(words[:n]) in value), 1)
                step = ".".join(words[:size])
            path.append(step)
            words = words[size:]
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                value = None
        return tuple(path)


def load(path: str) -> Document:
    """The file at `path`: YAML, or JSON if so named. Raises Invalid, or OSError where it cannot be read."""
    with open(path, "rb") as file:
        return parse(file.read(SIZE_LIMIT + 1), path)


def parse(content: bytes | str, name: str) -> Document:
    """The same, of what has been read already. `name` is what faults show, and what tells JSON from YAML."""
    content = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    if len(content) > SIZE_LIMIT:
        raise Invalid(Fault(name, f"is larger than {SIZE_LIMIT // 1024 // 1024} MB"))
    text = _decoded(content, name)
    return (_parse_json if name.endswith(".json") else _parse_yaml)(text, name)


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise Invalid(_fault(name, (line, column), "this is not UTF-8 text")) from error


def _fault(name: str, position: Position, problem: str, expected: str = "", path: Path = ()) -> Fault:
    place = f"{name}:{position[0]}:{position[1]}"
    return Fault(f"{place}: {'.'.join(map(str, path))}" if path else place, problem, expected)


class _Builder:
    """Plain data out of a flat run of openings, closings, keys and scalars, as both parsers give them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.value: Any = None
        self.positions: dict[Path, Position] = {}
        self._open: list[tuple[Any, Path]] = []
        self._keys: list[str | None] = []
        """For each open collection the key that waits for its value."""

    def wants_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1][0], dict) and self._keys[-1] is None

    def key(self, text: str, position: Position) -> None:
        collection, path = self._open[-1]
        if text in collection:
            first = self.positions[(*path, text)]
            raise self.error(
                position, "this key comes twice", f"once; the first is on line {first[0]}", (*path, text)
            )
        self._keys[-1] = text
        self.positions[(*path, text)] = position

    def add(self, value: Any, position: Position) -> Path:
        """Puts a value where it belongs; its path."""
        path: Path = ()
        if self._open:
            path = self._put(*self._open[-1], value)
        else:
            self.value = value
        self.positions.setdefault(path, position)
        if len(self.positions) > NODE_LIMIT:
            raise self.error(position, f"there are more than {NODE_LIMIT:,} values")
        return path

    def _put(self, collection: Any, path: Path, value: Any) -> Path:
        if isinstance(collection, list):
            collection.append(value)
            return (*path, len(collection) - 1)
        key, self._keys[-1] = self._keys[-1], None
        assert key is not None
        collection[key] = value
        return (*path, key)

    def open(self, collection: dict[str, Any] | list[Any], position: Position) -> None:
        if self.wants_key():
            raise self.error(position, "a list or mapping cannot be a key", "text")
        if len(self._open) >= DEPTH_LIMIT:
            raise self.error(position, f"this is nested more than {DEPTH_LIMIT} levels deep")
        self._open.append((collection, self.add(collection, position)))
        self._keys.append(None)

    def close(self) -> None:
        self._open.pop()
        self._keys.pop()

    def error(self, position: Position, problem: str, expected: str = "", path: Path = ()) -> Invalid:
        return Invalid(_fault(self.name, position, problem, expected, path))

    def document(self) -> Document:
        return Document(self.name, self.value, self.positions)


# ---- YAML


def _parse_yaml(text: str, name: str) -> Document:
    import yaml

    builder = _Builder(name)
    documents = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                raise builder.error(_start(event), "a second document starts here", "one per file")
            _take(builder, event)
    except yaml.MarkedYAMLError as error:
        raise Invalid(_syntax_fault(name, text, error)) from error
    except yaml.reader.ReaderError as error:
        position = _position(text, error.position)
        raise Invalid(_fault(name, position, "this character is not allowed in YAML")) from error
    return builder.document()


def _take(builder: _Builder, event: Any) -> None:
    """One event of the parser."""
    position, kind = _start(event), type(event).__name__
    if kind == "AliasEvent":
        raise builder.error(position, "aliases (*name) are not taken here", "the value itself")
    if getattr(event, "tag", None):
        raise builder.error(position, f"tags ({event.tag}) are not taken here", "a plain value")
    if kind == "ScalarEvent":
        if builder.wants_key():
            builder.key(event.value, position)
        else:
            builder.add(_plain(event.value) if event.implicit[0] else event.value, position)
    elif kind == "MappingStartEvent":
        builder.open({}, position)
    elif kind == "SequenceStartEvent":
        builder.open([], position)
    elif kind in ("MappingEndEvent", "SequenceEndEvent"):
        builder.close()


_WORDS = {"": None, "~": None, "true": True, "false": False, "null": None}
_WORDS |= {form: value for word, value in _WORDS.items() for form in (word.capitalize(), word.upper())}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def _plain(text: str) -> Any:
    """What a word without quotes means. A number out of all proportion stays text: it may be a hash,
    12e4567."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > 40:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text) and abs(number := float(text)) != float("inf"):
        return number
    return text


def _start(event: Any) -> Position:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _syntax_fault(name: str, text: str, error: Any) -> Fault:
    mark = error.problem_mark or error.context_mark
    position = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    if _character(text, position) == "\t":
        return _fault(name, position, "there is a tab here", "spaces: YAML takes no tabs for indentation")
    problem = str(error.problem or error)
    if error.context:
        problem += f", {error.context}"
        if error.context_mark and error.context_mark.line != mark.line:
            problem += f" that starts on line {error.context_mark.line + 1}"
    return _fault(name, position, f"this is not YAML: {problem}")


def _character(text: str, position: Position) -> str:
    line = text.split("\n", position[0])[position[0] - 1 : position[0]]
    return line[0][position[1] - 1 : position[1]] if line else ""


def _position(text: str, offset: int) -> Position:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


# ---- JSON

_TOKEN = re.compile(r'[\s,:]*("(?:[^"\\]|\\.)*"|[\[\]{}]|[^\s,:\[\]{}"]+)', re.DOTALL)


def _parse_json(text: str, name: str) -> Document:
    """json says whether it is right; the tokenizer, which may trust that, where everything stands."""
    import json

    builder = _Builder(name)
    tokens = _json_events(text, json.loads)
    try:
        json.loads(text, parse_constant=_no_constant)
        for kind, value, position in tokens:
            _take_json(builder, kind, value, position)
    except json.JSONDecodeError as error:
        position = (error.lineno, error.colno)
        raise Invalid(_fault(name, position, f"this is not JSON: {error.msg}")) from error
    except RecursionError as error:
        raise Invalid(Fault(name, f"is nested more than {DEPTH_LIMIT} levels deep")) from error
    except ValueError as error:
        raise Invalid(Fault(name, f"is not JSON: {error}")) from error
    return builder.document()


def _take_json(builder: _Builder, kind: str, value: Any, position: Position) -> None:
    if kind == "scalar" and builder.wants_key():
        builder.key(value, position)
    elif kind == "scalar":
        path = builder.add(value, position)
        if value in (float("inf"), -float("inf")):
            raise builder.error(position, "this number is too large", path=path)
    elif kind == "close":
        builder.close()
    else:
        builder.open(value, position)


def _json_events(text: str, loads: Callable[[str], Any]) -> Iterator[tuple[str, Any, Position]]:
    line, start = 1, 0
    for found in _TOKEN.finditer(text):
        token, begin = found[1], found.start(1)
        skipped = text.count("\n", found.start(), begin)
        if skipped:
            line, start = line + skipped, text.rfind("\n", found.start(), begin) + 1
        position = (line, begin - start + 1)
        if token in "[{":
            yield "open", {} if token == "{" else [], position
        elif token in "]}":
            yield "close", None, position
        else:
            yield "scalar", loads(token), position


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a number of JSON")
