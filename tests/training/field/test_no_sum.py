"""An epoch that gave no sum says who kept it from one, and why, and whether waiting helps."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from secagg.masking import Purpose
from tests.support.consortium import make_charter, make_identities, sign_by_all
from training.field.no_sum import no_sum
from training.round_record import RefusalRecord, RoundRecord

NOTHING_LEFT = RefusalRecord("h3", "budget-exceeded", "This hospital's own log says why.")
FAILED = RoundRecord(
    4,
    Purpose.TRAINING,
    0,
    (),
    ("h2",),
    (),
    (RefusalRecord("h2", "wrong-dealing", "The shares that h2 dealt do not give what it committed to."), NOTHING_LEFT),
    "wrong-dealing",
    0,
    0,
    0.0,
)


@pytest.fixture
def charter():
    identities = make_identities(4)
    return sign_by_all(make_charter(identities), identities).charter


def test_who_kept_an_epoch_from_a_sum_is_named_with_the_reason(charter):
    error = no_sum(charter, [FAILED])
    assert error.reason == "no-sum"
    assert "h2 (wrong-dealing): The shares that h2 dealt do not give what it committed to." in error.message
    assert "h3 (budget-exceeded): This hospital's own log says why." in error.message


def test_so_is_who_was_silent_in_its_last_round(charter):
    assert "Round 4 was given up (wrong-dealing), without h2 (wrong-dealing)." in no_sum(charter, [FAILED]).message


def test_of_several_that_refused_for_one_reason_it_is_told_once(charter):
    others = [replace(NOTHING_LEFT, member=name) for name in ("h1", "h2")]
    message = no_sum(charter, [replace(FAILED, refusals=(NOTHING_LEFT, *others))]).message
    assert "h3, h1, h2 (budget-exceeded): This hospital's own log says why." in message


def test_waiting_is_said_not_to_help_where_the_others_are_too_few(charter):
    assert "waiting does not help" in no_sum(charter, [FAILED]).remedy
    assert "waiting" not in no_sum(charter, [replace(FAILED, refusals=(NOTHING_LEFT,))]).remedy
