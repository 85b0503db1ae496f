"""`secagg bench`: a run that is small and real, its tables and plots, and two runs beside each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import msgspec
import pytest

from benchmarks.sweep.folder import ENVIRONMENT_FILE, ROWS_FILE, read_run
from benchmarks.sweep.measurement import Cost, Measurement
from benchmarks.sweep.targets import TARGETS_FILE, Figure
from cli.chart import Line, Panel, decades, svg
from cli.main import run
from tests.cli.outcome import FAILED, UNUSABLE, copy_of, nothing_written

REPOSITORY = Path(__file__).parents[2]
SMALL = ("--scheme", "plain", "--hospitals", "3", "--parameters", "100", "--dropout", "0", "--turns", "1")


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one case; read only."""
    folder = tmp_path_factory.mktemp("bench") / "run"
    assert run(["bench", "run", *SMALL, "--out", str(folder)]) == 0
    return folder


def slower(folder: Path, factor: float, yardsticks: float | None = None, **changes: object) -> Path:
    """Its rows as if all had taken so many times as long, in yardsticks too; of a case with ``changes``."""

    def slow(cost: Cost) -> Cost:
        if cost.cpu is None:
            return cost
        counted = (yardsticks or factor) * (cost.yardsticks + 0.1)
        return msgspec.structs.replace(cost, cpu=factor * (cost.cpu + 0.1), yardsticks=counted)

    rows = []
    for row in read_run(folder).rows:
        if isinstance(row, Measurement):
            case = msgspec.structs.replace(row.case, **changes)
            row = msgspec.structs.replace(row, costs=tuple(slow(cost) for cost in row.costs), case=case)
        rows.append(msgspec.json.encode(row))
    (folder / ROWS_FILE).write_bytes(b"\n".join(rows) + b"\n")
    return folder


def test_a_run_leaves_what_others_read_and_goes_on_without_measuring_again(secagg, measured, tmp_path):
    folder = copy_of(measured, tmp_path / "run")
    before = (folder / ROWS_FILE).read_bytes()
    outcome = secagg("bench", "run", *SMALL, "--out", folder, "--json")
    assert (folder / ROWS_FILE).read_bytes() == before
    assert outcome.json["cases"] == 1
    assert {Path(file).name for file in outcome.json["files"]} == {
        "results.json", "results.csv", "results.md", "results.tex",
    }  # fmt: skip
    assert json.loads((folder / "results.json").read_bytes())["machine_info"]["cpu"]["count"] >= 1


def kept(folder: Path) -> subprocess.CompletedProcess[str]:
    """What the benchmark of Shamir's shares says when it is to keep its figures beside a run."""
    command = [sys.executable, "-m", "pytest", "benchmarks/bench_shamir.py", "-q", "-p", "no:cacheprovider"]
    # In a worker of xdist nothing is timed.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    environment = outside | {"SECAGG_BENCH": "brief"}
    where = {"cwd": REPOSITORY, "env": environment}
    return subprocess.run([*command, f"--keep={folder}"], capture_output=True, text=True, check=False, **where)


def test_figures_that_are_kept_beside_a_run_are_in_its_files(secagg, measured, tmp_path):
    folder = copy_of(measured, tmp_path / "run")
    assert "Targets" not in (folder / "results.md").read_text()
    process = kept(folder)
    assert process.returncode == 0, process.stdout
    assert "Targets" in (folder / "results.md").read_text()
    assert "Targets" in (folder / "results.tex").read_text()
    assert "Targets" in secagg("bench", "table", folder).out


def test_figures_are_not_measured_for_a_run_of_another_revision(measured, tmp_path):
    folder = copy_of(measured, tmp_path / "run")
    environment = json.loads((folder / ENVIRONMENT_FILE).read_bytes())
    (folder / ENVIRONMENT_FILE).write_text(json.dumps(environment | {"revision": "earlier"}))
    process = kept(folder)
    assert process.returncode == pytest.ExitCode.USAGE_ERROR
    assert "revision was earlier and is" in process.stderr
    assert not (folder / TARGETS_FILE).exists()


def test_all_cases_of_a_folder_are_counted_also_those_of_an_earlier_run(secagg, measured, tmp_path):
    folder = slower(copy_of(measured, tmp_path / "run"), 1, parameters=10_000)
    assert "2 cases are in" in secagg("bench", "run", *SMALL, "--out", folder).out


