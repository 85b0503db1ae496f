"""The picture of a plan: epsilon against rounds or steps, and accuracy against epsilon, by somebody's pilot runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Annotated, Final, Literal

import msgspec

from cli.chart import BLUE, FAINT, GREEN, ORANGE, RED, Limit, Line, Panel, Point
from cli.chart_file import write_chart
from dp.forecast import forecast_pld, forecast_reference
from dp.plan import PrivacyPlan
from dp.stated import exact, no_less
from secagg.errors import InputError
from secagg.files import read_bounded
from secagg.json_documents import MALFORMED

Unit = Literal["rounds", "steps"]
"""What a plan counts: a charter's rounds, each of several steps, or the steps of a run without a charter."""

# Points of a curve that costs next to nothing, and of one that takes a fraction of a second each.
_FINE: Final = 60
_ROUGH: Final = 8
_LARGEST_PILOT: Final = 1 << 20


class PilotPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one pilot run reached: ``accuracy`` from 0 to 1, at the epsilon that it cost."""

    epsilon: Annotated[float, msgspec.Meta(gt=0, le=1e6)]
    accuracy: Annotated[float, msgspec.Meta(ge=0, le=1)]


_PilotFile = Annotated[list[PilotPoint], msgspec.Meta(min_length=1, max_length=10_000)]


def read_pilot(path: Path) -> list[PilotPoint]:
    """The points of a pilot file, by rising epsilon.

    Raises:
        InputError: ``unreadable``, ``file-too-large``, ``malformed-pilot``.
    """
    try:
        points = msgspec.json.decode(read_bounded(path, _LARGEST_PILOT), type=_PilotFile)
    except MALFORMED as error:
        raise InputError(
            "malformed-pilot",
            f"{path} is not a list of pilot runs: {error}.",
            culprit=str(path),
            remedy='Write [{"epsilon": 3.0, "accuracy": 0.94}, …], with accuracies from 0 to 1.',
        ) from error
    return sorted(points, key=lambda point: (point.epsilon, point.accuracy))


def write_plot(path: Path, plan: PrivacyPlan, unit: Unit, limit: float | None, pilot: Sequence[PilotPoint]) -> None:
    """Draw ``plan`` into ``path``, as SVG or as a page of HTML that holds it; what is there is replaced.

    Args:
        unit: what the plan's rounds are called.
        limit: an epsilon that the run may cost, if there is one.

    Raises:
        InputError: ``unwritable``.
    """
    panels = [_epsilon_panel(plan, unit, limit)]
    if pilot:
        panels.append(_pilot_panel(pilot, plan.epsilon_after(plan.rounds)))
    write_chart(path, panels)


def _epsilon_panel(plan: PrivacyPlan, unit: Unit, limit: float | None) -> Panel:
    enforced = [(float(rounds), plan.epsilon_after(rounds)) for rounds in (0, *_spread(plan.rounds, _FINE))]
    lines = [Line(f"RDP, enforced: {no_less(enforced[-1][1], 2)}", enforced, BLUE)]
    tighter = _rough(plan, forecast_pld)
    if tighter:
        lines.append(Line(f"PLD: {no_less(tighter[-1][1], 2)}", tighter, ORANGE))
    reference = _rough(plan, forecast_reference)
    if reference:
        lines.append(Line(f"continuous, no bound: {no_less(reference[-1][1], 2)}", reference, FAINT, dashed=True))
    limits = [] if limit is None else [Limit(f"limit: {exact(limit)}", limit, RED)]
    return Panel(f"Privacy cost of the run, delta {plan.delta:g}", unit, "epsilon", lines, limits)


def _rough(plan: PrivacyPlan, cost: Callable[[PrivacyPlan, int], float | None]) -> list[Point]:
    """A few points of a curve that takes its time; none if it does not reach the end."""
    points = [(0.0, 0.0)]
    if cost(plan, plan.rounds) is None:
        return []
    for rounds in _spread(plan.rounds, _ROUGH):
        found = cost(plan, rounds)
        if found is not None:
            points.append((float(rounds), found))
    return points


def _pilot_panel(pilot: Sequence[PilotPoint], planned: float) -> Panel:
    dots = [(point.epsilon, point.accuracy) for point in pilot]
    means = [(cost, fmean(y for _, y in group)) for cost, group in groupby(dots, key=lambda dot: dot[0])]
    return Panel(
        "Accuracy in the pilot",
        "epsilon",
        "accuracy",
        [Line("mean of the pilot runs", means, GREEN, dots=dots)],
        [Limit(f"planned: {no_less(planned, 2)}", planned, BLUE, vertical=True)],
        from_zero=False,
    )


def _spread(rounds: int, count: int) -> list[int]:
    """At most ``count`` numbers of rounds, denser at the start, where epsilon rises fastest; the last is ``rounds``."""
    return sorted({max(1, round(rounds * (number / count) ** 2)) for number in range(1, count + 1)})
