"""A report calls no round charged that no ledger has, and leaves out none that was charged and gave no sum."""

from __future__ import annotations

import re
import shutil

import pytest
from msgspec.structs import replace

from dp.ledger import Kind
from dp.stated import no_less
from secagg.errors import ProtocolError
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK, StoppedHereError, StoppingEngine
from training.engines.base import Phase
from training.engines.embedded import DropOut
from training.reporting.computing import report_of
from training.reporting.evidence import gather_for_others, gather_site
from training.reporting.findings import Notice
from training.reporting.records import Sources, gather_records
from training.reporting.without_sum import without_sum


def ample(policy):
    return replace(policy, maximum_epsilon=100.0)


@pytest.fixture
def refused_once(open_ward):
    """A run whose last sum its hospitals could not pay for, as the first round was cut off; their policies were raised.

    Round 1 is charged and in no transcript, rounds 4 to 6 were refused, round 7 gave the last sum.
    """
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    ward.stop_before(Phase.REVEAL, 1)
    with pytest.raises(ProtocolError):
        ward.coordinator().run()
    ward.close()
    ward = open_ward(policy=ample)
    ward.coordinator().run()
    return ward


def report(ward, sites):
    sources = Sources(ward.hospitals[1].release_folder, ward.folder / "coordinator/transcript")
    return report_of(ward.charter, gather_records(ward.charter, tuple(sites), sources))


def of_one(ward):
    return report(ward, [gather_site(ward.home(1), ward.charter, ward.hospitals[1]._identity)])


def told(notices):
    """Of the rounds without a sum: which are said to be charged, and which not."""
    notices = [notice for notice in notices if notice.code == "no-sum"]
    return [([int(number) for number in re.findall(r"\d+", notice.message)], notice.remedy) for notice in notices]


CHARGED, NOT_CHARGED = "That was charged all the same.", "No entry that is shown charges for that."


def charged(ward):
    entries = gather_site(ward.home(1), ward.charter, ward.hospitals[1]._identity).evidence.ledger.entries
    return [entry.round for entry in entries if entry.kind is Kind.CHARGE]


def test_rounds_that_were_refused_are_not_called_charged_and_one_that_was_cut_off_is(refused_once):
    assert charged(refused_once) == [1, 2, 3, 7]
    assert told(of_one(refused_once).notices) == [([1], CHARGED), ([4, 5, 6], NOT_CHARGED)]


def test_what_several_show_tells_the_same(refused_once):
    sites = [
        gather_for_others(refused_once.home(number), refused_once.charter, hospital._identity)
        for number, hospital in refused_once.hospitals.items()
    ]
    assert told(report(refused_once, sites).notices) == [([1], CHARGED), ([4, 5, 6], NOT_CHARGED)]


def epsilon_of(report):
    (told,) = (term.value for term in report.guarantee.terms if term.name == "Epsilon")
    return told


def test_the_rounds_that_a_release_states_are_called_charged_only_where_a_ledger_has_as_many(refused_once):
    assert "for 7 rounds, the most that any hospital can have been charged for, by the release" in epsilon_of(
        of_one(refused_once)
    )


def test_beside_what_is_promised_for_them_stands_what_the_hospital_s_own_ledger_comes_to(refused_once):
    found = of_one(refused_once)
    (data_set,) = found.sites[0].data_sets
    assert data_set.spent < found.guarantee.epsilon
    assert (
        f"Epsilon {no_less(found.guarantee.epsilon, 2)} is for 7 rounds, the most that any hospital can have been "
        "charged for, by the release. The ledger of this hospital was charged for 4 of them. By it, the patients of "
        f"this training have spent an epsilon of {no_less(data_set.spent, 2)} in all their trainings here"
    ) in found.guarantee.plain


def test_of_a_ledger_that_lacks_a_round_it_took_part_in_nothing_stands_there(refused_once):
    ward = refused_once
    site = gather_site(ward.home(1), ward.charter, ward.hospitals[1]._identity)
    ledger = site.evidence.ledger
    short = replace(ledger, shown=tuple(item for item in ledger.shown if item.entry.round != 7))
    found = report(ward, [replace(site, evidence=replace(site.evidence, ledger=short))])
    assert "uncharged-round" in {finding.reason for finding in found.findings}
    assert "The ledger of this hospital was charged" not in found.guarantee.plain


def test_what_several_show_says_nothing_of_one_ledger(refused_once):
    sites = [
        gather_for_others(refused_once.home(number), refused_once.charter, hospital._identity)
        for number, hospital in refused_once.hospitals.items()
    ]
    plain = report(refused_once, sites).guarantee.plain
    assert "is for 7 rounds, the most that any hospital can have been charged for, by the release. " not in plain
    assert "the most that any hospital can have been charged for, by the release." in plain


def test_control_where_the_ledger_has_all_they_are(open_ward):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK, policy=ample)
    # Too few answer in the second round.
    ward.coordinator(*(DropOut(number, 2, Phase.REVEAL) for number in (1, 2))).run()
    found = of_one(ward)
    assert "for the 4 rounds that were charged" in epsilon_of(found)
    assert told(found.notices) == [([2], CHARGED)]
    assert "No sum was made in round 2." in [notice.message for notice in found.notices]
    assert "by the release" not in found.guarantee.plain


def test_where_no_ledger_can_be_read_nobody_knows_who_was_charged(refused_once):
    transcript = of_one(refused_once).transcript
    notices = without_sum(transcript, [], refused_once.charter)
    told = "A hospital that sent an update in one was charged all the same."
    assert list(notices) == [Notice("no-sum", "No sum was made in rounds 4, 5, 6.", told)]


def test_of_a_round_that_is_only_in_a_part_of_the_transcript_that_was_not_checked_nothing_is_told(refused_once):
    site = gather_site(refused_once.home(1), refused_once.charter, refused_once.hospitals[1]._identity).evidence
    transcript = replace(of_one(refused_once).transcript, broken_off=(1,))
    assert told(without_sum(transcript, [site], refused_once.charter)) == [([4, 5, 6], NOT_CHARGED)]


def test_without_differential_privacy_nothing_is_charged_and_no_round_out_of_the_transcript_is_said_to_have_failed(
    open_ward,
):
    """The coordinator's folder was lost after two of three sums; a round fails after that."""
    ward = open_ward()
    with pytest.raises(StoppedHereError):
        ward.coordinator(engine=StoppingEngine(ward.hospitals, Phase.MASK, 3)).run()
    shutil.rmtree(ward.folder / "coordinator")
    ward.coordinator(*(DropOut(number, 3, Phase.REVEAL) for number in (1, 2))).run()
    sums = {found.round for found in of_one(ward).transcript.rounds if found.sum_sha256}
    assert 1 not in sums
    assert told(of_one(ward).notices) == [([3], "Nothing is charged without differential privacy.")]