def test_what_is_not_on_this_machine_is_neither_measured_nor_counted(secagg, tmp_path, monkeypatch):
    monkeypatch.setenv("SECAGG_FLOWER_PYTHON", str(tmp_path / "none"))
    only = ("bench", "run", "--scheme", "flower", "--hospitals", "3", "--parameters", "100", "--turns", "1")
    with nothing_written(tmp_path):
        secagg(*only, "--out", tmp_path / "run").failed(UNUSABLE, "no-flower", "make flower")
    both = secagg("bench", "run", *SMALL, "--scheme", "flower", "--out", tmp_path / "run")
    assert "1 case is in" in both.out
    assert "Flower" not in secagg("bench", "table", tmp_path / "run").out
    assert "Left out: flower: " in both.err


def test_a_run_that_was_stopped_before_its_first_row_has_nothing_to_show(secagg, measured, tmp_path):
    stopped = copy_of(measured, tmp_path / "run")
    (stopped / ROWS_FILE).write_bytes(b"")
    secagg("bench", "plot", stopped).failed(UNUSABLE, "nothing-to-plot")
    for row in (b"", (measured / ROWS_FILE).read_bytes()[:40]):
        (stopped / ROWS_FILE).write_bytes(row)
        secagg("bench", "table", stopped).failed(UNUSABLE, "nothing-measured", stopped, "secagg bench run")
    secagg("bench", "compare", measured, stopped).failed(UNUSABLE, "nothing-in-common")


def test_tables_come_in_three_notations(secagg, measured):
    assert "| plain FedAvg, float32 |" in secagg("bench", "table", measured).out
    assert r"\toprule" in secagg("bench", "table", measured, "--format", "latex").out
    assert secagg("bench", "table", measured, "--format", "csv").out.startswith("scheme,hospitals,parameters,")
    (table,) = secagg("bench", "table", measured, "--json").json
    assert "plain FedAvg, float32" in {row[0] for row in table["rows"]}
    both = secagg("bench", "table", measured, "--json", "--format", "csv")
    assert "leave out --format" in both.error["message"]


def test_a_run_agrees_with_itself(secagg, measured, tmp_path):
    first = slower(copy_of(measured, tmp_path / "first"), 1)
    outcome = secagg("bench", "compare", first, first)
    assert outcome.code == 0
    assert "agree within 15 %" in outcome.out


def test_a_run_that_takes_half_as_long_again_is_told_case_by_case(secagg, measured, tmp_path):
    first = slower(copy_of(measured, tmp_path / "first"), 1)
    second = slower(copy_of(measured, tmp_path / "second"), 1.5)
    outcome = secagg("bench", "compare", first, second)
    assert outcome.code == FAILED
    assert "beyond 15 %" in outcome.out
    assert "No: 4 of 4 times" in outcome.out
    outcome = secagg("bench", "compare", first, second, "--json")
    assert outcome.code == FAILED
    assert {round(one["ratio"], 2) for one in json.loads(outcome.out)["ratios"]} == {1.5}


def test_a_ratio_of_single_operations_that_has_changed_is_told_with_both_values(secagg, measured, tmp_path):
    first = slower(copy_of(measured, tmp_path / "first"), 1)
    second = copy_of(first, tmp_path / "second")
    for folder, value in ((first, 0.8), (second, 1.0)):
        figures = [Figure("signing, of hashing", value, "", at_least=0.75), Figure("signing", value, "ms")]
        (folder / TARGETS_FILE).write_bytes(msgspec.json.encode(figures))
    outcome = secagg("bench", "compare", first, second)
    assert outcome.code == FAILED
    assert "0.800     1.00   1.25  beyond 15 %   signing, of hashing" in outcome.out
    assert "Yes: all 4 times" in outcome.out
    assert "No: 1 of 1 ratios of single operations differ by more than 15 %." in outcome.out
    outcome = secagg("bench", "compare", first, first)
    assert outcome.code == 0
    assert "Yes: all 1 ratios of single operations agree within 15 %." in outcome.out


def test_on_a_machine_that_is_half_as_fast_a_run_of_as_many_yardsticks_agrees(secagg, measured, tmp_path):
    first = slower(copy_of(measured, tmp_path / "first"), 1)
    second = slower(copy_of(measured, tmp_path / "second"), 2.0, yardsticks=1.0)
    outcome = secagg("bench", "compare", first, second)
    assert outcome.code == 0
    assert "Yes: all 4 times of 1 ms or more agree within 15 %, in yardsticks." in outcome.out
    assert "look at the seconds" not in outcome.out


