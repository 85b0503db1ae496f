"""What the page of a report says beyond its figures: no more than its records show, whoever wrote into them."""

from __future__ import annotations

import re
from html import unescape

import pytest
from msgspec.structs import replace

from cli.report_page import render_page
from secagg.charter.folder import read_verified
from tests.cli.reporting import MEMBERS, flipped, site_report
from training.reporting.document import make_document
from training.reporting.records import Sources, gather_records
from training.reporting.rounds import RefusalFacts
from training.reporting.sites import read_sites
from training.reporting.versions import Versions


@pytest.fixture(scope="module")
def document(consortium):
    """The report of all on a finished run, in whose first round h2 was cut off."""
    place = consortium / "run"
    charter = read_verified(place / "charter")
    sources = Sources(place / "release", place / "coordinator/transcript")
    sites = read_sites([place / "hospitals" / name for name in MEMBERS], charter, sources.release)
    return make_document(charter, gather_records(charter, sites, sources))


def page_of(document, **changes):
    """The page, had the report said something else."""
    return unescape(render_page(replace(document, report=replace(document.report, **changes))))


def rows_of(page, section):
    """The cells of each row of a section's tables."""
    part = page[page.index(f'<section id="{section}"') :].partition("</section>")[0]
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", part, re.DOTALL))
    return [[re.sub(r"<[^>]*>", "", cell) for cell in row] for row in cells]


def test_the_hash_of_the_charter_can_be_compared_whole_on_paper_too(document):
    assert f'<span class="hash whole">{document.report.charter.digest}</span>' in page_of(document)


def test_who_missed_a_sum_is_said_of_each(document):
    rows = rows_of(page_of(document), "rounds")
    assert ["h1", "", "2 of 2", "none"] in rows
    assert ["h2", "", "1 of 2", "1"] in rows


def test_of_a_round_that_gave_no_sum_nobody_is_said_to_have_missed_it(document):
    transcript = document.report.transcript
    _, last = transcript.rounds
    failed = replace(last, round=3, took_part=(), missing=MEMBERS, sum_sha256=None)
    rows = rows_of(page_of(document, transcript=replace(transcript, rounds=(*transcript.rounds, failed))), "rounds")
    assert ["h1", "", "2 of 2", "none"] in rows
    assert ["3", "training", "0 of 4", "not known", "no sum"] in rows


def test_a_hospital_that_refuses_all_that_it_is_sent_has_one_line(document):
    refusals = tuple(RefusalFacts(number, "h3", "stopped", f"In round {number}.") for number in range(7, 1007))
    rows = rows_of(page_of(document, transcript=replace(document.report.transcript, refusals=refusals)), "refusals")
    assert rows[1:] == [["h3", "stopped", "7", "1000", "In round 7."]]


def test_that_a_transcript_holds_no_refusal_is_not_told_as_if_there_was_none(document):
    page = page_of(document, transcript=replace(document.report.transcript, refusals=()))
    assert "The transcript holds no refusal." in page
    assert "A coordinator can leave a refusal out of its transcript." in page
    assert "No hospital refused" not in page


def test_a_hospital_that_shows_no_ledger_has_its_line_among_the_costs(document):
    first, second, *others = document.report.sites
    page = page_of(document, sites=(first, replace(second, data_sets=()), *others))
    costs = [row[:2] for row in rows_of(page, "budget")[1:]]
    assert [name for name, _ in costs] == list(MEMBERS)
    assert costs[1][1].startswith("not known: it shows no ledger")


def test_nothing_that_a_hospital_writes_hides_or_turns_round_what_stands_beside_it(document):
    first, second, *others = document.report.sites
    odd = replace(second, versions=Versions("3.11\u202e\u200b", {"secagg": "0.1\x07"}))
    page = page_of(document, sites=(first, odd, *others))
    assert "The records of h2 with secagg 0.1\ufffd, Python 3.11\ufffd\ufffd." in page


def test_of_a_release_that_was_tampered_with_it_is_not_said_that_none_was_given(finished):
    path = finished / "release/statement.dsse.json"
    path.write_bytes(flipped(path.read_bytes(), path.stat().st_size // 2))
    report = site_report(finished)
    assert report.release is None
    assert report.findings
    assert "no-release" not in {notice.code for notice in report.notices}
    # Control: where none was.
    assert "no-release" in {notice.code for notice in site_report(finished, release=False).notices}
