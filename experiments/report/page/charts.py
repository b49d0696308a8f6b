"""Line charts as inline SVG: no script, no file, no library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#1f4e79", "#c0504d", "#5a8f29", "#8064a2", "#d98400", "#2a9d8f", "#7f7f7f", "#b5477a")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 300, 60, 42, 14, 190


@dataclass(frozen=True)
class Line:
    """A named series of (x, y)."""

    name: str
    points: tuple[tuple[float, float], ...]


def line_chart(lines: Sequence[Line], x_label: str, y_label: str) -> str:
    """An SVG of all lines with axes and a legend; empty text without points."""
    points = [point for line in lines for point in line.points]
    if not points:
        return ""
    (x0, x1), (y0, y1) = (_span([p[axis] for p in points]) for axis in (0, 1))

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - BOTTOM - TOP)

    body = [_axes(x0, x1, y0, y1, x_label, y_label)]
    for i, line in enumerate(lines):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*p) for p in line.points))
        body.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.8" points="{path}"/>')
        body += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{colour}"/>' for x, y in (place(*p) for p in line.points)
        ]
        y = TOP + 14 + 18 * i
        body.append(f'<rect x="{WIDTH - RIGHT + 14}" y="{y - 8}" width="12" height="3" fill="{colour}"/>')
        body.append(f'<text x="{WIDTH - RIGHT + 32}" y="{y - 3}">{escape(line.name)}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" class="chart">{"".join(body)}</svg>'


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _axes(x0: float, x1: float, y0: float, y1: float, x_label: str, y_label: str) -> str:
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<path d="M{LEFT},{TOP} V{floor} H{right}" fill="none" stroke="#888"/>']
    for i in range(5):
        y = floor - i / 4 * (floor - TOP)
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{y0 + i / 4 * (y1 - y0):.3g}</text>')
        parts.append(f'<path d="M{LEFT},{y:.1f} H{right}" stroke="#eee"/>')
    for tick in sorted({round(x0 + i / 4 * (x1 - x0)) for i in range(5)}):  # steps are whole
        x = LEFT + (tick - x0) / (x1 - x0) * (right - LEFT)
        parts.append(f'<text x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{tick}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    middle = (floor + TOP) / 2
    parts.append(
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(y_label)}</text>'
    )
    return "".join(parts)
