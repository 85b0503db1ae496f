"""An error is the same one wherever it is caught."""

from __future__ import annotations

import copy
import pickle

import pytest

from secagg.errors import InputError, RefusedError, SecaggError, TamperingError
from secagg.masking.verification import ForgedSumError


@pytest.mark.parametrize("kind", [SecaggError, InputError, RefusedError, TamperingError, ForgedSumError])
@pytest.mark.parametrize("bring", [copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_that_was_copied_or_came_from_another_process_says_what_it_said(kind, bring):
    error = kind("too-late", "It is too late.", culprit="h1", remedy="Come earlier.")
    found = bring(error)
    assert type(found) is kind
    assert vars(found) == vars(error)
    assert str(found) == str(error)
