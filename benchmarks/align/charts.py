"""Charts of the page that goes around: SVG in the page itself, coloured by its style sheet, light and dark.

Widths are in units that a phone shows as about one pixel each, so that text stays readable there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 34
INTERVAL_WIDTH, INTERVAL_HEIGHT = 180, 18
COLOURS = 8
"""Colours of the style sheet, `c0` and so on; after the last one they begin again, dashed."""


@dataclass(frozen=True)
class Dot:
    """A mean at `x`, its interval (NaN where there is none), and what a pointer on it reads."""

    x: float
    mean: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Line:
    """Dots in rising order of x; `colour` counts the legend's entries."""

    colour: int
    dots: Sequence[Dot]


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) within low … high, about `wanted` of them."""
    span = high - low
    if span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / wanted))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * wanted >= span)
    return [
        round(step * index, 10) for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def lines(title: str, x_name: str, y_name: str, drawn: Sequence[Line], span: tuple[float, float], off: float) -> str:
    """An SVG: the lines with their intervals over `x_name`, within `span` of y; dotted at y = `off`."""
    across = [dot.x for line in drawn for dot in line.dots]
    x_low, x_high = min(across), max(across)
    low, high = span

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (0.04 + 0.92 * (value - x_low) / ((x_high - x_low) or 1))

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / ((high - low) or 1)

    parts = []
    for value in ticks(low, high):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in sorted(set(across)):
        parts.append(f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{value:g}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 3}" text-anchor="middle">{escape(x_name)}</text>'
    )
    parts.append(f'<line class="off" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(off):.1f}" y2="{y(off):.1f}"/>')
    for index, line in enumerate(drawn):
        shift = 3.0 * (index - (len(drawn) - 1) / 2)  # intervals beside each other, not on each other
        parts.append(f'<g class="{classes(line.colour)}">')
        for dot in line.dots:
            if not math.isnan(dot.low) and dot.high > dot.low:
                at = x(dot.x) + shift
                parts.append(
                    f'<line class="bar" x1="{at:.1f}" x2="{at:.1f}" y1="{y(dot.low):.1f}" y2="{y(dot.high):.1f}"/>'
                )
        path = " ".join(f"{x(dot.x) + shift:.1f},{y(dot.mean):.1f}" for dot in line.dots)
        parts.append(f'<polyline points="{path}"/>')
        for dot in line.dots:
            place = f'cx="{x(dot.x) + shift:.1f}" cy="{y(dot.mean):.1f}" r="3.5"'
            parts.append(f"<circle {place}><title>{escape(dot.text)}</title></circle>")
        parts.append("</g>")
    label = escape(f"{title}: {y_name} against {x_name}")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def interval(low: float, middle: float, high: float, span: tuple[float, float], kind: str) -> str:
    """An SVG for a row of a table: the interval and its middle between the ends of `span`, which holds 0."""

    def x(value: float) -> float:
        return 6 + (INTERVAL_WIDTH - 12) * (value - span[0]) / ((span[1] - span[0]) or 1)

    centre = INTERVAL_HEIGHT / 2
    parts = [f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="0" y2="{INTERVAL_HEIGHT}"/>']
    if not math.isnan(low):
        parts.append(f'<line class="bar" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{centre}" y2="{centre}"/>')
    parts.append(f'<circle cx="{x(middle):.1f}" cy="{centre}" r="4"/>')
    size = f'viewBox="0 0 {INTERVAL_WIDTH} {INTERVAL_HEIGHT}"'
    return f'<svg class="interval {kind}" {size} aria-hidden="true">{"".join(parts)}</svg>'


def classes(index: int) -> str:
    """The style sheet's classes of the legend's entry `index`."""
    return f"c{index % COLOURS}" + (" dashed" if index >= COLOURS else "")
