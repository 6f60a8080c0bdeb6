r"""Regular expressions in time linear in the text, for searching by somebody else's pattern.

Python's `re` backtracks: 25 characters can take it seconds, in which it holds the interpreter's lock and the
daemon stands still. Here a pattern becomes a small nondeterministic automaton (Thompson's), which runs as a
deterministic one whose states are made when first met. Only "does it match anywhere" is asked, so there are
no captures, and greedy and lazy mean the same. Upper and lower case are not told apart, as in `like`. What
such an automaton cannot do (back-references, look-around) is refused.

    x . \d \w \s [a-z] [^a-z]   a b   a|b   (a)   (?:a)   a*   a+   a?   a{2}   a{2,}   a{2,5}   ^   $
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

_LONGEST_PATTERN = 200
_MOST_NODES = 400
_DEEPEST = 20
_MOST_REMEMBERED = 4000

Test = Callable[[str], bool]
_Build = Callable[[int], int]
"""Adds its nodes to the automaton so that they lead on to the given node, and returns the entry."""

_CLASSES: dict[str, Test] = {
    "d": str.isdecimal,
    "w": lambda char: char.isalnum() or char == "_",
    "s": str.isspace,
}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_REPEAT = re.compile(r"\{(\d{1,3})(,(\d{0,3}))?\}", re.ASCII)


def _one(wanted: str) -> Test:
    folded = wanted.lower()
    return lambda char: char.lower() == folded


def _not(test: Test) -> Test:
    return lambda char: not test(char)


def _range(low: str, high: str) -> Test:
    return lambda char: low <= char <= high or low <= char.swapcase() <= high


def _any_of(tests: Iterable[Test]) -> Test:
    every = tuple(tests)
    return lambda char: any(test(char) for test in every)


class Regex:
    """Raises ValueError, in words, when the pattern cannot be taken."""

    def __init__(self, pattern: str) -> None:
        if len(pattern) > _LONGEST_PATTERN:
            raise ValueError(f"a pattern has at most {_LONGEST_PATTERN} characters")
        self._nodes: list[tuple[str, Test | None, tuple[int, ...]]] = []
        final = self._node("match")
        self._entry = _Parser(pattern, self._node, self._patch).whole()(final)
        self._again = self._closure([self._entry], frozenset())
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def search(self, text: str) -> bool:
        """Does it match anywhere in the text?"""
        state = self._closure([self._entry], frozenset({"start"}))
        for char in text:
            if 0 in state:
                return True
            state = self._steps.get((state, char)) or self._step(state, char)
        last = frozenset({"end"}) if text else frozenset({"end", "start"})
        return 0 in self._closure(state, last)

    def _node(self, kind: str, test: Test | None = None, *onward: int) -> int:
        if len(self._nodes) >= _MOST_NODES:
            raise ValueError("the pattern is too large: its counted repetitions are multiplied out")
        self._nodes.append((kind, test, onward))
        return len(self._nodes) - 1

    def _patch(self, node: int, *onward: int) -> None:
        kind, test, _ = self._nodes[node]
        self._nodes[node] = (kind, test, onward)

    def _closure(self, nodes: Iterable[int], where: frozenset[str]) -> frozenset[int]:
        """All that is reached without reading a character; anchors are crossed only where they hold."""
        found: set[int] = set()
        to_see = list(nodes)
        while to_see:
            node = to_see.pop()
            if node not in found:
                found.add(node)
                kind, _, onward = self._nodes[node]
                if kind == "split" or kind in where:
                    to_see.extend(onward)
        return frozenset(found)

    def _step(self, state: frozenset[int], char: str) -> frozenset[int]:
        onward: list[int] = []
        for node in state:
            _, test, targets = self._nodes[node]
            if test and test(char):
                onward.extend(targets)
        if len(self._steps) >= _MOST_REMEMBERED:
            self._steps.clear()
        reached = self._steps[state, char] = self._closure(onward, frozenset()) | self._again
        return reached


class _Parser:
    """Reads a pattern from left to right into functions that build the automaton from its end."""

    def __init__(self, pattern: str, node: Callable[..., int], patch: Callable[..., None]) -> None:
        self.left = pattern
        self.depth = 0
        self.node = node
        self.patch = patch

    def whole(self) -> _Build:
        build = self._alternatives()
        if self.left:
            raise ValueError("a ) without its (")
        return build

    def _take(self, text: str) -> bool:
        if not self.left.startswith(text):
            return False
        self.left = self.left[len(text) :]
        return True

    def _next(self) -> str:
        if not self.left:
            raise ValueError("the pattern ends too early")
        char, self.left = self.left[0], self.left[1:]
        return char

    def _alternatives(self) -> _Build:
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        if len(branches) == 1:
            return branches[0]
        return lambda onward: self.node("split", None, *(branch(onward) for branch in branches))

    def _sequence(self) -> _Build:
        parts: list[_Build] = []
        while self.left and self.left[0] not in "|)":
            parts.append(self._repeated(self._atom()))

        def build(onward: int) -> int:
            for part in reversed(parts):
                onward = part(onward)
            return onward

        return build

    def _repeated(self, part: _Build) -> _Build:
        least, most = self._count()
        if (least, most) == (1, 1):
            return part
        self._take("?")  # lazy
        if self.left[:1] in {"*", "+", "?"}:
            raise ValueError(f"nothing to repeat before {self.left[0]!r}")

        def build(onward: int) -> int:
            if most is None:
                onward = self._loop(part, onward)
            for _ in range((most or least) - least):
                onward = self.node("split", None, part(onward), onward)
            for _ in range(least):
                onward = part(onward)
            return onward

        return build

    def _loop(self, part: _Build, onward: int) -> int:
        fork = self.node("split", None)
        self.patch(fork, part(fork), onward)
        return fork

    def _count(self) -> tuple[int, int | None]:
        if self._take("*"):
            return 0, None
        if self._take("+"):
            return 1, None
        if self._take("?"):
            return 0, 1
        found = _REPEAT.match(self.left)
        if not found:
            return 1, 1
        self._take(found[0])
        least = int(found[1])
        most = least if found[2] is None else int(found[3]) if found[3] else None
        if most is not None and most < least:
            raise ValueError(f"{found[0]} asks for more than it allows")
        return least, most

    def _atom(self) -> _Build:
        char = self._next()
        if char == "(":
            return self._group()
        if char in "*+?":
            raise ValueError(f"nothing to repeat before {char!r}")
        if char in "^$":
            kind = "start" if char == "^" else "end"
            return lambda onward: self.node(kind, None, onward)
        test = self._test(char)
        return lambda onward: self.node("char", test, onward)

    def _test(self, char: str) -> Test:
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape()
        return (lambda _: True) if char == "." else _one(char)

    def _group(self) -> _Build:
        if self.left.startswith("?") and not self._take("?:"):
            raise ValueError("look-around and other (?..) groups cannot be taken")
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError(f"at most {_DEEPEST} groups in each other")
        build = self._alternatives()
        self.depth -= 1
        if not self._take(")"):
            raise ValueError("a ( without its )")
        return build

    def _escape(self) -> Test:
        char = self._next()
        if char.lower() in _CLASSES:
            test = _CLASSES[char.lower()]
            return test if char.islower() else _not(test)
        return _one(self._plain(char))

    def _plain(self, escaped: str) -> str:
        if escaped in _CONTROLS:
            return _CONTROLS[escaped]
        if escaped.isalnum():
            raise ValueError(f"\\{escaped} cannot be taken")
        return escaped

    def _class(self) -> Test:
        negated = self._take("^")
        tests = [self._member(self._next())]
        while not self._take("]"):
            tests.append(self._member(self._next()))
        return _not(_any_of(tests)) if negated else _any_of(tests)

    def _member(self, low: str) -> Test:
        if low == "\\":
            if self.left[:1].lower() in _CLASSES:
                return self._escape()
            low = self._plain(self._next())
        if not self.left.startswith("-") or self.left.startswith("-]"):
            return _one(low)
        self._next()
        high = self._next()
        high = self._plain(self._next()) if high == "\\" else high
        if high < low:
            raise ValueError(f"the range {low}-{high} is empty")
        return _range(low, high)


@lru_cache(maxsize=32)
def compiled(pattern: str) -> Regex:
    return Regex(pattern)


def matches(pattern: str, text: str | None) -> bool:
    """What SQL calls for `text REGEXP pattern`; no text, no match."""
    return text is not None and compiled(pattern).search(str(text))
