"""Rows of text as a table that fits the terminal: columns that may be cut share what the others leave over.

Where the output is not a terminal nothing is cut. Rows are written in blocks, so that a million of them need
no memory; a column only grows from block to block.
"""

from __future__ import annotations

from jobd.cli.text import coloured, cut, pad, printable, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

BLOCK = 500
GAP = "  "
LEAST = 6
"""Columns that a column is not cut below."""


class Column:
    def __init__(self, heading: str, *, right: bool = False, flexible: bool = False) -> None:
        self.heading = heading
        self.right = right
        self.flexible = flexible
        """May be cut."""


def lines(
    columns: Sequence[Column],
    rows: Iterable[Sequence[str]],
    *,
    room: int | None = None,
    heading: bool = True,
    colour: bool = False,
) -> Iterator[str]:
    """The table's lines; `room`: the columns of the terminal, None: no limit."""
    widths = [width(column.heading) if heading else 0 for column in columns]
    for block in _blocks(rows):
        texts = [[printable(cell) for cell in row] for row in block]
        widths = [
            max(old, *map(width, cells)) for old, cells in zip(widths, zip(*texts, strict=True), strict=True)
        ]
        fitted = fit(widths, [column.flexible for column in columns], room)
        if heading:
            yield _line(columns, fitted, [column.heading for column in columns], False)
            heading = False
        for row in texts:
            yield _line(columns, fitted, row, colour)
    if heading:
        yield _line(columns, widths, [column.heading for column in columns], False)


def fit(widths: Sequence[int], flexible: Sequence[bool], room: int | None) -> list[int]:
    """The widths, the widest of the flexible ones made narrower until all fit into `room`."""
    fitted = list(widths)
    if room is None:
        return fitted
    over = sum(fitted) + len(GAP) * (len(fitted) - 1) - room
    while over > 0:
        candidates = [i for i, soft in enumerate(flexible) if soft and fitted[i] > LEAST]
        if not candidates:
            break
        fitted[max(candidates, key=fitted.__getitem__)] -= 1
        over -= 1
    return fitted


def _blocks(rows: Iterable[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
    block: list[Sequence[str]] = []
    for row in rows:
        block.append(row)
        if len(block) == BLOCK:
            yield block
            block = []
    if block:
        yield block


def _line(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str], colour: bool) -> str:
    parts = []
    last = len(cells) - 1
    for number, (column, size, cell) in enumerate(zip(columns, widths, cells, strict=True)):
        text = cut(cell, size)
        padded = text if number == last and not column.right else pad(text, size, column.right)
        parts.append(coloured(padded, cell) if colour else padded)
    return GAP.join(parts).rstrip()
