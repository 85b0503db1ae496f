"""Line charts as SVG text: one panel each, self-contained, with no script, no font and no colour from elsewhere.

Knows points, labels and where they go on the paper. Knows nothing of what they mean.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean
from textwrap import wrap
from typing import Final, Literal

Point = tuple[float, float]
Scale = Literal["linear", "log"]

INK: Final = "#1f2933"
FAINT: Final = "#6b7785"
GRID: Final = "#e4e8ec"
PAPER: Final = "#ffffff"
BLUE: Final = "#1a4e8a"
GREEN: Final = "#2f6f4f"
ORANGE: Final = "#b4530a"
RED: Final = "#b00020"
_LABEL_HEIGHT: Final = 17
# How much less a label is moved whose line goes on to the edge that labels stand at.
_HELD: Final = 50.0
_NARROW_MARGIN: Final = 4
_LONG: Final = 10_000


@dataclass(frozen=True)
class Layout:
    """Where things go on one panel's paper, in pixels.

    Attributes:
        ticks: about so many on each axis.
        title: so many characters of it go on one line.
        labels: ``beside`` where each line ends, or ``above`` the panel, as a list.
    """

    width: int = 760
    height: int = 400
    left: int = 72
    right: int = 200
    top: int = 56
    bottom: int = 56
    ticks: int = 7
    title: int = 200
    labels: Literal["beside", "above"] = "beside"


WIDE: Final = Layout()
NARROW: Final = Layout(width=380, height=336, left=46, right=14, top=102, bottom=48, ticks=5, title=44, labels="above")


@dataclass(frozen=True)
class Line:
    """Points joined from left to right, with a label at the last one. ``dots``: drawn at each of them besides."""

    label: str
    points: Sequence[Point]
    colour: str
    dashed: bool = False
    dots: Sequence[Point] = ()


@dataclass(frozen=True)
class Limit:
    """A dashed line across the panel: at this height, or, if ``vertical``, at this place."""

    label: str
    value: float
    colour: str
    vertical: bool = False


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        from_zero: both axes begin at 0; otherwise the upright one begins near the lowest point.
        scale: of both axes; ``log``: of powers of ten, for points above 0.
    """

    title: str
    across: str
    upright: str
    lines: Sequence[Line]
    limits: Sequence[Limit] = ()
    from_zero: bool = True
    scale: Scale = "linear"


def svg(panels: Sequence[Panel], layout: Layout = WIDE) -> str:
    """All ``panels``, one below the other, as an SVG document."""
    height = layout.height * len(panels)
    title = escape("; ".join(panel.title for panel in panels))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {layout.width} {height}" width="{layout.width}" '
        f'height="{height}" '
        'role="img" font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{title}</title>",
        f'<rect width="{layout.width}" height="{height}" fill="{PAPER}"/>',
    ]
    for number, panel in enumerate(panels):
        parts.append(f'<g transform="translate(0 {number * layout.height})">')
        parts.extend(_Drawing(panel, layout).parts())
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


