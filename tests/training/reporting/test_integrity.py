"""What does not fit is a finding, whoever signed it; what fits is none."""

from __future__ import annotations

from itertools import product

import pytest
from msgspec.structs import replace

from cli.report_page import render_page
from dp.ledger import Kind
from dp.stated import ROUNDING, no_less
from secagg.errors import RemoteProtocolError
from secagg.log_excerpt import take_excerpt
from secagg.masking.journal import Around
from secagg.masking.messages import Refusal
from secagg.release import attest, verify_release
from secagg.release.checkpoints import CHECKPOINTS_FILE
from secagg.release.dsse import assemble, read_envelope
from secagg.release.folder import STATEMENT_FILE
from secagg.release.statement import MODEL_FILE, statement_bytes
from secagg.transcript import AROUND, TranscriptWriter
from secagg.wire import Stage
from tests.support.hospitals import (
    PRIVATE_CHOICES,
    PRIVATE_TASK,
    SCALED_BY_SUMS,
    choices_of,
    tabular_spec,
    training_of,
)
from tests.support.liars import led_by_the_second
from tests.support.shown_records import evidence_of, found, report, showing, states
from tests.support.thinning import thinned
from training.engines.base import Phase
from training.engines.embedded import DropOut, EmbeddedEngine
from training.privacy_plan import privacy_plan
from training.reporting.document import make_document
from training.reporting.findings import Finding
from training.reporting.misstated import misstated
from training.reporting.records import Sources, gather_records
from training.round_record import RefusalRecord


def rewritten(ward, **changes):
    """The release of all with another statement, signed by all the same."""
    folder = ward.hospitals[1].release_folder
    release = replace(verify_release(folder).statement.predicate, **changes)
    payload = statement_bytes((folder / MODEL_FILE).read_bytes(), release)
    signed = assemble(payload, [attest(payload, hospital._identity) for hospital in ward.hospitals.values()])
    (folder / STATEMENT_FILE).write_bytes(signed.to_json())


def test_control_of_an_honest_run_nothing_is_found(finished):
    assert found(report(finished)) == []
    assert found(report(finished, transcript=False)) == []


# The release


def test_an_epsilon_that_is_stated_without_differential_privacy_is_found(finished):
    claim = verify_release(finished.hospitals[1].release_folder).statement.predicate.privacy
    rewritten(finished, privacy=replace(claim, epsilon=0.5))
    assert found(report(finished)) == [("unfounded-epsilon", "the release")]


@pytest.mark.parametrize("delta", [1e-9, None])
def test_an_epsilon_that_is_stated_at_another_delta_than_the_charters_is_found(private, delta):
    claim = verify_release(private.hospitals[1].release_folder).statement.predicate.privacy
    rewritten(private, privacy=replace(claim, delta=delta))
    assert found(report(private)) == [("understated-epsilon", "the release")]
    document = make_document(
        private.charter, gather_records(private.charter, (), Sources(private.hospitals[1].release_folder))
    )
    assert f"{no_less(claim.epsilon, 4)}, {'none' if delta is None else '1e-09'}" in render_page(document)


def attests_to(hospital, claim):
    try:
        hospital._concluding._require_all_stated(claim)
    except RemoteProtocolError:
        return False
    return True


def test_a_report_takes_an_epsilon_that_a_hospital_attests_to_and_no_other(private):
    hospital = private.hospitals[1]
    claim = verify_release(hospital.release_folder).statement.predicate.privacy
    for short, covered in ((0.5 * ROUNDING, True), (2 * ROUNDING, False)):
        stated = replace(claim, epsilon=hospital.epsilon - short)
        rewritten(private, privacy=stated)
        assert attests_to(hospital, stated) is covered
        assert found(report(private)) == ([] if covered else [("understated-epsilon", "the release")])


@pytest.fixture
def ended_by_its_target(open_ward):
    """Four hospitals after a private run that might have gone on, had the noisy counts not come to the target."""
    choices = replace(PRIVATE_CHOICES, metrics="noisy", target=0.01)
    ward = open_ward(choices=choices, spec=PRIVATE_TASK)
    ward.coordinator().run()
    return ward


def test_a_release_that_a_target_brought_about_states_what_all_rounds_would_have_cost(ended_by_its_target):
    ward = ended_by_its_target
    release = verify_release(ward.hospitals[1].release_folder).statement.predicate
    plan = privacy_plan(ward.charter.charter)
    assert release.rounds < plan.rounds
    assert ward.hospitals[1].epsilon == pytest.approx(plan.epsilon_after(release.rounds))
    assert 0 <= release.privacy.epsilon - plan.epsilon_after(plan.rounds) <= 1e-6
    told = report(ward)
    assert found(told) == []
    assert told.guarantee.epsilon == plan.epsilon_after(plan.rounds)


