"""Which cases a sweep can have, and which a grid leaves out."""

from __future__ import annotations

import pytest

from benchmarks.sweep.case import SCHEMES, Case, check_case
from benchmarks.sweep.charters import signed_charter
from benchmarks.sweep.grids import full, grid, short
from secagg.errors import InputError


def case(scheme: str = "mask", hospitals: int = 10, parameters: int = 1000, **more: object) -> Case:
    return Case(scheme=scheme, hospitals=hospitals, parameters=parameters, **more)


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (case(hospitals=3, dropout=0.4), "too-many-dropped"),
        (case("mask-graph", hospitals=3), "no-graph"),
        (case("plain", dp="local"), "dp-contradicts"),
        (case("bfv", dp="distributed"), "dp-contradicts"),
        (case("ckks", parameters=1 << 30), "too-large"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_case_that_cannot_be_had_is_refused_with_its_reason(refused, reason):
    with pytest.raises(InputError) as caught:
        check_case(refused)
    assert caught.value.reason == reason


def test_a_grid_has_every_combination_and_says_why_others_cannot_be_had():
    cases, refused = grid(["mask", "bfv"], [5], [100], [0.0, 0.2], ["none", "distributed"])
    assert [one.name for one in cases if one.scheme == "bfv"] == [
        "bfv n=5 d=100 drop=0 dp=none",
        "bfv n=5 d=100 drop=0.2 dp=none",
    ]
    assert len(cases) == 6
    assert {error.reason for error in refused} == {"dp-contradicts"}


def test_each_combination_that_cannot_be_had_is_told_by_its_name():
    cases, refused = grid(["plain", "mask"], [3, 5, 40], [100], [0.4], ["none"])
    assert {one.hospitals for one in cases} == {40}
    assert {error.culprit for error in refused} == {
        f"{scheme} n={n} d=100 drop=0.4 dp=none" for scheme in ("plain", "mask") for n in (3, 5)
    }
    assert all("colluders" not in error.remedy for error in refused)


def test_what_is_asked_for_twice_is_one_case():
    cases, _ = grid(["mask", "mask"], [5, 5], [100], [0.2, 0.20], ["none"])
    assert len(cases) == 1


def test_the_grids_that_ship_can_be_had_and_the_whole_holds_the_short_table():
    for one in full():
        check_case(one)
    assert set(short()) < set(full())
    assert {one.scheme for one in short()} == set(SCHEMES)
    assert len(set(full())) == len(full())


def test_the_whole_spans_what_it_promises():
    hospitals, parameters = {one.hospitals for one in full()}, {one.parameters for one in full()}
    assert (min(hospitals), max(hospitals)) == (3, 1000)
    assert (min(parameters), max(parameters)) == (10_000, 100_000_000)
    assert {one.dropout for one in full()} >= {0.0, 0.3}
    assert {one.dp for one in full()} == {"none", "local", "distributed"}


def test_noise_that_the_usual_ring_has_no_room_for_gets_a_wider_one():
    few, many = case(hospitals=5, dp="distributed"), case(hospitals=50, parameters=1_000_000, dp="distributed")
    assert [signed_charter(one).charter.charter.encoding.field_bits for one in (few, many)] == [24, 32]
