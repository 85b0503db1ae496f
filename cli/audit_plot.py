"""The picture of an audit: each run's bound against the claim, of this build and of those that must be caught."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cli.chart import BLUE, GREEN, RED, Limit, Line, Panel
from cli.chart_file import write_chart
from dp.stated import no_less, no_more
from training.auditing.record import BuildRecord, PrivacyRecord


def write_plot(path: Path, found: PrivacyRecord) -> None:
    """Draw into ``path``, as SVG or as a page of HTML that holds it; what is there is replaced.

    Raises:
        InputError: ``unwritable``.
    """
    write_chart(path, audit_panels(found))


def audit_panels(found: PrivacyRecord) -> Sequence[Panel]:
    """This build, and below it those that lack something."""
    audit = found.audit
    title = f"Lower bounds on epsilon, {found.mode}, delta {audit.delta:g}, confidence {100 * audit.confidence:g} %"
    panels = [_panel(title, audit)]
    panels += [_panel(f"The same without {build.lacks}: must be caught", build) for build in found.controls.values()]
    return panels


def _panel(title: str, found: BuildRecord) -> Panel:
    dots = [(float(number), bound.epsilon) for number, bound in enumerate(found.runs, start=1)]
    lines = [Line("each run", dots, BLUE, dots=dots)]
    if len(dots) > 1:
        together = found.together.epsilon
        ends = [(0.0, together), (dots[-1][0], together)]
        lines.append(Line(f"all together: {no_more(together, 2)}", ends, GREEN, dashed=True))
    return Panel(title, "run", "epsilon", lines, [Limit(f"claimed: {no_less(found.claim, 2)}", found.claim, RED)])
