"""How time and memory grow with the number of objects, as SVG. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from benchmarks.compare.figures import Row, number

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 50
COLOURS = ("#0b6bcb", "#c2410c", "#6b7280")

_START = "ConfigMaps: start to each reconciled once"
_PLOTS = {
    "growth-time": f"{_START}, wall",
    "growth-memory": f"{_START}, resident memory after it",
}

_HEAD = f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"
 font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>"""

Points = Sequence[tuple[float, float]]


def growth(rows: Iterable[Row], peers: Sequence[str]) -> Mapping[str, str]:
    """Draw, by name of the picture, what was measured at more than one size."""
    every = list(rows)
    pictures = {}
    for name, title in _PLOTS.items():
        chosen = [row for row in every if row.title == title]
        lines = {
            peer: [
                (row.objects, statistics.median(row.samples[peer]))
                for row in chosen
                if row.samples.get(peer)
            ]
            for peer in peers
        }
        lines = {peer: points for peer, points in lines.items() if len(points) > 1}
        if lines:
            pictures[name] = picture(f"{title}, {chosen[0].unit}", lines)
    return pictures


def picture(title: str, lines: Mapping[str, Points]) -> str:
    """Draw lines by name, both axes logarithmic."""
    every = [point for points in lines.values() for point in points]
    across = _Axis([x for x, _ in every], LEFT, WIDTH - RIGHT)
    up = _Axis([y for _, y in every], HEIGHT - BOTTOM, TOP)
    parts = [
        _HEAD,
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>',
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 10}" text-anchor="end">objects</text>',
    ]
    for tick in across.ticks():
        x = across.at(tick)
        parts.append(_rule(x, TOP, x, HEIGHT - BOTTOM))
        parts.append(_label(number(tick), x, HEIGHT - BOTTOM + 16, "middle"))
    for tick in up.ticks():
        y = up.at(tick)
        parts.append(_rule(LEFT, y, WIDTH - RIGHT, y))
        parts.append(_label(number(tick), LEFT - 8, y + 4, "end"))
    for (name, points), colour in zip(lines.items(), COLOURS, strict=False):
        parts += _line(name, [(across.at(x), up.at(y)) for x, y in points], colour)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="#e5e7eb"/>'


def _label(label: str, x: float, y: float, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{label}</text>'


def _line(name: str, points: Points, colour: str) -> Iterable[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for x, y in points:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
    x, y = points[-1]
    yield f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{colour}">{escape(name)}</text>'


class _Axis:
    """A logarithmic scale that holds all values, in whole steps of 1, 2 and 5."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        self._low = max(step for step in _steps(min(values)) if step <= min(values))
        self._high = min(step for step in _steps(max(values)) if step >= max(values))
        if self._low == self._high:
            self._high *= 10
        self._begin, self._end = begin, end

    def at(self, value: float) -> float:
        """Return the place of a value."""
        share = math.log(value / self._low) / math.log(self._high / self._low)
        return self._begin + share * (self._end - self._begin)

    def ticks(self) -> Iterable[float]:
        """Yield the values to write down."""
        power = math.floor(math.log10(self._low))
        while 10**power <= self._high:
            for step in (10**power * factor for factor in (1, 2, 5)):
                if self._low <= step <= self._high:
                    yield step
            power += 1


def _steps(value: float) -> Iterable[float]:
    power = math.floor(math.log10(value))
    return [10 ** (power + n) * factor for n in (-1, 0, 1) for factor in (1, 2, 5)]
