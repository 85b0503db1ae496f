"""A report as one page of HTML: no script, no font, no picture and no style from elsewhere.

Knows where on the page each fact goes and how numbers are written for people. Computes no fact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from cli.chart_file import page_resource
from cli.report_charts import Drawn, attendance_strip, audit_chart, consortium_caption, consortium_course, site_course
from cli.report_words import RULES, another_run, answers_of, figures_of, what_stayed
from dp.stated import exact, no_less, no_more
from secagg.egress import Direction
from secagg.errors import InputError, TamperingError
from secagg.files import read_bounded, unreadable
from secagg.printable import printable
from training.reporting.budget import DataSetFacts, RunFacts
from training.reporting.document import ReportDocument
from training.reporting.integrity import Check
from training.reporting.report import Report, SiteFacts
from training.reporting.rounds import alike
from training.reporting.versions import Versions, versions

_CONTENTS: Final = (
    ("wrong", "Is anything wrong?"),
    ("budget", "Budget"),
    ("egress", "What left"),
    ("guarantee", "The promise"),
    ("audit", "The promise, tested"),
    ("rounds", "Who took part"),
    ("refusals", "Refusals"),
    ("integrity", "Integrity"),
    ("rules", "HIPAA and GDPR"),
    ("versions", "Versions"),
)
_STATES: Final = {"whole": "intact", "wrong": "does not fit", "absent": "not checked"}
# What the page's head says of its maker, and how far it may be from the start.
_GENERATOR: Final = b'<meta name="generator" content="secagg '
_HEAD: Final = 2048
_LARGEST_PAGE: Final = 1 << 29
# A page of more rows than this opens slowly; the JSON has all.
_MOST_MESSAGES: Final = 2000
_MOST_NAMED: Final = 12
_MOST_UNFOLDED: Final = 4


@dataclass(frozen=True)
class MessageRow:
    """A line of the egress log."""

    time: str
    stage: str
    round: int
    to: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class AttendanceRow:
    """One hospital over all sums; ``missing``: the rounds of those without it."""

    name: str
    strip: Markup
    present: int
    sums: int
    missing: str


def render_page(document: ReportDocument) -> str:
    """The page. The same document gives the same page, whatever its files are called."""
    report = document.report
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    environment.filters |= {"with_code": _with_code, "no_less": no_less, "no_more": no_more, "exact": exact}
    template = environment.from_string(page_resource("page.html"))
    folded = _folded(report)
    messages = _messages(document) if report.about == "site" else []
    return template.render(
        report=report,
        css=Markup(page_resource("colours.css") + page_resource("page.css")),  # noqa: S704 - our own file
        title=f"Privacy report: {_heading(report)}",
        heading=_heading(report),
        contents=_CONTENTS,
        states=_STATES,
        whole=sum(check.state == "whole" for check in report.checks),
        absent=sum(check.state == "absent" for check in report.checks),
        figures=figures_of(report),
        answers=answers_of(report),
        another=another_run,
        meter_class=_meter_class,
        meter_width=lambda data_set: 100 * min(1.0, data_set.share or 0.0),
        courses=_courses(report),
        course_caption=consortium_caption(report),
        checks=[check for check in report.checks if check not in folded],
        folded=folded,
        messages=messages[-_MOST_MESSAGES:],
        omitted=len(messages) > _MOST_MESSAGES,
        own_runs=lambda site: _own_runs(site, report.charter.digest),
        answered=_answered,
        days=_days,
        stayed=what_stayed(report),
        audit_chart=audit_chart(report.audit) if report.audit else None,
        builds=(report.audit.audit, *report.audit.controls.values()) if report.audit else (),
        attendance=_attendance(report),
        refusals=alike(report.transcript.refusals) if report.transcript else [],
        sums=sum(found.sum_sha256 is not None for found in report.transcript.rounds) if report.transcript else 0,
        rules=RULES,
        software=_software,
    )


def _shown(value: object) -> object:
    """What is put on the page: in others' text nothing that hides what stands beside it, or turns it round."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _with_code(text: str) -> Markup:
    """What is between backticks, as code."""
    text = printable(text)
    parts = [
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)


def _heading(report: Report) -> str:
    return report.sites[0].name if report.about == "site" else f"The consortium “{report.charter.name}”"


