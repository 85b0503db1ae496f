"""The study of utility runs, goes on where it was, tells what its cells say, and mixes nothing."""

from __future__ import annotations

import csv
import os

import msgspec
import pytest
from click.testing import CliRunner

from benchmarks.utility.__main__ import utility
from benchmarks.utility.cells import CELLS_FILE, MADE_FILE, Kept, MadeWith
from benchmarks.utility.study import Cell
from secagg.errors import InputError

MODES = ("pooled", "distributed")


def study(out, *more, steps="2"):
    """Run the command on the smallest data set, which needs no files."""
    arguments = ["--out", str(out), "--study", "breast-cancer", "--seed", "0", "--epsilon", "3", "--steps", steps]
    arguments += [word for mode in MODES for word in ("--mode", mode)]
    result = CliRunner().invoke(utility, [*arguments, *more])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("utility")
    told = study(out, "--seed", "1")
    cells = [msgspec.json.decode(line, type=Cell) for line in (out / CELLS_FILE).read_bytes().splitlines()]
    return out, told, cells


def test_each_mode_is_trained_with_each_seed_and_spends_no_more_than_epsilon(done):
    out, told, cells = done
    assert {(cell.mode, cell.seed) for cell in cells} == {(mode, seed) for mode in MODES for seed in (0, 1)}
    assert "[4/4]" in told
    assert all(2.5 < cell.cost.spent <= 3.0 + 1e-6 for cell in cells)
    assert [cell.cost.sent > 0 for cell in cells] == [cell.mode == "distributed" for cell in cells]
    assert not list(out.glob("run-*"))


def test_the_tables_say_what_the_cells_say(done):
    out, _, cells = done
    lines = list(csv.DictReader((out / "utility.csv").read_text().splitlines()))
    assert len(lines) == len(MODES) * 2
    for line in lines:
        values = [getattr(cell.test, line["measure"]) for cell in cells if cell.mode == line["mode"]]
        assert float(line["mean"]) == pytest.approx(sum(values) / 2)
        assert float(line["deviation"]) == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    accuracy = next(line for line in lines if (line["mode"], line["measure"]) == ("distributed", "accuracy"))
    shown = f"{100 * float(accuracy['mean']):.1f} ± {100 * float(accuracy['deviation']):.1f}"
    assert f"| 3 | `distributed` | 2 | {shown} % |" in (out / "utility.md").read_text()
    assert shown.replace("±", r"$\pm$") in (out / "utility.tex").read_text()
    assert (out / "utility-breast-cancer.svg").read_text().startswith("<svg")


def test_what_is_done_is_not_done_again(done):
    out, _, _ = done
    before = (out / CELLS_FILE).read_bytes()
    assert "[1/" not in study(out)
    assert "Missing: breast-cancer, pooled, epsilon 3, seed 7" in study(out, "--seed", "7", "--show")
    assert (out / CELLS_FILE).read_bytes() == before


def test_what_is_asked_for_twice_is_trained_once(tmp_path):
    twice = ("--study", "breast-cancer", "--seed", "0", "--epsilon", "3.0", "--mode", "pooled", "--mode", "distributed")
    told = study(tmp_path, *twice, "--show").splitlines()
    assert sorted(line for line in told if line.startswith("Missing")) == [
        f"Missing: breast-cancer, {mode}, epsilon 3, seed 0" for mode in ("distributed", "pooled")
    ]


def test_a_cell_is_in_its_file_when_that_is_made_durable(tmp_path, monkeypatch, done):
    _, _, cells = done
    kept, held = Kept(tmp_path, []), []
    monkeypatch.setattr(os, "fsync", lambda _: held.append((tmp_path / CELLS_FILE).read_bytes()))
    kept.add(cells[0])
    assert [msgspec.json.decode(data, type=Cell) for data in held] == [cells[0]]


def test_cells_of_other_recipes_are_refused(done):
    with pytest.raises(InputError, match="now its recipe is") as refused:
        study(done[0], steps="3")
    assert refused.value.reason == "other-recipe"


def test_cells_of_other_versions_are_refused(tmp_path):
    here = MadeWith.here()
    other = msgspec.structs.replace(here, packages={**here.packages, "torch": "2.0"})
    (tmp_path / MADE_FILE).write_bytes(msgspec.json.encode(other))
    with pytest.raises(InputError, match=r"torch 2\.0") as refused:
        study(tmp_path)
    assert refused.value.reason == "other-versions"


@pytest.mark.parametrize("line", [b'{"study": "heart"}\n', b'{"study": "\xff"}\n'])
def test_a_line_that_is_no_cell_is_named(tmp_path, line):
    (tmp_path / CELLS_FILE).write_bytes(line)
    with pytest.raises(InputError, match="line 1") as refused:
        study(tmp_path)
    assert refused.value.reason == "damaged-cells"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"more": ' + 100_000 * b"["])
def test_a_folder_that_does_not_say_what_its_cells_were_made_with_is_refused(tmp_path, content):
    (tmp_path / MADE_FILE).write_bytes(content)
    with pytest.raises(InputError, match=MADE_FILE) as refused:
        study(tmp_path)
    assert refused.value.reason == "damaged-cells"


@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "inf", "much"])
def test_an_epsilon_that_is_none_is_refused(tmp_path, wrong):
    assert "neither a positive number nor none" in study(tmp_path, "--epsilon", wrong)