def test_one_that_states_only_what_the_rounds_until_then_cost_is_found(ended_by_its_target):
    ward = ended_by_its_target
    release = verify_release(ward.hospitals[1].release_folder).statement.predicate
    so_far = privacy_plan(ward.charter.charter).epsilon_after(release.rounds)
    rewritten(ward, privacy=replace(release.privacy, epsilon=so_far))
    assert found(report(ward)) == [("understated-epsilon", "the release")]


# Logs


@pytest.mark.parametrize("log", ["ledger", "egress"])
def test_a_hospital_that_shows_no_log_and_says_nothing_is_found(finished, log):
    told = report(finished, showing(finished, 2, **{log: None}))
    assert (f"{log}-not-shown", "h2") in found(told)


def test_control_one_whose_log_cannot_be_read_says_so_and_is_found_by_that(finished):
    problem = Finding("egress-damaged", "It cannot be read.", "egress.sqlite", None)
    told = report(finished, showing(finished, 2, egress=None, problems=(problem,)), transcript=False)
    assert found(told) == [("egress-damaged", "h2")]


# Checkpoints


UNSIGNED = {
    "too few signatures": lambda signed: (signed.payload, signed.signatures[:2]),
    "no signature": lambda signed: (signed.payload, ()),
}


@pytest.mark.parametrize("change", UNSIGNED.values(), ids=UNSIGNED)
def test_a_list_of_the_transcript_that_too_few_have_signed_is_no_check(finished, change):
    path = finished.hospitals[1].release_folder / CHECKPOINTS_FILE
    assert "Transcript, since the run ended" not in states(report(finished))
    signed = read_envelope(path.read_bytes())
    path.write_bytes(assemble(*change(signed)).to_json())
    told = states(report(finished))
    assert told["Transcript, since the run ended"] == told["Checkpoints of all logs"] == "absent"


@pytest.mark.parametrize("phase", [Phase.RELEASE, Phase.WITNESS])
def test_control_of_a_run_whose_coordinator_was_stopped_at_its_end_every_epoch_is_signed_for(open_ward, phase):
    """It is started again, also for one that was away, after all others have signed for the transcript."""
    ward = open_ward(hospitals=5)
    ward.stop_before(phase, 0)
    ward.coordinator(engine=EmbeddedEngine({number: ward.hospitals[number] for number in (1, 2, 3, 4)})).run()
    ward.coordinator().run()
    assert ward.hospitals[5].is_released
    told = report(ward)
    assert found(told) == []
    (check,) = [check for check in told.checks if check.what == "Transcript"]
    assert "bytes of its files are what the hospitals signed for" in check.detail


# Charges


def hiding(ward, number, hidden):
    """What all show, of whom one has hashes in the place of some charges."""
    shown = evidence_of(ward)[number - 1].evidence.ledger
    signed = [(item.entry, item.signature) for item in shown.shown]
    assert not shown.hidden
    return showing(ward, number, ledger=take_excerpt(signed, lambda entry: not hidden(entry)))


CHARGES = (Kind.CHARGE, Kind.UNPROTECTED)
SETTINGS = {
    "without differential privacy": {},
    "with": {"choices": PRIVATE_CHOICES, "spec": PRIVATE_TASK},
    "with statistics": {"spec": tabular_spec(**SCALED_BY_SUMS)},
}


@pytest.mark.parametrize("transcript", [True, False], ids=["with the transcript", "without it"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_charge_that_a_hospital_hides_in_its_export_is_found(open_ward, settings, transcript):
    ward = open_ward(**settings)
    ward.coordinator().run()
    assert found(report(ward, transcript=transcript)) == []
    last = max(entry.round for entry in evidence_of(ward)[1].evidence.ledger.entries)
    sites = hiding(ward, 2, lambda entry: entry.kind in CHARGES and entry.round == last)
    assert ("uncharged-round", "h2") in found(report(ward, sites, transcript=transcript))
    assert ("uncharged-round", "h2") in found(report(ward, sites, transcript=transcript, release=False))
    sites = hiding(ward, 2, lambda entry: entry.kind in CHARGES)
    assert ("uncharged-round", "h2") in found(report(ward, sites, transcript=transcript))


def test_control_of_what_honest_hospitals_show_after_faults_nothing_is_found(open_ward):
    """A round without a sum, one that was charged and never masked for, a coordinator that was stopped, a restart."""
    ward = open_ward(spec=tabular_spec(**SCALED_BY_SUMS))
    ward.stop_before(Phase.REVEAL, 3)
    ward.close()
    ward = open_ward()
    ward.coordinator(*(DropOut(number, 4, Phase.REVEAL) for number in (1, 2)), DropOut(3, 5, Phase.MASK)).run()
    charged = {entry.round for entry in evidence_of(ward)[3].evidence.ledger.entries if entry.kind in CHARGES}
    assert len(charged) > 3
    assert found(report(ward)) == found(report(ward, transcript=False)) == []


OF_H2 = "h2: ledger, compared with the rounds that it was in"


def hiding_in_both_logs(ward, number, last):
    """What all show, of whom one has hashes in the place of all entries of later rounds than ``last``, in both logs."""
    evidence = evidence_of(ward)[number - 1].evidence

    def cut(log):
        return take_excerpt([(item.entry, item.signature) for item in log.shown], lambda entry: entry.round <= last)

    return showing(ward, number, ledger=cut(evidence.ledger), egress=cut(evidence.egress))


def test_of_rounds_that_a_hospital_hides_in_both_logs_its_own_word_is_no_check(private):
    sites = hiding_in_both_logs(private, 2, last=1)
    told = report(private, sites, transcript=False, release=False)
    assert found(told) == []
    (check,) = [check for check in told.checks if check.what == OF_H2]
    assert check.state == "absent"
    assert "only the site's word" in check.detail
    assert told.guarantee.epsilon == privacy_plan(private.charter.charter).epsilon_after(3)
    assert "fewer-sums" not in {notice.code for notice in told.notices}
    for given in ({"transcript": False}, {"release": False}):
        assert ("uncharged-round", "h2") in found(report(private, sites, **given))


def test_a_hospital_that_hides_every_round_makes_no_promise_of_an_epsilon_of_nothing(private):
    told = report(private, hiding_in_both_logs(private, 2, last=0)[1:2], transcript=False, release=False)
    assert told.guarantee.epsilon == privacy_plan(private.charter.charter).epsilon_after(3)


def test_control_logs_that_are_shown_whole_are_a_check_and_say_what_was_charged(private):
    told = report(private, transcript=False, release=False)
    assert states(told)[OF_H2] == "whole"
    (check,) = [check for check in told.checks if check.what == OF_H2]
    assert check.detail == "3 rounds charged, and by its own log it was in no other round"
    (epsilon,) = [term.value for term in told.guarantee.terms if term.name == "Epsilon"]
    assert "for the 3 rounds that were charged" in epsilon


def test_a_release_of_fewer_rounds_than_a_hospital_was_in_is_found(finished):
    rewritten(finished, rounds=2)
    assert found(report(finished, ())) == [("understated-rounds", "the release")]
    assert found(report(finished, transcript=False)) == [("understated-rounds", "the release")] * 3


# A damaged copy

RELEASE_BESIDE = "Release, compared with the transcript"
DAMAGE = {
    "transcript-damaged",
    "transcript-altered",
    "output-differs",
    "impossible",
    "incomplete",
    "out-of-order",
}


def flip_a_byte(path, part):
    data = bytearray(path.read_bytes())
    data[int(len(data) * part)] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(("epoch", "part"), thinned([*product([0, 1, 2], [0, 0.3, 0.5, 0.8])], 4))
def test_of_a_copy_with_a_byte_flipped_it_is_said_that_it_is_damaged_and_nobody_is_accused(finished, epoch, part):
    flip_a_byte(finished.folder / f"coordinator/transcript/epoch-{epoch:06d}.transcript", part)
    told = report(finished)
    reasons = {reason for reason, _ in found(told)}
    assert "transcript-altered" in reasons
    assert reasons <= DAMAGE
    if reasons & DAMAGE - {"transcript-altered"} and epoch:
        assert states(told)[RELEASE_BESIDE] == "absent"
        assert "broken-off-epoch" in {notice.code for notice in told.notices}


def test_where_the_damaged_file_is_that_of_what_was_exchanged_around_epochs_it_is_said_what_was_not_compared(finished):
    assert "broken-off-epoch" not in {notice.code for notice in report(finished).notices}
    flip_a_byte(finished.folder / "coordinator/transcript/epoch-000000.transcript", 0)
    told = report(finished)
    (notice,) = [notice for notice in told.notices if notice.code == "broken-off-epoch"]
    assert "snapshots were not compared" in notice.message
    assert states(told)[RELEASE_BESIDE] == "whole"


def test_control_what_a_longer_transcript_cannot_mend_is_found_in_a_damaged_one(finished):
    flip_a_byte(finished.folder / "coordinator/transcript/epoch-000002.transcript", 0)
    release = verify_release(finished.hospitals[1].release_folder).statement.predicate
    rewritten(finished, sums=1)
    assert ("contributors-differ", "the release") in found(report(finished))
    rewritten(finished, sums=release.sums, rounds=1)
    assert ("understated-rounds", "the release") in found(report(finished))


def test_a_damaged_epoch_excuses_no_more_sums_than_it_had_room_for(finished):
    flip_a_byte(finished.folder / "coordinator/transcript/epoch-000002.transcript", 0)
    release = verify_release(finished.hospitals[1].release_folder).statement.predicate
    shown = report(finished).transcript
    assert shown.unread_rounds > 0
    for more, expected in ((0, []), (1, ["contributors-differ"])):
        applied = len({found.step for found in shown.rounds if found.took_part})
        stated = replace(release, sums=applied + shown.unread_rounds + more)
        assert [finding.reason for finding in misstated(stated, shown)] == expected


def test_control_of_an_epoch_that_is_gone_from_the_end_the_transcript_is_accused_and_not_the_release(finished):
    (finished.folder / "coordinator/transcript/epoch-000002.transcript").unlink()
    told = report(finished)
    assert ("contributors-differ", "the transcript") in found(told)
    assert ("contributors-differ", "the release") not in found(told)
    assert states(told)[RELEASE_BESIDE] == "wrong"


def test_a_release_that_states_fewer_sums_or_other_contributors_than_the_transcript_shows_is_accused(finished):
    release = verify_release(finished.hospitals[1].release_folder).statement.predicate
    first, *others = release.contributors
    fewer_of_one = replace(first, sums=first.sums - 1)
    for changes in ({"sums": release.sums - 1}, {"contributors": (fewer_of_one, *others)}):
        rewritten(finished, **changes)
        assert ("contributors-differ", "the release") in found(report(finished))


# The numbers of rounds


def test_rounds_that_were_left_out_on_the_word_of_one_are_found_with_its_name(open_ward):
    ward = open_ward(choices=choices_of(training_of(rounds=6)))
    ward.coordinator(engine=led_by_the_second(ward)).run()
    # Its lie is in no log of its own, which would be found too.
    told = report(ward, tuple(site for site in evidence_of(ward) if site.evidence.member != "h2"))
    (finding,) = told.findings
    assert finding.reason == "missing-round"
    assert "Rounds 3 to 5" in finding.message
    assert "h2 had signed that it masked or paid for round 4294967295" in finding.message


# What others write


def test_what_another_hospital_says_is_wrong_there_reaches_no_terminal_as_it_is(finished):
    problem = Finding("odd\x1b[2J", "Nothing.\x1b[1A\x1b[2KYes: all is whole.\u202e", "h3\n", "Go on\x07.")
    told = report(finished, showing(finished, 2, problems=(problem,)))
    (finding,) = told.findings
    assert finding == Finding(
        "odd\ufffd[2J", "h2 says: Nothing.\ufffd[1A\ufffd[2KYes: all is whole.\ufffd", "h2", "Go on\ufffd."
    )
    assert all("\x1b" not in f"{check.what}{check.detail}" for check in told.checks)


@pytest.mark.parametrize("reason", ["undercharged-round", "ledger-altered", "egress-altered"])
def test_what_a_hospital_says_of_another_is_told_as_its_own_word_and_names_nobody_else(finished, reason):
    problem = Finding(reason, "h3's ledger has rounds that were charged with less.", "h3", None)
    told = report(finished, showing(finished, 2, problems=(problem,)))
    assert told.findings == (
        Finding(reason, "h2 says: h3's ledger has rounds that were charged with less.", "h2", None),
    )


def test_what_a_hospital_refused_in_its_own_words_reaches_no_terminal_as_it_is(finished):
    refusal = Refusal("odd\x1b", "\x1b]0;title\x07")
    message = finished.hospitals[2]._sealer().seal(Stage.REFUSAL, refusal, round=3)
    TranscriptWriter(finished.folder / "coordinator/transcript", AROUND)(Around(2, message))
    (told,) = report(finished, ()).transcript.refusals
    assert (told.member, told.reason, told.message) == ("h2", "odd\ufffd", "\ufffd]0;title\ufffd")
    record = RefusalRecord.of(finished.charter, 2, refusal)
    assert (record.reason, record.message) == ("odd\ufffd", "\ufffd]0;title\ufffd")
