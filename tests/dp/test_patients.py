"""Patients' rows, cut into parts."""

from __future__ import annotations

import numpy as np
import pytest

from dp.patients import parts, rows_at_once


@pytest.mark.parametrize("largest", [1, 2, 5, 100])
def test_parts_hold_every_sampled_row_once_and_never_divide_a_patient(largest):
    patients = np.random.default_rng(5).permutation(np.repeat(np.arange(12), np.arange(1, 13)))
    sample = np.array([0, 3, 4, 9, 11])
    found = list(parts(patients, sample, largest))
    assert sorted(np.concatenate(found)) == list(np.flatnonzero(np.isin(patients, sample)))
    owners = [set(patients[part]) for part in found]
    assert sum(len(owner) for owner in owners) == len(sample)
    for part, owner in zip(found, owners, strict=True):
        assert len(part) <= largest or len(owner) == 1


@pytest.mark.parametrize(
    ("parameters", "row_size", "rows"), [(10, 1, 256), (1 << 24, 1, 16), (1, 1 << 27, 2), (1 << 29, 1, 1)]
)
def test_fewer_rows_are_worked_through_at_a_time_the_larger_a_model_or_a_row_is_and_never_none(
    parameters, row_size, rows
):
    assert rows_at_once(parameters, row_size) == rows


def test_no_sample_has_no_parts():
    assert list(parts(np.arange(3), np.arange(0), 5)) == []
