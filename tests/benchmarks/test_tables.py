"""What is made of a run: the best of its turns, tables in three notations, and pytest-benchmark's file."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime

import msgspec
import pytest

from benchmarks.sweep.case import Case
from benchmarks.sweep.comparing import compare, compare_figures
from benchmarks.sweep.folder import Run, RunWriter
from benchmarks.sweep.markup import comma_separated, latex, markdown
from benchmarks.sweep.measurement import Limits
from benchmarks.sweep.pytest_json import results_json
from benchmarks.sweep.results import results_of
from benchmarks.sweep.tables import Table, case_tables, target_table
from benchmarks.sweep.targets import TARGETS_FILE, Figure, keep_figures, read_figures
from benchmarks.sweep.written import digits
from secagg.errors import InputError
from tests.benchmarks.rows import row
from tests.benchmarks.test_run_folder import HERE

MASK = Case(scheme="mask", hospitals=10, parameters=1_000_000, dropout=0.1)
PLAIN = Case(scheme="plain", hospitals=10, parameters=1_000_000, dropout=0.1)
ALONE = Case(scheme="mask", hospitals=40, parameters=10, dropout=0.1)


def run(*rows) -> Run:
    return Run(HERE, rows)


WHOLE = run(
    row(MASK, 0, "memory"),
    Limits(turn=1, cipher=5e9, memory=1e10),
    row(MASK, 1, cpu=0.02),
    row(PLAIN, 1, cpu=0.001),
    row(MASK, 2, cpu=0.0123),
    row(PLAIN, 2, cpu=0.0011),
    row(ALONE, 1),
)


def test_the_best_turn_counts_and_memory_comes_from_its_own():
    mask = results_of(WHOLE)[0]
    cost = mask.cost("round", "hospital")
    assert (cost.cpu, cost.memory) == (0.0123, 1e6)
    assert mask.figures["round", "hospital"].cpu == [0.02, 0.0123]
    assert mask.cost("set-up", "hospital").cpu is None


def test_schemes_of_one_consortium_stand_in_one_table_with_the_limits_below():
    both, alone = case_tables(WHOLE)
    assert both.title == "10 hospitals, 1 M parameters, 1 drops out"
    names = [line[0] for line in both.rows]
    # In the order in which schemes are listed, whichever was measured first.
    assert names[:2] == ["plain FedAvg, float32", "mask"]
    assert both.rows[1][3:6] == ("12.3", "24.6", "4.00")
    # Ten masks of 4 MB at 5 GB a second; nine vectors of 12 MB at 10 GB a second.
    assert both.rows[2][3] == "8.00"
    assert both.rows[3][4] == "10.8"
    assert [line[0] for line in alone.rows] == ["mask"]


def test_the_coordinators_limit_is_the_masks_of_survivors_and_those_they_share_with_who_is_gone():
    five = [Case(scheme=scheme, hospitals=5, parameters=1_000_000, dropout=0.2) for scheme in ("mask", "plain")]
    (table,) = case_tables(run(Limits(turn=1, cipher=4e9, memory=1e10), *(row(one, 1) for one in five)))
    # Of 4 MB each at 4 GB a second: a hospital has its own and four more, the coordinator four and four.
    assert table.rows[2][3:5] == ("5.00", "8.00")


def test_each_masked_scheme_has_the_limit_of_its_own_masks():
    of = {"hospitals": 200, "parameters": 100_000, "dropout": 0.1}
    sparse, complete = (Case(scheme=scheme, **of) for scheme in ("mask-graph", "mask"))
    wide = msgspec.structs.replace(row(complete, 1), field_bits=40)
    limits = Limits(turn=1, cipher=4e9, memory=1e10)

    def shown(*rows) -> dict[str, float]:
        (table,) = case_tables(run(limits, *rows))
        return {line[0]: float(line[3]) for line in table.rows if "AES" in line[0]}

    found = shown(row(sparse, 1), row(complete, 1))
    named = {scheme: f"limit: AES-256, the keystream of {scheme}" for scheme in ("mask", "mask, drawn neighbours")}
    # With 199 peers and its own, of 4 bytes each or of 8, at 4 GB a second.
    assert found[named["mask"]] == 20
    assert found[named["mask, drawn neighbours"]] == pytest.approx(1e3 * (sparse.peers + 1) * 4e5 / 4e9, rel=0.01)
    assert list(found) == [named["mask"], named["mask, drawn neighbours"]]
    assert shown(row(sparse, 1), wide)[named["mask"]] == 40


def test_what_is_said_of_several_schemes_is_said_once():
    cases = [Case(scheme=scheme, hospitals=5, parameters=1000, dropout=0.2) for scheme in ("bfv", "mask", "plain")]
    (table,) = case_tables(run(*(row(case, 1) for case in cases)))
    by = {row(case, 1).by for case in cases}
    assert len(by) == 1
    assert table.notes == [f"plain FedAvg, float32; mask; bfv: {by.pop()}."]


def test_a_table_says_where_numbers_are_wider_than_elsewhere():
    usual, wide = (msgspec.structs.replace(row(MASK, 1), field_bits=bits) for bits in (24, 32))
    (below,) = (table.notes for table in case_tables(run(wide, row(PLAIN, 1))))
    assert [note for note in below if "bits" in note] == ["mask: numbers have 32 bits."]
    assert not [note for table in case_tables(run(usual)) for note in table.notes if "bits" in note]


def test_a_table_is_written_as_markdown_and_latex():
    table = Table("50 % & more_", ("", "a|b"), [("x_1", "2 %")], ["Note #1."])
    assert "| x_1 | 2 % |" in markdown([table])
    assert "a&#124;b" in markdown([table])
    assert r"50 \% \& more\_" in latex([table])
    assert r"x\_1 & 2 \% \\" in latex([table])


def test_a_csv_holds_every_phase_and_party_as_it_was_measured():
    lines = list(csv.DictReader(io.StringIO(comma_separated(WHOLE))))
    assert len(lines) == 6
    first = lines[0]
    assert (first["scheme"], first["phase"], first["party"]) == ("mask", "round", "hospital")
    assert float(first["cpu"]) == 0.0123
    assert float(first["bytes_up"]) == 4e6


def test_pytest_benchmark_reads_a_run(tmp_path):
    path = tmp_path / "results.json"
    path.write_bytes(results_json(WHOLE, datetime(2026, 1, 1, tzinfo=UTC)))
    found = json.loads(path.read_bytes())
    assert found["benchmarks"][0]["stats"]["data"] == [0.02, 0.0123]
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(path), "--columns=min,rounds"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "round:hospital[mask n=10 d=1000000 drop=0.1" in shown.stdout
    assert "12.3" in shown.stdout


def test_two_runs_agree_within_a_seventh_and_say_where_they_do_not():
    found = compare(WHOLE, run(row(MASK, 1, cpu=0.0130), row(ALONE, 1, cpu=0.02)))
    ratios = {(one.case, one.party): one.within for one in found.ratios}
    assert ratios[MASK.name, "hospital"]
    assert not ratios[ALONE.name, "hospital"]
    assert len(found.exceeding) == 2
    assert found.only_first == [PLAIN.name]
    # Half as long is no better than twice as long: it is another figure.
    assert len(compare(run(row(MASK, 1, cpu=0.02)), run(row(MASK, 1, cpu=0.01))).exceeding) == 2


def test_a_case_that_was_timed_more_often_in_one_run_than_in_the_other_is_told():
    once = run(row(MASK, 0, "memory"), row(MASK, 1), row(PLAIN, 1), row(PLAIN, 2))
    assert compare(WHOLE, once).turns_changed == [MASK.name]
    assert compare(WHOLE, WHOLE).turns_changed == []


def test_another_version_of_a_baseline_is_told_though_it_is_in_no_environment():
    flower = Case(scheme="flower", hospitals=10, parameters=1_000_000, dropout=0.1)
    first, second = (
        run(msgspec.structs.replace(row(flower, 1), by=f"flwr 1.4{last}"), row(MASK, 1)) for last in (0, 1)
    )
    assert compare(first, second).environment == ["flower was flwr 1.40 and is flwr 1.41"]
    assert compare(first, first).environment == []


def test_runs_are_compared_by_the_mean_of_their_turns_in_yardsticks():
    first = run(*(row(MASK, turn, cpu=0.01, yardsticks=count) for turn, count in enumerate((4.0, 1.0, 10.0), 1)))
    second = run(*(row(MASK, turn, cpu=0.02, yardsticks=count) for turn, count in enumerate((6.5, 8.0, 2.0), 1)))
    for one in compare(first, second).ratios:
        assert (one.unit, round(one.ratio, 3), one.within) == ("yardsticks", 1.1, True)


def test_and_in_seconds_where_in_one_turn_a_step_was_too_long_for_yardsticks():
    first = run(row(MASK, 0, "memory"), row(MASK, 1, cpu=1.9, yardsticks=900.0), row(MASK, 2, cpu=2.1))
    second = run(row(MASK, 1, cpu=1.9, yardsticks=900.0), row(MASK, 2, cpu=1.9, yardsticks=900.0))
    assert {(one.unit, one.ratio) for one in compare(first, second).ratios} == {("seconds", 1.0)}
    assert {one.unit for one in compare(second, second).ratios} == {"yardsticks"}


def test_and_in_seconds_where_one_of_them_has_none():
    found = compare(run(row(MASK, 1, cpu=0.01)), run(row(MASK, 1, cpu=0.02, yardsticks=5.0)))
    assert {(one.unit, one.ratio, one.within) for one in found.ratios} == {("seconds", 2.0, False)}


def test_times_below_a_millisecond_are_not_compared_and_other_bytes_are_told():
    fast = run(row(ALONE, 1, cpu=0.0001))
    assert compare(fast, run(row(ALONE, 1, cpu=0.0003))).ratios == []
    other = results_of(WHOLE)[0].cost("round", "hospital")
    assert other.bytes_up == 4e6
    with pytest.raises(InputError, match="timed no case in common"):
        compare(run(row(MASK, 1)), run(row(PLAIN, 1)))


def test_a_time_that_has_grown_beyond_a_millisecond_is_compared():
    (hospital, _) = compare(run(row(MASK, 1, cpu=0.0003)), run(row(MASK, 1, cpu=0.5))).exceeding
    assert (hospital.party, hospital.first, hospital.second) == ("hospital", 0.0003, 0.5)


def test_a_case_of_which_only_the_memory_is_known_is_not_compared():
    stopped = run(row(MASK, 0, "memory"), row(ALONE, 0, "memory"), row(ALONE, 1))
    assert compare(run(row(MASK, 1), row(ALONE, 1)), stopped).only_first == [MASK.name]
    with pytest.raises(InputError, match="timed no case in common"):
        compare(WHOLE, run(row(MASK, 0, "memory")))


def test_the_most_memory_that_a_party_needs_counts_in_whichever_phase():
    held = row(MASK, 0, "memory")
    set_up = tuple(msgspec.structs.replace(cost, phase="set-up", memory=9e6) for cost in held.costs)
    both = msgspec.structs.replace(held, costs=(*set_up, *held.costs))
    (table,) = case_tables(run(both, row(MASK, 1)))
    assert table.rows[0][-3:-1] == ("9.00", "9.00")


def test_figures_are_kept_beside_a_run_and_replaced_by_newer_ones(tmp_path):
    keep_figures(tmp_path, [Figure("a", 0.8, "", at_least=0.75), Figure("b", 12, "ms")], HERE)
    keep_figures(tmp_path, [Figure("a", 0.7, "", at_least=0.75), Figure("c", 3, "s", at_most=5)], HERE)
    table = target_table(read_figures(tmp_path))
    assert table.rows == [("a", "0.700", "at least 0.75", "not met"), ("c", "3.00 s", "at most 5", "met")]
    (tmp_path / TARGETS_FILE).write_text("[{}]")
    with pytest.raises(InputError) as caught:
        read_figures(tmp_path)
    assert caught.value.reason == "malformed-targets"


def test_figures_of_another_revision_are_not_kept_beside_a_run_and_a_run_not_beside_them(tmp_path):
    other = msgspec.structs.replace(HERE, revision="def")
    keep_figures(tmp_path, [Figure("a", 0.8, "")], HERE)
    for touch in (lambda: keep_figures(tmp_path, [Figure("a", 0.9, "")], other), lambda: RunWriter(tmp_path, other)):
        with pytest.raises(InputError, match="revision was abc and is def") as caught:
            touch()
        assert caught.value.reason == "other-environment"
    assert [one.value for one in read_figures(tmp_path)] == [0.8]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.01234, "0.0123"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1230"), (9.996, "10.00")],
)
def test_numbers_have_three_digits(value, shown):
    assert digits(value) == shown


def test_ratios_of_single_operations_that_have_a_target_are_compared_and_what_is_next_to_nothing_is_not():
    first = [
        Figure("signing, of hashing", 2.0, "", at_most=3),
        Figure("Python's share", 0.1, "of all", at_most=0.15),
        Figure("signing", 1.0, "ms", at_most=5),
        Figure("hashing, of copying", 4.0, ""),
        Figure("memory that grows", 0.0002, "", at_most=0.05),
        Figure("no longer measured", 1.0, "", at_least=1),
    ]
    second = [msgspec.structs.replace(figure, value=1.2 * figure.value) for figure in first[:-1]]
    found = compare_figures(first, [*second[1:], msgspec.structs.replace(first[0], value=2.2)])
    assert [(one.what, one.first, one.second, one.within) for one in found] == [
        ("signing, of hashing", 2.0, 2.2, True),
        ("Python's share", 0.1, 0.12, False),
    ]
    assert compare(WHOLE, WHOLE, found).figures_exceeding == found[1:]


def test_a_ratio_that_was_nothing_in_one_run_has_changed():
    nothing, something = (Figure("speed", value, "", at_least=1) for value in (0.0, 2.0))
    assert [one.within for one in compare_figures([nothing], [something])] == [False]
    assert [one.within for one in compare_figures([something], [nothing])] == [False]
    much, little = (Figure("memory", value, "", at_most=1.0) for value in (0.5, 0.05))
    assert [one.within for one in compare_figures([much], [little])] == [False]
    assert compare_figures([little], [little]) == []
