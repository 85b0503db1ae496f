"""`secagg budget plan`: the price of a run before it starts, and the noise for a price."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from cli.budget_plot import write_plot
from cli.chart import NARROW, Limit, Line, Panel, moved_apart, svg, ticks
from dp.accounting import epsilon_rdp, noise_multiplier_for
from dp.events import GaussianEvent
from dp.plan import PrivacyPlan
from dp.shares import Cohort, NoiseShares
from tests.cli.outcome import UNUSABLE, nothing_written

PLAN = ("budget", "plan")
# Without sampling everything is fast.
RUN = ("--sampling-rate", "1", "--steps", "20")
TINY = ("--delta", "1e-300")


@pytest.fixture
def pilot(here):
    points = [{"epsilon": 8, "accuracy": 0.95}, {"epsilon": 1, "accuracy": 0.9}, {"epsilon": 1, "accuracy": 0.92}]
    (here / "pilot.json").write_text(json.dumps(points))
    return here / "pilot.json"


def texts(path):
    """Every text of a drawing, which is well-formed and loads nothing from elsewhere."""
    root = ElementTree.fromstring(path.read_text())
    assert not any("href" in name or name == "src" for element in root.iter() for name in element.attrib)
    return [element.text for element in root.iter() if element.tag.endswith("}text")]


# --- Options -------------------------------------------------------------------------------------------------


def test_a_target_gives_the_noise_and_what_it_costs_by_three_accountants(secagg):
    found = secagg(*PLAN, "--target-epsilon", "3", *RUN, "--json").json
    assert found["noise_multiplier"] == noise_multiplier_for(3.0, 1e-5, 1.0, 20)
    total = found["epsilon"]
    assert (total["rounds"], found["limit"], found["fits"], found["charter"]) == (20, 3, True, None)
    assert 2.9 < total["rdp"] <= 3
    assert 2.5 < total["pld"] < total["prv"] < total["rdp"]
    assert total["gaussian_reference"] is None


def test_the_price_is_told_after_each_quarter(secagg):
    after = secagg(*PLAN, "--noise-multiplier", "5", *RUN, "--json").json["after"]
    assert [entry["rounds"] for entry in after] == [5, 10, 15, 20]
    for entry in after:
        assert entry["rdp"] == pytest.approx(epsilon_rdp((GaussianEvent(5.0, 1.0, entry["rounds"]),), 1e-5))
    few = secagg(*PLAN, "--noise-multiplier", "5", "--sampling-rate", "1", "--steps", "2", "--json").json["after"]
    assert [entry["rounds"] for entry in few] == [1, 2]


def test_a_person_reads_a_table_and_a_verdict(secagg):
    shown = secagg(*PLAN, "--target-epsilon", "3", *RUN).shown
    for part in ("20 steps, delta 1e-05", "RDP (enforced) PRV PLD", "A ledger will count", "within the target of 3"):
        assert part in shown


@pytest.mark.parametrize(
    "options",
    [("--noise-multiplier", "0.3", "--sampling-rate", "1", "--steps", "1"), ("--target-epsilon", "3", *RUN, *TINY)],
    ids=["hardly any noise", "a tiny delta"],
)
def test_where_only_one_accountant_applies_it_is_said_with_all_that_may_be_why(secagg, options):
    outcome = secagg(*PLAN, *options)
    assert "Left out: PRV and PLD. There is too little noise" in outcome.shown
    assert "or delta or the sampling rate is beyond their precision" in outcome.shown
    assert " - - " in f"{outcome.shown} "


def test_control_where_all_apply_none_is_said_to_be_left_out(secagg):
    assert "Left out" not in secagg(*PLAN, "--target-epsilon", "3", *RUN).shown


@pytest.mark.parametrize(
    ("options", "mention"),
    [
        ((), "--target-epsilon, --noise-multiplier or --charter"),
        (("--target-epsilon", "3", "--noise-multiplier", "1", *RUN), "one of the three"),
        (("--target-epsilon", "3"), "--sampling-rate and --steps"),
        (("--target-epsilon", "nan", *RUN), "--target-epsilon"),
        (("--noise-multiplier", "0", *RUN), "--noise-multiplier"),
        (("--noise-multiplier", "1", "--sampling-rate", "1.5", "--steps", "2"), "--sampling-rate"),
        (("--noise-multiplier", "1", *RUN, "--delta", "0.5"), "--delta"),
        (("--noise-multiplier", "1", *RUN, "--plot", "plan.png"), ".svg"),
        (("--noise-multiplier", "1", *RUN, "--pilot", "pilot.json"), "--plot"),
        (("--charter", "c", "--steps", "2"), "--steps"),
        (("--charter", "c", "--delta", "1e-5"), "--delta"),
    ],
)
def test_options_that_contradict_each_other_are_refused(secagg, here, options, mention):
    with nothing_written(here):
        secagg(*PLAN, *options).failed(UNUSABLE, "usage", mention, "secagg budget plan --help")


def test_a_target_that_no_noise_reaches_is_refused(secagg):
    secagg(*PLAN, "--target-epsilon", "1e-9", *RUN).failed(UNUSABLE, "unreachable-epsilon", "20 steps")


@pytest.mark.parametrize("more", [[], ["--plot", "plan.svg"]])
def test_noise_that_no_epsilon_covers_is_refused(secagg, here, more):
    with nothing_written(here):
        told = secagg(*PLAN, "--noise-multiplier", "1e-170", *RUN, *more)
        told.failed(UNUSABLE, "unreachable-epsilon", "Raise the noise multiplier")


# --- Charters ------------------------------------------------------------------------------------------------


def test_a_charter_is_priced_before_it_starts(secagg, finished):
    found = secagg(*PLAN, "--charter", finished / "charter", "--json").json
    spent = secagg("budget", "show", finished / "hospitals/h1", "--json").json[0]
    assert found["charter"] == spent["runs"][0]["charter"]
    assert found["epsilon"]["rdp"] == pytest.approx(spent["epsilon"])
    assert (found["mode"], found["limit"], found["fits"], found["rounds"]) == ("local", 8, True, 2)
    shown = secagg(*PLAN, "--charter", finished / "charter").shown
    assert f"Charter {found['charter'][:16]}, mode local" in shown
    assert "within the charter's budget of 8" in shown


def test_a_charter_without_privacy_has_no_price(secagg, simulate, here):
    assert simulate().code == 0
    secagg(*PLAN, "--charter", "run/charter").failed(UNUSABLE, "no-privacy", "run/charter", "--dp")


def test_a_folder_without_a_charter_is_refused(secagg, here):
    secagg(*PLAN, "--charter", "nowhere").failed(UNUSABLE, "unreadable", "nowhere")


# --- Plots ---------------------------------------------------------------------------------------------------


def test_epsilon_is_drawn_against_steps_and_accuracy_against_epsilon(secagg, here, pilot):
    options = ("--target-epsilon", "3", *RUN, "--plot", "plan.svg", "--pilot", pilot)
    assert "Drawn: plan.svg" in secagg(*PLAN, *options).shown
    written = texts(here / "plan.svg")
    for part in ("Privacy cost of the run, delta 1e-05", "steps", "epsilon", "limit: 3", "RDP, enforced: 3.00"):
        assert part in written
    for part in ("Accuracy in the pilot", "accuracy", "planned: 3.00", "mean of the pilot runs"):
        assert part in written
    assert any(text.startswith("PLD: 2.") for text in written)
    assert (here / "plan.svg").read_text().count("<circle") == 3


def test_that_of_a_charter_is_drawn_against_its_rounds(secagg, finished, here):
    assert secagg(*PLAN, "--charter", finished / "charter", "--plot", "plan.svg").code == 0
    assert "rounds" in texts(here / "plan.svg")


def test_a_page_holds_the_same_drawing(secagg, here):
    options = (*PLAN, "--noise-multiplier", "5", *RUN, "--json", "--plot")
    for name in ("plan.svg", "plan.html"):
        assert secagg(*options, name).code == 0
    page = (here / "plan.html").read_text()
    assert page.startswith("<!doctype html>")
    wide, narrow = page.split("<svg ")[1:]
    assert wide.startswith('class="wide"')
    assert texts(here / "plan.svg") == re.findall(r"<text [^>]*>([^<]*)</text>", wide)
    assert narrow.startswith('class="narrow"')
    for part in ("Privacy cost of the run, delta 1e-05", "steps", "epsilon"):
        assert f">{part}</text>" in narrow
    assert "<script" not in page


def test_a_page_fits_a_phone_and_is_dark_where_the_reader_s_screen_is(secagg, here):
    assert secagg(*PLAN, "--noise-multiplier", "5", *RUN, "--plot", "plan.html").code == 0
    head, *drawings = (here / "plan.html").read_text().split("<svg")
    drawn = "".join(drawings)
    # A phone gets a drawing of its own, in which letters are not made small.
    assert re.search(
        r"@media \(max-width: [^)]*\) { svg.wide { display: none; } svg.narrow { display: block; } }", head
    )
    assert [int(re.search(r' width="(\d+)"', drawing)[1]) for drawing in drawings] == [760, 380]
    assert 'name="viewport" content="width=device-width' in head
    assert "prefers-color-scheme: dark" in head
    assert not re.search(r'"#[0-9a-f]+"', drawn)
    assert set(re.findall(r"var\((--[a-z]+)\)", drawn)) <= set(re.findall(r"(--[a-z]+):", head))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'[{"epsilon": 1}]',
        b'[{"epsilon": 0, "accuracy": 0.5}]',
        b'[{"epsilon": 1, "accuracy": 94}]',
        b'[{"epsilon": 1, "accuracy": 0.5, "seed": 1}]',
    ],
)
def test_a_pilot_that_is_none_is_refused_before_anything_is_drawn(secagg, here, content):
    (here / "pilot.json").write_bytes(content)
    with nothing_written(here):
        outcome = secagg(*PLAN, "--noise-multiplier", "5", *RUN, "--plot", "plan.svg", "--pilot", "pilot.json")
        outcome.failed(UNUSABLE, "malformed-pilot", "pilot.json", '"accuracy": 0.94')


def test_a_place_that_cannot_be_written_to_is_told(secagg, here):
    (here / "plan").write_text("")
    outcome = secagg(*PLAN, "--noise-multiplier", "5", *RUN, "--plot", "plan/plan.svg")
    outcome.failed(UNUSABLE, "unwritable", "plan/plan.svg")


def test_for_integer_noise_the_continuous_one_is_drawn_and_named_as_no_bound(here):
    shares = NoiseShares(
        cohort=Cohort(hospitals=5, threshold=4, colluding=1),
        noise="skellam",
        field_bits=32,
        noise_multiplier=5.0,
        clip_norm=1.0,
        most_patients=256,
        dimension=900,
    )
    plan = PrivacyPlan(
        mode="distributed",
        noise_multiplier=5.0,
        clip_norm=1.0,
        sampling_rate=1.0,
        delta=1e-5,
        rounds=20,
        steps_per_round=1,
        shares=shares,
    )
    write_plot(here / "plan.svg", plan, "rounds", None, [])
    written = texts(here / "plan.svg")
    assert any(text.startswith("continuous, no bound") for text in written)
    assert not any(text.startswith(("PLD", "limit")) for text in written)


# --- Charts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0, 3), (0, 0.017), (0, 14_062), (0.86, 0.954), (0.9, 0.9), (0, 0), (5, 5.0001)]
)
def test_ticks_are_round_few_and_reach_from_end_to_end(low, high):
    found = ticks(low, high)
    assert found[0] <= low + 1e-9
    assert found[-1] >= high - 1e-9
    assert 2 <= len(found) <= 10
    assert all(len(f"{tick:.6g}") <= 8 for tick in found)


@pytest.mark.parametrize("high", [1, 2, 3, 7, 12, 14, 15, 20, 66, 1001])
@pytest.mark.parametrize("count", [5, 7])
def test_on_an_axis_of_what_is_counted_there_are_no_halves(high, count):
    found = ticks(0, high, count, grain=1)
    assert found[0] == 0
    assert high <= found[-1] <= max(1, 2 * high)
    assert all(float(tick).is_integer() for tick in found)
    drawn = svg([Panel("", "run", "epsilon", [Line("", [(0, 0.1), (high, 0.2)], "#000")])])
    assert ">0.5<" not in drawn


@pytest.mark.parametrize("value", [0.9815613116946829, 0.0424, 10.9, 1e9, 0.0])
def test_values_that_differ_by_a_rounding_error_have_an_axis_too(value):
    found = ticks(value, math.nextafter(value, math.inf))
    assert found[0] < found[-1]


def test_labels_never_cover_each_other_and_text_is_escaped():
    lines = [Line(f"<{number}>", [(0, 0), (1, 1 - number / 1000)], "#000") for number in range(4)]
    drawn = svg([Panel("a & b", "x", "y", lines, [Limit("z", 1.0, "#111")])])
    root = ElementTree.fromstring(drawn)
    labels = [element for element in root.iter() if element.text in {"<0>", "<1>", "<2>", "<3>", "z"}]
    heights = sorted(float(element.get("y")) for element in labels)
    assert len(heights) == 5
    assert min(second - first for first, second in pairwise(heights)) >= 15


@pytest.mark.parametrize(
    ("heights", "places"),
    [
        ([10, 100, 300], [10, 100, 300]),
        # About the middle of those that crowd, and not all of them above the last.
        ([100, 102, 104], [85, 102, 119]),
        # One that they then reach belongs to them.
        ([80, 100, 102, 104], [71, 88, 105, 122]),
        # None under the axis.
        ([340, 342, 344], [310, 327, 344]),
        ([], []),
    ],
)
def test_labels_that_crowd_are_moved_no_further_from_where_they_belong_than_they_must(heights, places):
    assert moved_apart([(height, 1.0) for height in heights], 17, 344) == pytest.approx(places, abs=1)


def test_where_labels_crowd_that_of_a_line_which_ends_at_the_edge_stays_at_its_end():
    short = [Line(f"short {number}", [(0, 1), (1, 5 + number / 100)], "#000") for number in range(5)]
    whole = Line("whole", [(0, 1), (2, 5.02)], "#111")
    root = ElementTree.fromstring(svg([Panel("", "", "", [*short, whole])]))
    (label,) = (float(element.get("y")) for element in root.iter() if element.text == "whole")
    end = next(one.get("points") for one in root.iter() if one.get("stroke") == "#111").split(",")[-1]
    assert abs(label - 4 - float(end)) < 6


def test_a_narrow_chart_has_its_labels_above_and_within_the_paper():
    panel = Panel("T", "across", "upright", [Line("one", [(0, 0), (4, 2)], "#123456")], [Limit("top", 3, "#b00020")])
    drawn = svg([panel], NARROW)
    assert f'viewBox="0 0 {NARROW.width} {NARROW.height}"' in drawn
    for label in ("one", "top"):
        (x, y) = map(float, re.search(rf'<text x="([\d.]+)" y="([\d.]+)"[^>]*>{label}</text>', drawn).groups())
        assert x < NARROW.width / 2 + 10
        assert y < NARROW.top - 12


def test_a_long_title_goes_on_two_lines_of_a_narrow_chart_and_on_one_of_a_wide():
    title = "Lower bounds on epsilon, distributed, delta 1e-05, confidence 95 %"
    panel = Panel(title, "run", "epsilon", [Line("each run", [(0.0, 1.0), (5.0, 2.0)], "blue")])
    assert f">{title}</text>" in svg([panel])
    lines = re.findall(r'font-weight="600">([^<]*)<', svg([panel], NARROW))
    assert " ".join(lines) == title
    assert max(map(len, lines)) <= NARROW.title


def test_the_label_of_an_upright_line_stays_on_the_paper_of_a_narrow_chart():
    panel = Panel(
        "p",
        "x",
        "y",
        [Line("l", [(0.0, 0.0), (8.0, 1.0)], "blue")],
        [Limit("planned: 8.00", 8.0, "red", vertical=True)],
    )
    assert re.search(r'text-anchor="end"[^>]*>planned: 8.00<', svg([panel], NARROW))
    assert re.search(r'text-anchor="start"[^>]*>planned: 8.00<', svg([panel]))