def _folded(report: Report) -> list[Check]:
    """Of many hospitals, the checks that a reader need not see one by one."""
    if len(report.sites) <= _MOST_UNFOLDED:
        return []
    starts = tuple(f"{site.name}: " for site in report.sites)
    return [check for check in report.checks if check.state == "whole" and check.what.startswith(starts)]


def _meter_class(data_set: DataSetFacts) -> str:
    return {0.8: "warn", 1.0: "full"}.get(data_set.alert or 0.0, "")


def _courses(report: Report) -> dict[str, Drawn]:
    if report.about == "site":
        sets = [data_set for site in report.sites for data_set in site.data_sets if data_set.course]
        return {data_set.data_set: site_course(data_set) for data_set in sets}
    drawn = consortium_course(report)
    return {"all": drawn} if drawn else {}


def _messages(document: ReportDocument) -> list[MessageRow]:
    (signed,) = document.records.sites
    names = [member.name for member in document.report.charter.members]
    own = document.report.charter.digest
    entries = signed.evidence.egress.entries if signed.evidence.egress else ()

    def recipient(charter: str, number: int) -> str:
        if number == 0:
            return "the coordinator"
        return names[number - 1] if charter == own else f"member {number}"

    return [
        MessageRow(
            entry.time, entry.stage, entry.round, recipient(entry.charter, entry.recipient), entry.bytes, entry.sha256
        )
        for entry in entries
        if entry.direction is Direction.SENT
    ]


def _own_runs(site: SiteFacts, charter: str) -> list[tuple[DataSetFacts, RunFacts]]:
    """What a hospital's ledger shows of the training that the report is about."""
    return [(data_set, run) for data_set in site.data_sets for run in data_set.runs if run.charter == charter]


def _answered(site: SiteFacts) -> int:
    return sum(row.round > 0 and row.messages > 0 for row in site.egress.rounds) if site.egress else 0


def _days(site: SiteFacts) -> str:
    days = [day.day for day in site.egress.days] if site.egress else []
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}, on {len(days)} days" if days else "none"


def _attendance(report: Report) -> list[AttendanceRow]:
    if report.transcript is None:
        return []
    # Of a round without a sum the coordinator's record says who is in none, and not who had answered.
    summed = [(found.round, frozenset(found.took_part)) for found in report.transcript.rounds if found.sum_sha256]
    rows = []
    for member in report.charter.members:
        present = [member.name in took_part for _, took_part in summed]
        missing = [number for (number, _), there in zip(summed, present, strict=True) if not there]
        strip = attendance_strip(member.name, present)
        rows.append(AttendanceRow(member.name, strip, sum(present), len(summed), _listed(missing)))
    return rows


def _listed(rounds: Sequence[int]) -> str:
    shown = ", ".join(map(str, rounds[:_MOST_NAMED]))
    return f"{shown} and {len(rounds) - _MOST_NAMED} more" if len(rounds) > _MOST_NAMED else shown


def _software(made: Versions) -> str:
    packages = ", ".join(f"{name} {release}" for name, release in made.packages.items())
    return f"{packages}, Python {made.python}"


def page_names(out: Path) -> tuple[Path, Path]:
    """The page, and the JSON beside it."""
    return out.with_suffix(".html"), out.with_suffix(".json")


def require_page(path: Path, document: ReportDocument) -> None:
    """Refuse a page that is not the one of ``document``.

    Raises:
        InputError: ``unreadable``, ``file-too-large``; ``other-version``, where another version drew it, perhaps
            otherwise.
        TamperingError: ``page-differs``.
    """
    if read_bounded(path, _LARGEST_PAGE) == render_page(document).encode():
        return
    maker, here = (found.packages.get("secagg") for found in (document.report.versions, versions()))
    if maker != here:
        raise InputError(
            "other-version",
            f"{path} cannot be compared with the report beside it: secagg {maker} wrote that, and this is {here}.",
            culprit=str(path),
            remedy="Verify it with that version, or move the page away to verify the figures alone.",
        )
    raise TamperingError(
        "page-differs",
        f"{path} is not the page of the report beside it: it was altered, or is that of an earlier one.",
        culprit=str(path),
        remedy="Do not rely on that page.",
    )


def is_page(path: Path) -> bool:
    """Whether the file is a page of `render_page`.

    Raises:
        InputError: ``unreadable``.
    """
    try:
        with path.open("rb") as file:
            return _GENERATOR in file.read(_HEAD)
    except OSError as error:
        raise unreadable(path, error) from error
