"""A hospital's signed word that it was given a forged sum is found, beside what the transcript has of that round."""

from __future__ import annotations

from secagg.masking.journal import Around
from secagg.masking.messages import Refusal
from secagg.transcript import audit_epoch, forged_sums
from secagg.wire import Sealer, Stage


def refusing(consortium, reason, number, *rounds):
    """A member's refusals, as they are kept: it signs them as it likes."""
    sealer = Sealer(consortium.charter, number, consortium.identities[number - 1], 1)
    return [Around(number, sealer.seal(Stage.REFUSAL, Refusal(reason, "Why."), round=at)) for at in rounds]


def found(recorded, *refusals):
    consortium, events, _ = recorded
    audit = audit_epoch([*events, *refusals], consortium.charter)
    assert audit.findings == []
    return forged_sums([audit])


def test_who_signed_it_is_named_with_its_round_whose_sum_adds_up(recorded):
    (finding,) = found(recorded, *refusing(recorded[0], "forged-sum", 3, 2))
    assert (finding.epoch, finding.round, finding.reason) == (1, 2, "forged-sum")
    assert finding.message.startswith("h3 signed, when it was in round 2, that it was given a forged sum.")
    assert "The sum of that round in the transcript is what the messages add up to." in finding.message
    assert "or h3 says what is not so" in finding.message


def test_of_a_round_without_a_sum_and_of_none_no_sum_is_said_to_add_up(recorded):
    (third,) = found(recorded, *refusing(recorded[0], "forged-sum", 3, 3))
    (none,) = found(recorded, *refusing(recorded[0], "forged-sum", 3, 0))
    for finding in (third, none):
        assert "The transcript has no sum of that round that could be computed again." in finding.message
    assert "h3 signed that it was given a forged sum." in none.message


def test_one_that_says_so_again_and_again_is_one_finding_and_two_that_say_so_are_two(recorded):
    repeated = refusing(recorded[0], "forged-sum", 3, 2, 2, 2)
    assert len(found(recorded, *repeated)) == 1
    assert [finding.round for finding in found(recorded, *repeated, *refusing(recorded[0], "forged-sum", 4, 2))] == [
        2,
        2,
    ]


def test_one_that_says_so_of_any_number_of_rounds_is_one_finding_that_names_a_few(recorded):
    (finding,) = found(recorded, *refusing(recorded[0], "forged-sum", 3, 2, *range(100, 400)))
    assert finding.round == 2
    assert "other round numbers: 100, 101, 102, 103, 104 and 295 more." in finding.message
    assert "105" not in finding.message


def test_control_another_refusal_is_no_finding(recorded):
    assert found(recorded, *refusing(recorded[0], "missed-sum", 3, 2)) == []
