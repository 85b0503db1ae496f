"""The pictures of a report, each drawn wide and narrow, in the colours of the page.

Knows which facts become which lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from markupsafe import Markup

from cli.audit_plot import audit_panels
from cli.chart import BLUE, FAINT, RED, Limit, Line, Panel
from cli.chart_file import wide_and_narrow
from dp.stated import exact, no_less
from training.auditing.record import PrivacyRecord
from training.reporting.budget import DataSetFacts
from training.reporting.report import Report

_MOST_LINES: Final = 8
_MOST_BEGINNINGS: Final = 6


@dataclass(frozen=True)
class Drawn:
    """One picture for a wide page and one for a phone; the style shows one of them."""

    wide: Markup
    narrow: Markup


def draw(panels: Sequence[Panel]) -> Drawn:
    """Draw ``panels`` for a page."""
    # What is drawn is escaped where it is drawn.
    return Drawn(*map(Markup, wide_and_narrow(panels)))


def site_course(data_set: DataSetFacts) -> Drawn:
    """What one data set's patients have spent over time, beside the budget."""
    points = [(0.0, 0.0), *((float(point.rounds), point.epsilon) for point in data_set.course)]
    line = Line(f"spent: {no_less(data_set.course[-1].epsilon, 2)}", points, BLUE)
    limits = [] if data_set.limit is None else [Limit(f"budget: {exact(data_set.limit)}", data_set.limit, RED)]
    limits += _beginnings(data_set)
    first, last = data_set.course[0].time[:10], data_set.course[-1].time[:10]
    when = first if first == last else f"{first} to {last}"
    return draw([Panel("Epsilon spent", f"rounds charged, {when}", "epsilon", [line], limits)])


def _beginnings(data_set: DataSetFacts) -> list[Limit]:
    """Where another charter's rounds begin."""
    groups = [list(points) for _, points in groupby(data_set.course, key=lambda point: point.charter)]
    if not 1 < len(groups) <= _MOST_BEGINNINGS:
        return []
    return [Limit(group[0].charter[:8], float(group[0].rounds), FAINT, vertical=True) for group in groups[1:]]


def consortium_course(report: Report) -> Drawn | None:
    """What this training has cost at each hospital, over its rounds; of many, the dearest and the cheapest."""
    lines = []
    for site in report.sites:
        for data_set in site.data_sets:
            points = [(float(point.rounds), point.epsilon) for point in data_set.course]
            if points:
                lines.append((site.name, [(0.0, 0.0), *points]))
    if not lines:
        return None
    lines.sort(key=lambda line: line[1][-1][1])
    if len(lines) > _MOST_LINES:
        lines = [lines[0], lines[-1]]
    lines = _without_twins(lines)
    drawn = [Line(f"{name}: {no_less(points[-1][1], 2)}", points, BLUE) for name, points in lines]
    budget = report.charter.budget
    limits = [Limit(f"charter: {exact(budget)}", budget, RED)] if budget else []
    return draw([Panel("Epsilon spent in this training", "rounds charged", "epsilon", drawn, limits)])


def consortium_caption(report: Report) -> str:
    """What is in that picture."""
    told = "What patients have spent in this training, after each round that was charged."
    if len(report.sites) > _MOST_LINES:
        return f"{told} Of {len(report.sites)} hospitals, those where it cost most and least are drawn."
    return f"{told} Where hospitals took part in the same rounds, their lines coincide."


def _without_twins(lines: list[tuple[str, list[tuple[float, float]]]]) -> list[tuple[str, list[tuple[float, float]]]]:
    """Lines that lie on one another are drawn once, under all their names."""
    names: dict[tuple[tuple[float, float], ...], list[str]] = {}
    for name, points in lines:
        names.setdefault(tuple(points), []).append(name)
    return [(same[0] if len(same) == 1 else f"{len(same)} hospitals", list(points)) for points, same in names.items()]


def audit_chart(audit: PrivacyRecord) -> Drawn:
    """Each run's bound against the claim; of the real build only."""
    return draw([replace(audit_panels(audit)[0], title="Lower bounds on epsilon")])


def attendance_strip(name: str, present: Sequence[bool]) -> Markup:
    """The sums from left to right, with a gap in the colour of the grid where one hospital is not in them."""
    count = max(1, len(present))
    parts = [Markup('<rect class="out" x="0" y="0" width="{}" height="1"/>').format(count)]
    place = 0
    for there, rounds in groupby(present):
        length = len(list(rounds))
        if there:
            parts.append(Markup('<rect class="in" x="{}" y="0" width="{}" height="1"/>').format(place, length))
        place += length
    label = f"{name}: in {sum(present)} of {len(present)} sums"
    return Markup(
        '<svg class="strip" viewBox="0 0 {} 1" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(count, label, Markup("").join(parts))