def test_of_runs_on_two_machines_it_is_said_that_yardsticks_differ_too(secagg, measured, tmp_path):
    first = slower(copy_of(measured, tmp_path / "first"), 1)
    second = slower(copy_of(measured, tmp_path / "second"), 2.0, yardsticks=1.0)
    environment = json.loads((second / ENVIRONMENT_FILE).read_bytes())
    (second / ENVIRONMENT_FILE).write_text(json.dumps(environment | {"cpu": "slower"}))
    outcome = secagg("bench", "compare", first, second)
    assert "and is slower." in outcome.out
    assert "a yardstick is shorter as well: look at the seconds too." in outcome.out


def test_a_run_of_fewer_turns_is_compared_and_that_is_told(secagg, measured, tmp_path):
    first = slower(copy_of(measured, tmp_path / "first"), 1)
    (again,) = (line for line in (first / ROWS_FILE).read_bytes().splitlines(True) if b'"kind":"time"' in line)
    second = copy_of(first, tmp_path / "second")
    with (second / ROWS_FILE).open("ab") as file:
        file.write(again.replace(b'"turn":1', b'"turn":2'))
    outcome = secagg("bench", "compare", first, second)
    assert "The number of turns differs, and in seconds the best of more is shorter: plain n=3" in outcome.out


def test_a_plot_has_a_line_for_each_scheme_at_two_points(secagg, measured, tmp_path):
    folder = copy_of(measured, tmp_path / "run")
    more = slower(copy_of(measured, tmp_path / "more"), 2, parameters=10_000)
    with (folder / ROWS_FILE).open("ab") as file:
        file.write((more / ROWS_FILE).read_bytes())
    outcome = secagg("bench", "plot", folder, "--out", tmp_path / "figures")
    (path,) = outcome.out.split()
    texts = [one.text for one in ElementTree.fromstring(Path(path).read_text()).iter() if one.tag.endswith("}text")]
    assert {"plain", "parameters", "100", "10,000"} <= set(texts)
    assert secagg("bench", "plot", folder, "--out", tmp_path / "figures", "--json").json == [str(path)]


def test_what_cannot_be_drawn_is_refused(secagg, measured, tmp_path):
    with nothing_written(tmp_path):
        secagg("bench", "plot", measured, "--out", tmp_path / "figures").failed(UNUSABLE, "nothing-to-plot", measured)


@pytest.mark.parametrize("command", [("table",), ("plot",), ("compare", "elsewhere")])
def test_a_folder_without_a_run_is_refused(secagg, here, command):
    with nothing_written(here):
        secagg("bench", *command, here / "data").failed(UNUSABLE, "not-a-run")
        secagg("bench", "table", here / "nowhere").failed(UNUSABLE, "not-a-run", "nowhere")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--short", "--scheme", "mask"), "usage"),
        (("--scheme", "shamir"), "usage"),
        (("--dropout", "1"), "usage"),
        (("--scheme", "bfv", "--dp", "distributed"), "dp-contradicts"),
        (("--scheme", "mask", "--hospitals", "3", "--dropout", "0.5"), "too-many-dropped"),
        (("--scheme", "mask", "--parameters", "1431655766"), "too-large"),
    ],
)
def test_cases_that_cannot_be_had_are_refused_before_anything_is_measured(secagg, here, options, reason):
    with nothing_written(here):
        secagg("bench", "run", *options, "--out", here / "run").failed(UNUSABLE, reason)


def test_a_folder_of_something_else_is_left_alone(secagg, here):
    with nothing_written(here):
        secagg("bench", "run", *SMALL, "--out", here / "data").failed(UNUSABLE, "not-a-run")


@pytest.mark.parametrize(("values", "expected"), [([3, 40], [1, 10, 100]), ([0.1, 1], [0.1, 1]), ([5], [1, 10])])
def test_decades_reach_from_end_to_end(values, expected):
    assert decades(values) == pytest.approx(expected)


def test_on_a_logarithmic_panel_tenfold_is_always_as_far():
    points = [(1.0, 1.0), (10.0, 10.0), (100.0, 100.0)]
    drawn = svg([Panel("", "", "", [Line("", points, "#000000", dots=points)], scale="log")])
    dots = [one for one in ElementTree.fromstring(drawn).iter() if one.tag.endswith("circle")]
    first, second, third = (float(one.get("cx")) for one in dots)
    assert second - first == pytest.approx(third - second, abs=0.2)