class _Drawing:
    """One panel on its paper."""

    def __init__(self, panel: Panel, layout: Layout) -> None:
        self._panel = panel
        self._layout = layout
        points = [point for line in panel.lines for point in (*line.points, *line.dots)]
        places = [x for x, _ in points] + [limit.value for limit in panel.limits if limit.vertical]
        heights = [y for _, y in points] + [limit.value for limit in panel.limits if not limit.vertical]
        if panel.scale == "log":
            self._across, self._upright = decades(places), decades(heights)
        else:
            # Of what is counted, such as runs, there are no halves.
            grain = 1 if all(float(place).is_integer() for place in places) else 0
            self._across = ticks(0.0, max(places), layout.ticks, grain)
            self._upright = ticks(0.0 if panel.from_zero else min(heights), max(heights), layout.ticks)

    def parts(self) -> Iterator[str]:
        """Everything that is drawn, from the back to the front."""
        yield from self._title()
        yield from self._axes()
        for limit in self._panel.limits:
            yield from self._limit(limit)
        for line in self._panel.lines:
            yield from self._line(line)
        yield from self._labels() if self._layout.labels == "beside" else self._listed_labels()

    def _title(self) -> Iterator[str]:
        lines = wrap(self._panel.title, self._layout.title)
        if len(lines) == 1:
            yield _text(self._margin, 26, lines[0], fill=INK, size=16, weight="600")
            return
        for number, line in enumerate(lines):
            yield _text(self._margin, 14 + 17 * number, line, fill=INK, size=14, weight="600")

    @property
    def _margin(self) -> float:
        """Where titles begin."""
        return self._layout.left if self._layout.labels == "beside" else _NARROW_MARGIN

    @property
    def _right(self) -> float:
        return self._layout.width - self._layout.right

    @property
    def _bottom(self) -> float:
        return self._layout.height - self._layout.bottom

    def _x(self, value: float) -> float:
        return self._layout.left + self._part(value, self._across) * (self._right - self._layout.left)

    def _y(self, value: float) -> float:
        return self._bottom - self._part(value, self._upright) * (self._bottom - self._layout.top)

    def _part(self, value: float, axis: Sequence[float]) -> float:
        """Where on an axis, from 0 to 1."""
        first, last = axis[0], axis[-1]
        if self._panel.scale == "log":
            return math.log(value / first) / math.log(last / first)
        return (value - first) / (last - first)

    def _axes(self) -> Iterator[str]:
        left, right, bottom = self._layout.left, self._right, self._bottom
        for tick in self._upright:
            y = self._y(tick)
            yield _stroke(left, y, right, y, GRID)
            yield _text(left - 10, y + 4, _number(tick), anchor="end")
        for tick in self._across:
            x = self._x(tick)
            yield _stroke(x, bottom, x, bottom + 5, FAINT)
            yield _text(x, bottom + 20, _number(tick), anchor="middle")
        yield _stroke(left, bottom, right, bottom, FAINT)
        yield _text((left + right) / 2, self._layout.height - 12, self._panel.across, anchor="middle", fill=INK)
        yield _text(self._margin, self._layout.top - 12, self._panel.upright, fill=INK)

    def _limit(self, limit: Limit) -> Iterator[str]:
        if limit.vertical:
            x = self._x(limit.value)
            yield _stroke(x, self._layout.top, x, self._bottom, limit.colour, dashed=True)
            # Without room at the right, the label of a line that is far over there is on its other side.
            if self._layout.labels == "above" and x > self._layout.width / 2:
                yield _text(x - 6, self._bottom - 8, limit.label, anchor="end", fill=limit.colour)
            else:
                yield _text(x + 6, self._bottom - 8, limit.label, fill=limit.colour)
        else:
            y = self._y(limit.value)
            yield _stroke(self._layout.left, y, self._right, y, limit.colour, dashed=True)

    def _line(self, line: Line) -> Iterator[str]:
        path = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in line.points)
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        yield (
            f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="2.2" '
            f'stroke-linejoin="round"{dash}/>'
        )
        for x, y in line.dots:
            yield f'<circle cx="{self._x(x):.1f}" cy="{self._y(y):.1f}" r="3.5" fill="{line.colour}"/>'

    def _labels(self) -> Iterator[str]:
        """Each at the right, beside where its line ends, moved apart where they would cover each other."""
        last = max((line.points[-1][0] for line in self._panel.lines), default=0.0)
        wanted = [
            # A label beside the end of another line would be taken for its.
            (self._y(y), line.label, line.colour, _HELD if x == last else 1.0)
            for line in self._panel.lines
            for x, y in line.points[-1:]
        ]
        wanted += [
            (self._y(limit.value), limit.label, limit.colour, _HELD)
            for limit in self._panel.limits
            if not limit.vertical
        ]
        wanted.sort()
        places = moved_apart([(y, weight) for y, _, _, weight in wanted], _LABEL_HEIGHT, self._bottom)
        for place, (_, label, colour, _) in zip(places, wanted, strict=True):
            yield _text(self._right + 8, place + 4, label, fill=colour)

    def _listed_labels(self) -> Iterator[str]:
        """In two columns under the title, where there is no room beside."""
        wanted = [(line.label, line.colour) for line in self._panel.lines]
        wanted += [(limit.label, limit.colour) for limit in self._panel.limits if not limit.vertical]
        column = (self._layout.width - _NARROW_MARGIN) / 2
        for place, (label, colour) in enumerate(wanted):
            x, y = _NARROW_MARGIN + column * (place % 2), 46 + _LABEL_HEIGHT * (place // 2)
            yield _text(x, y, label, fill=colour)


def moved_apart(heights: Sequence[tuple[float, float]], least: float, lowest: float) -> list[float]:
    """Heights, rising, moved so that they are ``least`` apart: those that crowd, about their middle.

    Args:
        heights: each with a weight: the more, the less it is moved.
        lowest: what ends low is never moved below it.
    """
    # Less what lies between a height and the first, those that crowd fall, or stand still.
    crowds: list[list[tuple[float, float]]] = []
    for number, (height, weight) in enumerate(heights):
        crowds.append([(height - number * least, weight)])
        while len(crowds) > 1 and _middle(crowds[-2]) >= _middle(crowds[-1]):
            last = crowds.pop()
            crowds[-1] += last
    level = lowest - (len(heights) - 1) * least
    found = [min(_middle(crowd), level) for crowd in crowds for _ in crowd]
    return [height + number * least for number, height in enumerate(found)]


def _middle(crowd: Sequence[tuple[float, float]]) -> float:
    heights, weights = zip(*crowd, strict=True)
    return fmean(heights, weights)


def ticks(low: float, high: float, count: int = WIDE.ticks, grain: int = 0) -> list[float]:
    """Round numbers in equal steps, ``count`` or so of them, from ``low`` or below to ``high`` or above.

    Args:
        grain: steps are multiples of it; 0 for any.
    """
    # Two that differ by a rounding error alone are one: steps as small would not be told apart.
    apart = not math.isclose(low, high, rel_tol=1e-9)
    span = high - low if apart else abs(high) or 1.0
    # Of smaller numbers there are no powers of ten to count in.
    rough = max(span / (count - 1), grain, sys.float_info.min)
    unit = 10.0 ** math.floor(math.log10(rough))
    steps = (unit * factor for factor in (1, 2, 2.5, 5, 10))
    step = next(step for step in steps if step >= rough * (1 - 1e-9) and not (grain and step % grain))
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [step * place for place in range(first, last + 1)]


def decades(values: Sequence[float]) -> list[float]:
    """The powers of ten from the smallest value or below to the largest or above: two or more."""
    first = math.floor(math.log10(min(values)) + 1e-9)
    last = max(math.ceil(math.log10(max(values)) - 1e-9), first + 1)
    return [10.0**power for power in range(first, last + 1)]


def _number(value: float) -> str:
    # From five digits on, thousands are easier to read apart.
    return f"{value:,.0f}" if value >= _LONG else f"{value:.6g}"


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="6 4" stroke-width="1.5"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{dash}/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", fill: str = FAINT, size: int = 13, weight: str = "400"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )
