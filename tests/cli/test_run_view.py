"""What a run tells of its charter when it starts."""

from __future__ import annotations

import json

import pytest

from cli.run_view import RunView, budget_lines, shown_rounds
from dp.ledger import BudgetUse
from secagg.charter.cautions import Caution
from secagg.masking import Purpose
from tests.support.consortium import make_charter, make_identities, sign_by_all
from training.round_record import RoundRecord
from training.run_history import RoundResult
from training.scaling import constant_columns

IDENTITIES = make_identities(4)


def told_at_the_start(capsys, scheme: str, *, as_json: bool = False) -> str:
    charter = sign_by_all(make_charter(IDENTITIES, threshold=3, scheme=scheme), IDENTITIES)
    with RunView(as_json) as view:
        view.observer.on_start(charter)
    return capsys.readouterr().err


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_one_key_for_all_is_told_before_anybody_trains(capsys, scheme):
    told = told_at_the_start(capsys, scheme)
    assert told.startswith(f"Warning: Under the scheme {scheme} all hospitals have one key")
    assert "Choose the scheme double-lock" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("scheme", ["mask", "double-lock"])
def test_of_schemes_that_hold_against_colluders_nothing_is_told(capsys, scheme):
    assert told_at_the_start(capsys, scheme) == ""


def test_as_json_the_result_has_it_and_standard_error_stays_empty(capsys):
    assert told_at_the_start(capsys, "bfv", as_json=True) == ""


def test_columns_that_do_not_vary_are_named_once_the_statistics_are_summed(capsys):
    with RunView() as view:
        view.observer.on_statistics(constant_columns(("chol", "kV")))
    told = capsys.readouterr().err
    assert told.startswith("Warning: Columns that have one value at all hospitals")
    assert "chol, kV" in told


VOID = Caution("no-weight", "The sum of round 3 counts, and changes nothing.", "")


def test_what_a_hospital_warns_of_is_told_as_its_warning_and_not_as_a_refusal(capsys):
    with RunView() as view:
        view.observer.on_caution("ghent", VOID)
    assert capsys.readouterr().err == "Warning: ghent: The sum of round 3 counts, and changes nothing. [no-weight]\n"


def test_as_json_it_is_one_object_on_a_line_of_standard_error(capsys):
    with RunView(as_json=True) as view:
        view.observer.on_caution("ghent", VOID)
    told = {"member": "ghent", "code": VOID.code, "message": VOID.message, "remedy": ""}
    assert json.loads(capsys.readouterr().err) == {"caution": told}


def result_of(number, dropped=()):
    record = RoundRecord(number, Purpose.TRAINING, number, ("h1", "h2", "h3"), dropped, (), (), None, 10, 10, 0.1)
    return RoundResult(record, None, None)


def test_a_few_rounds_are_all_shown():
    title, shown = shown_rounds([result_of(number) for number in range(1, 31)])
    assert title == "Rounds"
    assert len(shown) == 30


def test_of_many_rounds_some_are_shown_and_all_in_which_somebody_dropped_out():
    rounds = [result_of(number, ("h4",) if number in (17, 18) else ()) for number in range(1, 301)]
    title, shown = shown_rounds(rounds)
    assert title.startswith("One round in 10,")
    numbers = [row.record.round for row in shown]
    assert numbers == sorted({1, 17, 18, *range(10, 301, 10)})


def test_hospitals_whose_budgets_run_out_are_named_by_level():
    budgets = {"h1": BudgetUse(1, 8), "h2": BudgetUse(4.5, 8), "h3": BudgetUse(8, 8), "h4": BudgetUse(7.99, 8)}
    full, half = budget_lines(budgets)
    assert full.startswith("Budget alert, 100 %: h3, h4. 100 % of the privacy budget")
    assert half.startswith("Budget alert, 50 %: h2.")
