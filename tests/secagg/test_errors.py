"""An error is the same one wherever it is caught."""

from __future__ import annotations

import ast
import copy
import pickle
from pathlib import Path

import pytest

from secagg.errors import InputError, RefusedError, SecaggError, TamperingError
from secagg.masking.verification import ForgedSumError

ROOT = Path(__file__).parents[2]
TOLD_TO_PEOPLE = {"InputError", "RefusedError", "TamperingError"}


@pytest.mark.parametrize("kind", [SecaggError, InputError, RefusedError, TamperingError, ForgedSumError])
@pytest.mark.parametrize("bring", [copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_that_was_copied_or_came_from_another_process_says_what_it_said(kind, bring):
    error = kind("too-late", "It is too late.", culprit="h1", remedy="Come earlier.")
    found = bring(error)
    assert type(found) is kind
    assert vars(found) == vars(error)
    assert str(found) == str(error)


def test_what_an_error_says_makes_it_again():
    error = InputError("too-late", "It is too late.", culprit="h1")
    assert error.fields() == {"reason": "too-late", "message": "It is too late.", "culprit": "h1", "remedy": None}
    assert vars(InputError(**error.fields())) == vars(error)


def made_without_a_remedy(package: str) -> list[str]:
    files = {file: ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / package).rglob("*.py")}
    return [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file, tree in files.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TOLD_TO_PEOPLE
        if "remedy" not in {keyword.arg for keyword in node.keywords}
    ]


@pytest.mark.parametrize("package", ["secagg", "dp", "training", "cli"])
def test_whatever_people_are_told_is_wrong_they_are_told_what_to_do_about_it(package):
    assert made_without_a_remedy(package) == []
