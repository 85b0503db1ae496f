"""The picture of an audit: each run's bound against the claim, of this build and of those that must be caught."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cli.chart import Limit, Line, Panel
from cli.chart_file import write_chart
from training.auditing.audit import Audit

_RUN: Final = "#1a4e8a"
_TOGETHER: Final = "#2f6f4f"
_CLAIM: Final = "#b00020"


def write_plot(path: Path, found: Audit, controls: Mapping[str, Audit]) -> None:
    """Draw into ``path``, as SVG or as a page of HTML that holds it; what is there is replaced.

    Args:
        controls: by what those builds lack.

    Raises:
        InputError: ``unwritable``.
    """
    title = f"Epsilon is at least, {found.mode}, delta {found.delta:g}, confidence {100 * found.confidence:g} %"
    panels = [_panel(title, found)]
    panels += [_panel(f"The same without {lacks}: must be caught", control) for lacks, control in controls.items()]
    write_chart(path, panels)


def _panel(title: str, found: Audit) -> Panel:
    dots = [(float(number), bound.epsilon) for number, bound in enumerate(found.runs, start=1)]
    lines = [Line("each run", dots, _RUN, dots=dots)]
    if len(dots) > 1:
        together = found.together.epsilon
        ends = [(0.0, together), (dots[-1][0], together)]
        lines.append(Line(f"all together: {together:.2f}", ends, _TOGETHER, dashed=True))
    return Panel(title, "run", "epsilon", lines, [Limit(f"claimed: {found.claim:.2f}", found.claim, _CLAIM)])
