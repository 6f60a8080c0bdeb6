"""Plots the columns of CSV files against their first one, as SVG. The same data give the same bytes.

pyplot.py [--type=line|bar|point] [--height=512] [--xlabel=..] [--ylabel=..] [--background=white]
          [--legend] [--output=plot.svg] DATA.csv ..
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from html import escape

WIDTH_TO_HEIGHT = 1.6
MARGIN = 56
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")
TICKS = 5


class Series:
    """A column: its name, and a value for each place."""

    def __init__(self, name: str, values: list[float]) -> None:
        self.name = name
        self.values = values


def main() -> None:
    options = arguments()
    places: list[str] = []
    series: list[Series] = []
    heading = ""
    for path in options.data:
        heading, places, found = read(path)
        series += found
    if not places or not series:
        sys.exit("there is nothing to plot")
    options.xlabel = options.xlabel or heading
    with open(options.output, "w", encoding="utf-8") as file:
        file.write("\n".join(svg(options, places, series)) + "\n")
    print(f"{len(series)} series of {len(places)} values: {options.output}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--type", choices=("line", "bar", "point"), default="line")
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--xlabel", default="")
    parser.add_argument("--ylabel", default="")
    parser.add_argument("--background", default="white")
    parser.add_argument("--legend", action="store_true")
    parser.add_argument("--output", default="plot.svg")
    parser.add_argument("data", nargs="+")
    return parser.parse_args()


def read(path: str) -> tuple[str, list[str], list[Series]]:
    """The first heading, the first column as text, the others as numbers."""
    with open(path, encoding="utf-8", newline="") as file:
        heading, *rows = csv.reader(file)
    try:
        columns = [[float(row[place]) for row in rows] for place in range(1, len(heading))]
    except (ValueError, IndexError) as error:
        sys.exit(f"{path}: not a table of numbers: {error}")
    series = [Series(name, values) for name, values in zip(heading[1:], columns, strict=True)]
    return heading[0], [row[0] for row in rows], series


class Scale:
    """From values to pixels."""

    def __init__(self, options: argparse.Namespace, count: int, series: list[Series]) -> None:
        self.height = int(options.height)
        self.width = round(self.height * WIDTH_TO_HEIGHT)
        self.step = (self.width - 2 * MARGIN) / count
        values = [value for one in series for value in one.values]
        self.low, self.high = min(0.0, *values), max(0.0, *values)

    def x(self, place: float) -> float:
        """The middle of a place's share."""
        return MARGIN + self.step * (place + 0.5)

    def y(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.height - MARGIN - share * (self.height - 2 * MARGIN)


def svg(options: argparse.Namespace, places: list[str], series: list[Series]) -> Iterator[str]:
    scale = Scale(options, len(places), series)
    size = f'width="{scale.width}" height="{scale.height}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    yield f'<rect {size} fill="{escape(options.background)}"/>'
    yield from axes(options, scale, places)
    draw = {"line": line, "bar": bars, "point": points}[options.type]
    for number, one in enumerate(series):
        yield from draw(scale, one, COLOURS[number % len(COLOURS)], number, len(series))
    if options.legend:
        yield from legend(scale, series)
    yield "</svg>"


def axes(options: argparse.Namespace, scale: Scale, places: list[str]) -> Iterator[str]:
    right, bottom = scale.width - MARGIN, scale.height - MARGIN
    yield f'<path d="M{MARGIN} {MARGIN}V{bottom}H{right}" fill="none" stroke="black"/>'
    for number in range(TICKS + 1):
        value = scale.low + (scale.high - scale.low) * number / TICKS
        yield text(MARGIN - 6, scale.y(value) + 4, f"{value:.4g}", "end")
    every = -(-len(places) // 12)
    for number in range(0, len(places), every):
        yield text(scale.x(number), bottom + 16, places[number], "middle")
    yield text(scale.width / 2, scale.height - 12, options.xlabel, "middle")
    turned = f'transform="rotate(-90 14 {scale.height / 2:.1f})"'
    yield text(14, scale.height / 2, options.ylabel, "middle", turned)


def text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(words)}</text>'


def line(scale: Scale, one: Series, colour: str, number: int, count: int) -> Iterator[str]:
    way = " ".join(f"{scale.x(place):.1f},{scale.y(value):.1f}" for place, value in enumerate(one.values))
    yield f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>'


def points(scale: Scale, one: Series, colour: str, number: int, count: int) -> Iterator[str]:
    for place, value in enumerate(one.values):
        yield f'<circle cx="{scale.x(place):.1f}" cy="{scale.y(value):.1f}" r="3" fill="{colour}"/>'


def bars(scale: Scale, one: Series, colour: str, number: int, count: int) -> Iterator[str]:
    width = scale.step * 0.8 / count
    for place, value in enumerate(one.values):
        left = scale.x(place) + (number - count / 2) * width
        top, bottom = sorted((scale.y(value), scale.y(0.0)))
        size = f'width="{width:.1f}" height="{bottom - top:.1f}"'
        yield f'<rect x="{left:.1f}" y="{top:.1f}" {size} fill="{colour}"/>'


def legend(scale: Scale, series: list[Series]) -> Iterator[str]:
    for number, one in enumerate(series):
        y = MARGIN + 18 * number
        colour = COLOURS[number % len(COLOURS)]
        yield f'<rect x="{scale.width - MARGIN - 90}" y="{y}" width="12" height="12" fill="{colour}"/>'
        yield text(scale.width - MARGIN - 72, y + 11, one.name, "start")


if __name__ == "__main__":
    main()
