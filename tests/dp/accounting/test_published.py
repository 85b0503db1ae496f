"""Figures that others have published come out: the documentation's table, each by the accountant that it names."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dp.accounting import epsilon, epsilon_rdp
from dp.accounting.orders import ORDERS
from dp.accounting.renyi import rdp_of
from dp.events import GaussianEvent

DOCUMENT = Path(__file__).parents[3] / "docs" / "accounting.md"


def published():
    """The rows of the table, as lists of cells."""
    section = DOCUMENT.read_text(encoding="utf-8").split("### Published figures")[1].split("\n### ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]
    return rows[2:]


def events_of(noises, rates, steps):
    """A cell names one kind of steps or several."""
    cells = (cell.split(", ") for cell in (noises, rates, steps))
    return tuple(
        GaussianEvent(float(noise), float(Fraction(rate)), int(count))
        for noise, rate, count in zip(*cells, strict=True)
    )


def by_moments(events, delta):
    """The conversion from before Balle et al. 2020."""
    return np.nanmin(rdp_of(events) - math.log(delta) / (np.array(ORDERS) - 1))


ACCOUNTANTS = {
    "moments": by_moments,
    "RDP": epsilon_rdp,
    "PRV": lambda events, delta: epsilon(events, delta).prv,
    "PLD": lambda events, delta: epsilon(events, delta).pld,
}
by_row = pytest.mark.parametrize("row", published(), ids=[str(number) for number in range(len(published()))])


@by_row
def test_every_published_figure_comes_out(row):
    _, accountant, noises, rates, steps, delta, figure, here, within = row
    found = ACCOUNTANTS[accountant](events_of(noises, rates, steps), float(delta))
    assert found == pytest.approx(float(figure), rel=float(within.removesuffix(" %")) / 100)
    digits = len(here.partition(".")[2])
    assert f"{found:.{digits}f}" == here


@by_row
def test_a_bound_of_today_is_below_what_was_published_by_moments(row):
    _, accountant, noises, rates, steps, delta, figure, _, _ = row
    if accountant == "moments":
        events = events_of(noises, rates, steps)
        assert (
            0.6 * float(figure) < epsilon(events, float(delta)).pld < epsilon_rdp(events, float(delta)) < float(figure)
        )


def test_the_table_names_all_accountants():
    assert {row[1] for row in published()} == set(ACCOUNTANTS)
