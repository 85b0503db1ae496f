"""What a report says in words is so under the charter that it is about."""

from __future__ import annotations

from msgspec.structs import replace

from cli.report_words import what_stayed
from secagg.charter.folder import read_charter
from tests.cli.conftest import furnished
from tests.cli.reporting import site_report

SHARED_NOISE = ("--dp", "distributed", "--sampling-rate", "1", "--epsilon", "50", "--rounds", "1", "--no-compare")


def stayed(report, about):
    (line,) = (line for line in what_stayed(report) if about in line)
    return line


def test_noise_that_the_coordinator_is_shown_is_not_said_to_have_stayed(secagg, tmp_path):
    folder = furnished(tmp_path, hospitals=4)
    given = ("--task", folder / "task.toml", "--data", folder / "data", "--out", folder / "run")
    assert secagg("simulate", *given, *SHARED_NOISE).code == 0
    assert read_charter(folder / "run/charter").privacy.noise_levels == (4,)
    line = stayed(site_report(folder / "run"), "which patients were drawn")
    assert "the noise that stays in a sum. If more hospitals are in it than were counted on" in line
    assert "the noise that was drawn" not in line


def test_control_noise_of_which_none_is_surplus_is(finished):
    assert stayed(site_report(finished), "which patients were drawn").endswith("and the noise that was drawn.")


def test_of_how_many_hospitals_a_sum_is_it_promises_no_more_than_is_sure_among_neighbours(finished):
    report = site_report(finished)
    assert report.charter.surely_summed > 2
    among_neighbours = replace(report, charter=replace(report.charter, surely_summed=2))
    assert "with those of others, at least 2 in all." in stayed(among_neighbours, "Its update in a readable form")
