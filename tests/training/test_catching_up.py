"""Hospitals that catch up from one another: what is handed over, what is refused, and what the coordinator sees of it.

Masking stands under all of it, and `snapshots.are_used` is told that it does not: what is tested here is the same under
every scheme that encrypts.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cli.main import run as command
from dp.ledger import Kind
from dp.ledger.entries import LEDGER
from secagg.charter.sections import ServerStep
from secagg.charter.state_size import largest_snapshot
from secagg.egress import Direction, read_egress
from secagg.errors import ProtocolError
from secagg.identity import Identity
from secagg.masking.messages import Sum
from secagg.release.dsse import read_envelope
from secagg.signed_log import read_log
from secagg.wire import Sealer, Stage
from secagg.wire.envelope import decode, peek
from tests.support.hospitals import (
    PRIVATE_CHOICES,
    PRIVATE_TASK,
    SCALED_BY_SUMS,
    RecordingEngine,
    Ward,
    choices_of,
    prepared,
    tabular_spec,
    training_of,
)
from tests.support.liars import LyingAboutItself
from tests.support.replies import read, refusal, stages, status, sum_with_a_traitor, word_of
from training import catching_up, snapshot_content, snapshots
from training.coordinator import Coordinator
from training.engines.base import Exchange, Phase
from training.engines.embedded import DropOut, EmbeddedEngine
from training.hospital_state import HospitalState, load_state
from training.messages import AskSnapshot, Conclude, Endorsed, Query, Snapshot, Status
from training.snapshot_content import content_of_state, content_of_sum
from training.snapshots import Route, seal_snapshot


@pytest.fixture(autouse=True)
def by_snapshot(monkeypatch):
    monkeypatch.setattr(snapshots, "are_used", lambda charter: True)


def query(ward, number):
    """A hospital's STATUS, with a key."""
    (message,) = ward.hospitals[number].receive(ward.forge(Stage.QUERY, Query()))
    return message


def ask(ward, donor, asking):
    return ward.hospitals[donor].receive(ward.forge(Stage.ASK_SNAPSHOT, AskSnapshot(memoryview(asking))))


def snapshot_for(ward, number, donor):
    """What ``donor`` hands to hospital ``number``, which has just been asked where it is."""
    (message,) = ask(ward, donor, query(ward, number))
    assert peek(message).stage is Stage.SNAPSHOT
    return message


def sealed_by(ward, donor, recipient, content):
    """A snapshot of a donor's own making, in order but for what is in it."""
    key = decode(read(ward, query(ward, recipient)).payload, Status).snapshot_key
    payload = seal_snapshot(Route(ward.charter, donor, recipient), content, key, np.random.default_rng(1).bytes)
    return signed_by(ward, donor, payload, recipient)


def signed_by(ward, donor, payload, recipient):
    identity = ward.hospitals[donor]._identity
    return Sealer(ward.charter, donor, identity, 1).seal(Stage.SNAPSHOT, payload, recipient=recipient)


def digests(ward):
    return {hospital.state.digest(hospital._layout) for hospital in ward.hospitals.values()}


def taken(ward, number):
    home = ward.home(number)
    entries = read_egress(home.egress, Identity.load(home.identity).public_key)
    return [(entry.stage, entry.sha256) for entry in entries if entry.direction is Direction.TOOK]


def payload_sha256(ward, message):
    return hashlib.sha256(read(ward, message).payload).hexdigest()


@pytest.fixture
def max_colluding():
    return 1


@pytest.fixture
def behind(open_ward, max_colluding):
    """Five hospitals with two sums, of which the second has lost its state file, and with it all tag keys."""
    server = ServerStep(optimizer="adam", learning_rate=0.1)
    choices = choices_of(training_of(rounds=3, server=server), max_colluding=max_colluding)
    ward = open_ward(hospitals=5, choices=choices)
    ward.stop_before(Phase.MASK, 3)
    ward.close()
    ward.state_file(2).unlink()
    ward = open_ward()
    assert ward.sums == [2, 0, 2, 2, 2]
    return ward


@pytest.fixture
def one_behind(open_ward):
    """Five hospitals in an epoch of two sums: the second missed the first, and has the key of its tag."""
    ward = open_ward(hospitals=5, choices=choices_of(training_of(rounds=3)))
    with pytest.raises(KeyboardInterrupt):
        ward.coordinator(engine=StoppingAfterRound(ward.hospitals, [DropOut(2, 1, Phase.APPLY)], 1)).run()
    assert ward.sums == [1, 0, 1, 1, 1]
    return ward


@dataclass
class StoppingAfterRound:
    """Delivers until a round is over; then the coordinator is stopped."""

    parties: dict
    drop_outs: list
    last: int
    round: int = 0

    def exchange(self, phase, outbox, round_number):
        if self.round == self.last and (phase, round_number) != (Phase.APPLY, self.last):
            raise KeyboardInterrupt
        if phase is Phase.APPLY:
            self.round = round_number
        return EmbeddedEngine(self.parties, self.drop_outs).exchange(phase, outbox, round_number)


# Step by step


def test_a_state_that_was_handed_over_waits_until_others_endorse_it(behind):
    hospital, before = behind.hospitals[2], behind.hospitals[2].state
    (told,) = hospital.receive(snapshot_for(behind, 2, donor=1))
    assert decode(read(behind, told).payload, Status).steps == 0
    assert hospital.state is before
    assert stages(hospital.receive(word_of(behind, 1, 3))) == [Stage.STATUS]
    assert behind.sums == [2, 2, 2, 2, 2]
    assert len(digests(behind)) == 1
    assert load_state(behind.state_file(2), behind.charter.digest).digest(hospital._layout) in digests(behind)


@pytest.mark.parametrize("endorsers", [(), (1,), (1, 1), (2, 1)], ids=str)
def test_the_word_of_no_more_than_may_collude_or_ones_own_endorses_no_state(behind, endorsers):
    hospital = behind.hospitals[2]
    snapshot = snapshot_for(behind, 2, donor=1)
    shown = word_of(behind, *(number for number in endorsers if number != 2))
    hospital.receive(snapshot)
    assert refusal(behind, hospital.receive(shown)) == "not-endorsed"
    assert behind.sums == [2, 0, 2, 2, 2]
    assert refusal(behind, hospital.receive(word_of(behind, 1, 3))) == "nothing-to-endorse"


def test_a_sum_that_was_handed_over_waits_until_others_endorse_it_though_its_tag_fits(one_behind):
    assert stages(one_behind.hospitals[2].receive(snapshot_for(one_behind, 2, donor=3))) == [Stage.STATUS]
    assert one_behind.sums == [1, 0, 1, 1, 1]
    assert stages(one_behind.hospitals[2].receive(word_of(one_behind, 1, 3))) == [Stage.STATUS]
    assert one_behind.sums == [1, 1, 1, 1, 1]
    assert len(digests(one_behind)) == 1


def test_who_has_taken_a_handed_sum_hands_it_on(one_behind):
    one_behind.hospitals[2].receive(snapshot_for(one_behind, 2, donor=3))
    one_behind.hospitals[2].receive(word_of(one_behind, 1, 3))
    assert one_behind.hospitals[2].state.last_sum == one_behind.hospitals[3].state.last_sum != b""


@pytest.fixture
def without_key(one_behind):
    """As before, but the second was not set up in that epoch, and the third missed the sum too."""
    second, third = one_behind.hospitals[2], one_behind.hospitals[3]
    third._state = second.state
    second._state = replace(second.state, progress=msgspec.structs.replace(second.state.progress, tag_keys=()))
    return one_behind


def test_a_sum_whose_tags_key_is_lost_waits_to_be_endorsed_too(without_key):
    without_key.hospitals[2].receive(snapshot_for(without_key, 2, donor=1))
    assert without_key.sums == [1, 0, 0, 1, 1]
    without_key.hospitals[2].receive(word_of(without_key, 4, 5))
    assert without_key.sums == [1, 1, 0, 1, 1]


def test_a_sum_whose_tag_could_not_be_checked_is_handed_on_to_nobody(without_key):
    """Its donor has put another tag there; who has the key would find it, and blame the one that handed it on."""
    true = without_key.hospitals[1].state.last_sum
    tag = bytes(len(decode(read(without_key, true).payload, Sum).tag))
    altered = content_of_sum(with_payload(without_key, true, tag=tag))
    without_key.hospitals[2].receive(sealed_by(without_key, 1, 2, altered))
    without_key.hospitals[2].receive(word_of(without_key, 4, 5))
    without_key.hospitals[3].receive(snapshot_for(without_key, 3, donor=2))
    assert stages(without_key.hospitals[3].receive(word_of(without_key, 4, 5))) == [Stage.STATUS]
    assert without_key.sums == [1, 1, 1, 1, 1]
    assert len(digests(without_key)) == 1


def test_a_key_is_made_for_each_query_and_for_no_other_status(behind):
    keys = [status(behind, 2).snapshot_key for _ in range(3)]
    assert len(set(keys)) == 3
    assert {len(key) for key in keys} == {32}
    (told,) = behind.hospitals[2].receive(snapshot_for(behind, 2, donor=1))
    assert decode(read(behind, told).payload, Status).snapshot_key == b""


def test_where_hospitals_catch_up_by_sums_there_is_no_key_and_no_snapshot(behind, monkeypatch):
    asking, snapshot = query(behind, 2), snapshot_for(behind, 2, donor=1)
    monkeypatch.setattr(snapshots, "are_used", lambda charter: False)
    assert status(behind, 2).snapshot_key == b""
    assert refusal(behind, ask(behind, 1, asking)) == "unexpected-message"
    assert refusal(behind, behind.hospitals[2].receive(snapshot)) == "unexpected-message"


def test_where_they_catch_up_by_snapshots_no_coordinator_sends_sums(one_behind):
    message = one_behind.hospitals[1].state.last_sum
    assert peek(message).stage is Stage.MISSED_SUM
    assert refusal(one_behind, one_behind.hospitals[2].receive(message)) == "unexpected-message"


# What a donor refuses


def test_nothing_is_handed_to_who_is_not_behind(behind):
    assert refusal(behind, ask(behind, 1, query(behind, 3))) == "not-behind"
    assert refusal(behind, ask(behind, 2, query(behind, 1))) == "not-behind"
    assert refusal(behind, ask(behind, 1, query(behind, 1))) == "not-behind"


def test_nothing_is_handed_to_a_member_of_another_charter(behind, tmp_path):
    with Ward.open(prepared(tmp_path / "other", 5, choices_of(training_of(rounds=3), name="other"))) as other:
        assert refusal(behind, ask(behind, 1, query(other, 2))) == "other-charter"


def test_nothing_is_handed_over_for_a_status_that_its_sender_did_not_sign(behind):
    header, signature, payload = msgspec.msgpack.decode(query(behind, 2))
    (own_key,) = {decode(payload, Status).snapshot_key}
    altered = payload.replace(own_key, bytes([own_key[0] ^ 1]) + own_key[1:])
    assert refusal(behind, ask(behind, 1, msgspec.msgpack.encode([header, signature, altered]))) == "payload-altered"
    lied = Sealer(behind.charter, 2, behind.hospitals[3]._identity, 1).seal(Stage.STATUS, decode(payload, Status))
    assert refusal(behind, ask(behind, 1, lied)) == "bad-signature"


@pytest.mark.parametrize("key", [b"", bytes(31)], ids=["none", "too short"])
def test_nothing_is_handed_over_without_a_key(behind, key):
    told = msgspec.structs.replace(status(behind, 2), snapshot_key=key)
    message = Sealer(behind.charter, 2, behind.hospitals[2]._identity, 1).seal(Stage.STATUS, told)
    assert refusal(behind, ask(behind, 1, message)) == "no-snapshot-key"


def test_nothing_is_handed_over_for_what_is_no_status(behind):
    snapshot = snapshot_for(behind, 2, donor=1)
    assert refusal(behind, ask(behind, 3, snapshot)) == "unexpected-message"
    assert refusal(behind, ask(behind, 3, b"")) == "malformed"
    assert refusal(behind, ask(behind, 3, behind.forge(Stage.QUERY, Query()))) == "unexpected-message"


# What is not taken


def untouched(ward, message):
    """The reason why hospital 2 refuses a message; it stays as it was, and holds nothing."""
    before = ward.hospitals[2].state
    reason = refusal(ward, ward.hospitals[2].receive(message))
    assert refusal(ward, ward.hospitals[2].receive(word_of(ward, 1, 3, 4, 5))) == "nothing-to-endorse"
    assert ward.hospitals[2].state is before
    return reason


def test_a_snapshot_that_was_altered_on_its_way_is_refused(behind):
    message = snapshot_for(behind, 2, donor=1)
    for place in range(300, len(message), 40):
        altered = bytearray(message)
        altered[place] ^= 1
        assert untouched(behind, bytes(altered)) in ("payload-altered", "bad-signature", "malformed")
    assert stages(behind.hospitals[2].receive(message)) == [Stage.STATUS]


def test_a_snapshot_that_was_sealed_otherwise_is_refused(behind):
    message = snapshot_for(behind, 2, donor=1)
    true = decode(read(behind, message).payload, Snapshot)
    sealed = bytearray(true.sealed)
    sealed[7] ^= 1
    payload = Snapshot(true.donor_key, memoryview(bytes(sealed)))
    assert untouched(behind, signed_by(behind, 1, payload, 2)) == "unreadable-snapshot"


def test_a_snapshot_for_another_is_refused_also_where_it_is_addressed_anew(behind):
    behind.hospitals[3]._state = HospitalState.start(behind.charter.digest, behind.hospitals[2].state.model)
    for_another = snapshot_for(behind, 3, donor=1)
    payload = decode(read(behind, for_another).payload, Snapshot)
    query(behind, 2)
    assert refusal(behind, behind.hospitals[2].receive(for_another)) == "other-recipient"
    assert refusal(behind, behind.hospitals[2].receive(signed_by(behind, 1, payload, 0))) == "other-recipient"
    assert untouched(behind, signed_by(behind, 1, payload, 2)) == "unreadable-snapshot"


def test_another_donors_name_on_a_snapshot_does_not_open_it(behind):
    payload = decode(read(behind, snapshot_for(behind, 2, donor=1)).payload, Snapshot)
    assert untouched(behind, signed_by(behind, 3, payload, 2)) == "unreadable-snapshot"


def test_a_snapshot_is_taken_once_and_only_in_answer_to_the_latest_status(behind):
    hospital = behind.hospitals[2]
    message = snapshot_for(behind, 2, donor=1)
    assert stages(hospital.receive(message)) == [Stage.STATUS]
    assert refusal(behind, hospital.receive(message)) == "unexpected-message"
    query(behind, 2)
    assert untouched(behind, message) == "unreadable-snapshot"


def test_a_hospital_that_restarted_has_forgotten_its_key(behind, open_ward):
    message = snapshot_for(behind, 2, donor=1)
    behind.close()
    assert untouched(open_ward(), message) == "unexpected-message"


def test_a_key_is_shown_by_no_repr(behind):
    query(behind, 2)
    waiting = behind.hospitals[2]._catching_up
    assert waiting._key
    assert repr(waiting._key) not in repr(waiting)


def test_a_snapshot_larger_than_any_under_the_charter_is_refused_unread(behind):
    limit = largest_snapshot(behind.charter.charter)
    assert limit < 10_000
    large = Snapshot(bytes(32), memoryview(bytes(limit + 336)))
    assert untouched(behind, signed_by(behind, 1, large, 2)) == "oversized"


@pytest.mark.parametrize("content", [b"", b"\xc0", b"garbage", bytes(1000)], ids=["none", "nil", "text", "zeros"])
def test_a_snapshot_that_holds_no_state_is_refused(behind, content):
    assert untouched(behind, sealed_by(behind, 1, 2, content)) == "malformed"


def test_a_snapshot_of_an_earlier_state_is_refused(one_behind):
    old = HospitalState.start(one_behind.charter.digest, one_behind.hospitals[2].state.model)
    assert (
        untouched(one_behind, sealed_by(one_behind, 1, 2, content_of_state(old, one_behind.charter.charter)))
        == "not-ahead"
    )


@pytest.fixture
def handed_sum(one_behind):
    """The message with the sum that hospital 2 missed."""
    return one_behind.hospitals[3].state.last_sum


def with_payload(ward, message, **changes):
    payload = msgspec.structs.replace(decode(read(ward, message).payload, Sum), **changes)
    return ward.forge(Stage.MISSED_SUM, payload, epoch=1, round_number=1)


def test_a_sum_with_a_tag_that_does_not_fit_accuses_its_donor_and_stops_nobody(one_behind, handed_sum):
    tag = bytes(len(decode(read(one_behind, handed_sum).payload, Sum).tag))
    altered = with_payload(one_behind, handed_sum, tag=tag)
    assert untouched(one_behind, sealed_by(one_behind, 3, 2, content_of_sum(altered))) == "wrong-sum"
    assert one_behind.hospitals[2].stopped is None
    one_behind.hospitals[2].receive(snapshot_for(one_behind, 2, donor=4))
    one_behind.hospitals[2].receive(word_of(one_behind, 1, 4))
    assert len(digests(one_behind)) == 1


def test_a_sum_of_another_step_or_state_or_over_too_few_is_refused(one_behind, handed_sum):
    for reason, changes in (
        ("missed-sum", {"step": 2}),
        ("other-model", {"model_digest": bytes(32)}),
        ("below-threshold", {"survivors": [1, 3]}),
        ("wrong-length", {"vector": memoryview(b"")}),
    ):
        altered = with_payload(one_behind, handed_sum, **changes)
        assert untouched(one_behind, sealed_by(one_behind, 3, 2, content_of_sum(altered))) == reason


def test_another_message_in_the_place_of_a_sum_is_refused(one_behind):
    for message in (one_behind.forge(Stage.QUERY, Query()), query(one_behind, 1)):
        assert untouched(one_behind, sealed_by(one_behind, 3, 2, content_of_sum(message))) == "unexpected-message"


# The log, and the budget


def test_what_was_handed_over_is_logged_with_its_digest_when_it_is_taken_and_not_before(behind):
    before, message = taken(behind, 2), snapshot_for(behind, 2, donor=1)
    behind.hospitals[2].receive(message)
    assert taken(behind, 2) == before
    behind.hospitals[2].receive(word_of(behind, 1, 3))
    assert taken(behind, 2)[len(before) :] == [("SNAPSHOT", payload_sha256(behind, message))]


def test_a_handed_sum_is_logged_as_the_snapshot_that_it_came_in(one_behind):
    message = snapshot_for(one_behind, 2, donor=1)
    one_behind.hospitals[2].receive(message)
    assert taken(one_behind, 2) == []
    one_behind.hospitals[2].receive(word_of(one_behind, 1, 3))
    assert taken(one_behind, 2) == [("SNAPSHOT", payload_sha256(one_behind, message))]


def test_an_audit_finds_nothing_wrong_with_who_caught_up(behind, capsys):
    behind.coordinator().run()
    folder = behind.folder
    behind.close()
    log = f"h2={folder / 'hospitals/h2/egress.sqlite'}"
    audit = ["audit", "transcript", str(folder / "coordinator/transcript"), "--charter", str(folder / "charter")]
    assert command([*audit, "--egress", log]) == 0
    assert command(["audit", "egress", str(folder / "hospitals/h2")]) == 0
    assert "took in 3 sums and 1 snapshot of other hospitals" in " ".join(capsys.readouterr().out.split())


def test_rounds_that_a_hospital_took_no_part_in_cost_it_nothing(open_ward):
    def larger(policy):
        return msgspec.structs.replace(policy, maximum_epsilon=12.0)

    choices = msgspec.structs.replace(PRIVATE_CHOICES, epoch_rounds=3)
    ward = open_ward(hospitals=5, choices=choices, spec=PRIVATE_TASK, policy=larger)
    ward.coordinator(DropOut(2, 0, Phase.ADVERTISE)).run()
    assert len(digests(ward)) == 1
    home = ward.home(2)
    entries = read_log(home.ledger, Identity.load(home.identity).public_key, LEDGER)
    assert [entry for entry in entries if entry.kind is Kind.CHARGE] == []
    assert [entry.round for entry in entries if entry.kind is Kind.COMMIT] == [1, 2, 3]
    assert ward.hospitals[2].epsilon == 0.0


# Whole runs


def sent_to(engine, number):
    return [peek(message).stage for _, _, member, message in engine.sent if member == number]


@pytest.mark.parametrize("missed", [1, 2, 3])
def test_a_hospital_that_misses_one_sum_catches_up_and_takes_part_again(open_ward, missed):
    ward = open_ward(hospitals=5, choices=choices_of(training_of(rounds=4)))
    engine = RecordingEngine(ward.hospitals, [DropOut(2, missed, Phase.APPLY)])
    coordinator = ward.coordinator(engine=engine)
    coordinator.run()
    assert ward.sums == [4, 4, 4, 4, 4]
    assert len(digests(ward)) == 1
    assert sent_to(engine, 2).count(Stage.SNAPSHOT) == 1
    assert Stage.MISSED_SUM not in [stage for number in ward.hospitals for stage in sent_to(engine, number)]
    assert "h2" in coordinator.rounds[missed + 1 if missed < 3 else 0].survivors


def test_a_hospital_that_lost_everything_is_brought_up_to_date(behind):
    behind.coordinator().run()
    assert behind.sums == [3, 3, 3, 3, 3]
    assert len(digests(behind)) == 1


def test_a_hospital_that_lost_everything_is_brought_up_to_date_where_few_sums_carry_counts(open_ward):
    ward = open_ward(hospitals=5, choices=choices_of(training_of(rounds=4), metrics="exact", metrics_every=3))
    ward.stop_before(Phase.MASK, 4)
    ward.close()
    ward.state_file(2).unlink()
    ward = open_ward()
    assert [len(applied.cells) > 0 for applied in ward.hospitals[1].state.progress.applied] == [False, False, True]
    ward.coordinator().run()
    assert ward.sums == [4, 4, 4, 4, 4]
    assert len(digests(ward)) == 1


def test_a_hospital_that_was_away_during_statistics_is_brought_up_to_date(open_ward):
    ward = open_ward(hospitals=5, spec=tabular_spec(**SCALED_BY_SUMS), choices=choices_of(training_of(rounds=3)))
    away = [DropOut(5, 1, phase) for phase in (Phase.MASK, Phase.APPLY)]
    ward.coordinator(*away, DropOut(5, 0, Phase.ADVERTISE)).run()
    assert ward.sums == [3, 3, 3, 3, 3]
    assert len(digests(ward)) == 1


@pytest.mark.parametrize("missed", [(1,), (2,), (1, 2)], ids=str)
def test_a_hospital_that_misses_the_sum_of_statistics_or_the_next_catches_up(open_ward, missed):
    ward = open_ward(hospitals=5, spec=tabular_spec(**SCALED_BY_SUMS))
    ward.coordinator(*(DropOut(5, number, Phase.APPLY) for number in missed)).run()
    assert ward.sums == [3, 3, 3, 3, 3]
    assert len(digests(ward)) == 1


def test_several_that_are_behind_are_handed_theirs_by_several(open_ward):
    ward = open_ward(hospitals=7, choices=choices_of(training_of(rounds=3)))
    ward.stop_before(Phase.MASK, 3)
    ward.close()
    for number in (2, 4):
        ward.state_file(number).unlink()
    ward = open_ward()
    engine = RecordingEngine(ward.hospitals)
    ward.coordinator(engine=engine).run()
    assert len(digests(ward)) == 1
    donors = [member for _, _, member, message in engine.sent if peek(message).stage is Stage.ASK_SNAPSHOT]
    assert len(set(donors)) == 2


def test_snapshots_are_carried_as_they_are(behind):
    engine = RecordingEngine(behind.hospitals)
    behind.coordinator(engine=engine).run()
    carried = [message for _, _, _, message in engine.sent if peek(message).stage is Stage.SNAPSHOT]
    given = [message for _, _, _, message in engine.received if peek(message).stage is Stage.SNAPSHOT]
    assert carried == given
    assert len(carried) == 1


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_sum_that_reached_nobody_is_summed_anew(open_ward, number):
    """No hospital has it, and the keys that it could be opened with are gone with the epoch."""
    ward = open_ward(hospitals=5)
    ward.stop_before(Phase.APPLY, number)
    ward.close()
    ward = open_ward()
    ward.coordinator().run()
    assert ward.sums == [3, 3, 3, 3, 3]
    assert len(digests(ward)) == 1


def test_a_coordinator_that_lost_its_folder_learns_from_the_hospitals_how_far_they_are(open_ward):
    ward = open_ward(hospitals=5)
    ward.stop_before(Phase.MASK, 2)
    for path in (ward.folder / "coordinator").glob("*.json"):
        path.unlink()
    ward.coordinator().run()
    assert ward.sums == [3, 3, 3, 3, 3]


# A sum that has reached too few to be endorsed


@pytest.fixture
def scheme():
    return "mask"


@pytest.fixture
def reached_one(open_ward, scheme):
    """Five hospitals, of which only the first was given the second sum before all were stopped."""
    ward = open_ward(hospitals=5, choices=choices_of(scheme=scheme))
    drop_outs = [DropOut(number, 2, Phase.APPLY) for number in (2, 3, 4, 5)]
    with pytest.raises(KeyboardInterrupt):
        ward.coordinator(engine=StoppingAfterRound(ward.hospitals, drop_outs, 2)).run()
    ward.close()
    ward = open_ward()
    assert ward.sums == [2, 1, 1, 1, 1]
    return ward


@pytest.mark.parametrize("scheme", ["mask", "double-lock", "bfv"])
def test_a_sum_that_reached_one_alone_is_given_up_and_summed_anew_with_it(reached_one):
    """All have given shares for a cohort with the one in it: without it, none could be summed."""
    alone = reached_one.hospitals[1].state.progress.applied
    coordinator = reached_one.coordinator()
    coordinator.run()
    assert reached_one.sums == [3, 3, 3, 3, 3]
    assert len(digests(reached_one)) == 1
    assert [record.step for record in coordinator.rounds] == [1, 2, 2, 3]
    assert coordinator.rounds[2].survivors == coordinator.rounds[1].survivors == ("h1", "h2", "h3", "h4", "h5")
    assert reached_one.hospitals[1].state.progress.applied[:1] == alone[:1]
    assert reached_one.hospitals[1].state.progress.applied[1] != alone[1]


@pytest.mark.parametrize("scheme", ["mask", "double-lock", "bfv"])
def test_a_last_sum_that_reached_one_alone_is_summed_anew_before_there_is_a_release(open_ward, scheme):
    ward = open_ward(hospitals=5, choices=choices_of(scheme=scheme))
    drop_outs = [DropOut(number, 3, Phase.APPLY) for number in (2, 3, 4, 5)]
    coordinator = ward.coordinator(engine=EmbeddedEngine(ward.hospitals, drop_outs))
    assert len(read_envelope(coordinator.run()).signatures) == 5
    assert [record.step for record in coordinator.rounds] == [1, 2, 3, 3]
    assert len(digests(ward)) == 1


@pytest.fixture(params=["bfv", "double-lock"])
def overtaken(open_ward, request):
    """Five hospitals with all sums: the first was alone with the last, and away when the others made it anew."""
    training = training_of(rounds=2, local_steps=1)
    ward = open_ward(hospitals=5, choices=choices_of(training, scheme=request.param, epoch_rounds=2))
    drop_outs = [DropOut(number, 2, Phase.APPLY) for number in (2, 3, 4, 5)]
    if request.param == "double-lock":
        # Shares were given over a cohort without it; over one with it, they would be given again for no other.
        drop_outs.append(DropOut(1, 2, Phase.MASK))
    with pytest.raises(KeyboardInterrupt):
        ward.coordinator(engine=StoppingAfterRound(ward.hospitals, drop_outs, 2)).run()
    assert ward.sums == [2, 1, 1, 1, 1]
    with pytest.raises(ProtocolError) as caught:
        ward.coordinator(engine=EmbeddedEngine(without(ward, 1))).run()
    assert caught.value.reason == "release-incomplete"
    assert (ward.sums, len(digests(ward))) == ([2, 2, 2, 2, 2], 2)
    return ward


def without(ward, *numbers):
    return {number: hospital for number, hospital in ward.hospitals.items() if number not in numbers}


def test_one_that_was_away_when_its_last_sum_was_made_anew_takes_the_others_and_signs_the_release(overtaken):
    first = overtaken.hospitals[2].state.progress.applied
    assert len(read_envelope(overtaken.coordinator().run()).signatures) == 5
    assert len(digests(overtaken)) == 1
    assert overtaken.hospitals[1].state.progress.applied == first


def test_one_that_could_not_be_brought_to_the_others_is_not_asked_to_attest(overtaken):
    """It would attest to nothing else any more; asked again, it comes to where they are."""
    with pytest.raises(ProtocolError) as caught:
        overtaken.coordinator(engine=LosingSnapshots(overtaken.hospitals)).run()
    assert caught.value.reason == "release-incomplete"
    assert "h1: It has other sums than the others" in caught.value.message
    assert not overtaken.hospitals[1].state.progress.concluded
    assert len(read_envelope(overtaken.coordinator().run()).signatures) == 5


class LosingSnapshots(EmbeddedEngine):
    """Delivers everything but snapshots."""

    def exchange(self, phase, outbox, round_number):
        kept = [item for item in outbox if peek(item[1]).stage is not Stage.SNAPSHOT]
        return super().exchange(phase, kept, round_number)


def test_what_was_handed_over_before_a_hospital_attested_is_not_taken_after_it(overtaken):
    """It would attest to a second model."""
    hospital = overtaken.hospitals[1]
    hospital.receive(snapshot_for(overtaken, 1, donor=2))
    assert stages(hospital.receive(overtaken.forge(Stage.CONCLUDE, Conclude(3)))) == [Stage.ATTEST]
    attested = hospital.state
    assert refusal(overtaken, hospital.receive(word_of(overtaken, 2, 3))) == "nothing-to-endorse"
    assert hospital.state is attested


def test_control_where_a_state_as_far_is_not_taken_there_is_never_a_release(overtaken, monkeypatch):
    monkeypatch.setattr(snapshot_content, "can_replace", lambda there, here: there.reached > here.reached)
    for _ in range(2):
        with pytest.raises(ProtocolError):
            overtaken.coordinator().run()
    assert len(digests(overtaken)) == 2


def test_one_that_attested_to_the_earlier_last_sum_comes_to_the_others_without_its_state_file(overtaken, open_ward):
    overtaken.hospitals[1].receive(overtaken.forge(Stage.CONCLUDE, Conclude(3)))
    assert overtaken.hospitals[1].state.progress.concluded
    with pytest.raises(ProtocolError) as caught:
        overtaken.coordinator().run()
    state = overtaken.state_file(1)
    assert f"remove {state.relative_to(overtaken.home(1).path)} from its folder" in caught.value.message
    overtaken.close()
    state.unlink()
    ward = open_ward()
    assert len(read_envelope(ward.coordinator().run()).signatures) == 5
    assert len(digests(ward)) == 1


def test_a_state_as_far_that_others_have_not_signed_for_is_not_taken(overtaken):
    assert_first_stays_where_too_few_have_signed(overtaken)


def test_nobody_hands_its_state_to_one_that_has_it(overtaken):
    assert refusal(overtaken, ask(overtaken, 3, query(overtaken, 2))) == "not-behind"


def test_control_where_nobody_gives_a_sum_up_the_one_and_the_others_never_meet_again(reached_one, monkeypatch):
    monkeypatch.setattr(snapshot_content, "can_replace", lambda there, here: there.reached > here.reached)
    with pytest.raises(ProtocolError):
        reached_one.coordinator().run()
    assert len(digests(reached_one)) > 1


def test_a_sum_that_others_have_not_signed_against_is_not_given_up(reached_one):
    assert_first_stays_where_too_few_have_signed(reached_one)


def assert_first_stays_where_too_few_have_signed(ward):
    hospital, before = ward.hospitals[1], ward.hospitals[1].state
    for endorsers in ((), (2,), (1, 2)):
        snapshot = snapshot_for(ward, 1, donor=2)
        word = word_of(ward, *(number for number in endorsers if number != 1))
        hospital.receive(snapshot)
        assert refusal(ward, hospital.receive(word)) == "not-endorsed"
    assert hospital.state is before


def test_who_has_given_shares_for_its_next_sum_goes_back_by_none(reached_one):
    """All gave them for the second sum, which the first alone was given: it may go back by it, the others by none."""
    start = HospitalState.start(reached_one.charter.digest, reached_one.hospitals[2].state.model)
    charter = reached_one.charter.charter
    assert untouched(reached_one, sealed_by(reached_one, 1, 2, content_of_state(start, charter))) == "not-ahead"
    earlier = content_of_state(reached_one.hospitals[2].state, charter)
    assert stages(reached_one.hospitals[1].receive(sealed_by(reached_one, 2, 1, earlier))) == [Stage.STATUS]


def test_but_it_goes_to_where_as_many_sums_have_led_others(reached_one):
    hospital, others = reached_one.hospitals[2], (1, 3, 4, 5)
    start, (first,) = hospital.state, hospital.state.progress.applied
    elsewhere = replace(
        start, progress=msgspec.structs.replace(start.progress, applied=(msgspec.structs.replace(first, round=9),))
    )
    for number in others:
        reached_one.hospitals[number]._state = elsewhere
    hospital.receive(snapshot_for(reached_one, 2, donor=3))
    assert stages(hospital.receive(word_of(reached_one, *others))) == [Stage.STATUS]
    assert len(digests(reached_one)) == 1


# A sum that is only encrypted: nobody agrees to whose it is, and whoever is given it opens it


FOUR = ("h1", "h2", "h3", "h4")
ALL_FIVE = (*FOUR, "h5")
FIFTH_AWAY = DropOut(5, 2, Phase.MASK)


def without_second_sum(*numbers):
    return [DropOut(number, 2, Phase.APPLY) for number in numbers]


ONE, TWO = 1, 2


@pytest.fixture(params=[ONE, TWO])
def opened_by_few(open_ward, request):
    """Five hospitals. The second sum is over four, and reached as many as may lie; then the coordinator was stopped."""
    few = request.param
    ward = open_ward(hospitals=5, choices=choices_of(scheme="bfv", max_colluding=few))
    drop_outs = [FIFTH_AWAY, *without_second_sum(*range(few + 1, 6))]
    with pytest.raises(KeyboardInterrupt):
        ward.coordinator(engine=StoppingAfterRound(ward.hospitals, drop_outs, 2)).run()
    assert ward.sums == [2] * few + [1] * (5 - few)
    ward.refused.clear()
    return ward


def begun(engine, round_number):
    return [member for _, number, member, message in engine.sent if is_begin(message) and number == round_number]


def is_begin(message):
    return peek(message).stage is Stage.BEGIN


def test_a_sum_that_few_have_opened_is_summed_anew_over_the_same_though_others_are_there(opened_by_few):
    """Over all five, the few would have two sums, and in their difference the fifth's vector."""
    engine = RecordingEngine(opened_by_few.hospitals)
    coordinator = opened_by_few.coordinator(engine=engine)
    coordinator.run()
    assert begun(engine, 3) == [1, 2, 3, 4]
    assert [record.survivors for record in coordinator.rounds[1:]] == [FOUR, FOUR, ALL_FIVE]
    assert opened_by_few.refused == []
    assert opened_by_few.sums == [3, 3, 3, 3, 3]
    assert len(digests(opened_by_few)) == 1


def test_control_where_the_coordinator_does_not_remember_over_whom_they_are_handed_a_second_sum(
    opened_by_few, monkeypatch
):
    monkeypatch.setattr(Coordinator, "_asked_before", lambda *_: ())
    coordinator = opened_by_few.coordinator()
    coordinator.run()
    assert coordinator.rounds[2].survivors == ALL_FIVE
    assert ("h1", "differencing") in opened_by_few.refused
    assert len(digests(opened_by_few)) == 1


def test_where_one_of_them_cannot_mask_it_is_summed_over_others_and_who_opened_it_is_handed_theirs(opened_by_few):
    """Over three there is no sum: they are preferred once, and not waited for."""
    engine = RecordingEngine(opened_by_few.hospitals, [DropOut(4, 3, Phase.MASK)])
    coordinator = opened_by_few.coordinator(engine=engine)
    coordinator.run()
    assert [begun(engine, number) for number in (3, 4)] == [[1, 2, 3, 4], [1, 2, 3, 4, 5]]
    assert [record.survivors for record in coordinator.rounds[1:4]] == [FOUR, (), ALL_FIVE]
    assert opened_by_few.sums == [3, 3, 3, 3, 3]
    assert len(digests(opened_by_few)) == 1


WITHOUT_THE_FOURTH = ("h1", "h2", "h3", "h5")


@pytest.mark.parametrize("opened_by_few", [ONE], indirect=True)
def test_so_it_is_where_each_epoch_has_a_coordinator_of_its_own_and_that_hospital_never_masks_again(opened_by_few):
    """As in the field: that the same were asked in vain is in the folder."""
    never = [DropOut(4, number, Phase.MASK) for number in range(3, 20)]
    epochs = 0
    while not opened_by_few.coordinator(*never).run_epoch():
        epochs += 1
        assert epochs < 6
    records = opened_by_few.coordinator().rounds
    assert [record.survivors for record in records if record.round > 2 and record.step == 2] == [WITHOUT_THE_FOURTH]
    assert opened_by_few.sums == [3, 3, 3, 3, 3]
    assert len(digests(opened_by_few)) == 1


@pytest.mark.parametrize("opened_by_few", [ONE], indirect=True)
def test_nor_where_it_takes_no_part_in_the_epoch(opened_by_few):
    coordinator = opened_by_few.coordinator(DropOut(4, 0, Phase.ADVERTISE))
    coordinator.run()
    assert [record.survivors for record in coordinator.rounds if record.step == 2] == [FOUR, WITHOUT_THE_FOURTH]
    assert opened_by_few.sums == [3, 3, 3, 3, 3]
    assert len(digests(opened_by_few)) == 1


@pytest.mark.parametrize("opened_by_few", [TWO], indirect=True)
def test_where_so_few_can_open_that_of_others_the_run_ends_once_the_one_that_was_away_is_back(opened_by_few):
    """Two open only the first, and two only the second: neither are more than may lie."""
    with pytest.raises(ProtocolError) as caught:
        opened_by_few.coordinator(DropOut(4, 0, Phase.ADVERTISE)).run()
    assert caught.value.reason == "sum-not-taken"
    coordinator = opened_by_few.coordinator()
    coordinator.run()
    assert {record.survivors for record in coordinator.rounds if record.step == 2} == {FOUR, WITHOUT_THE_FOURTH}
    assert opened_by_few.sums == [3, 3, 3, 3, 3]
    assert len(digests(opened_by_few)) == 1


def test_who_has_opened_its_next_sum_says_over_whom_and_goes_back_by_none(opened_by_few):
    ward = opened_by_few
    hospital, charter = ward.hospitals[1], ward.charter.charter
    assert status(ward, 1).revealed_for == ()
    hospital.receive(snapshot_for(ward, 1, donor=3))
    hospital.receive(word_of(ward, 3, 4, 5))
    assert [status(ward, number).revealed_for for number in (1, 3)] == [(1, 2, 3, 4), ()]
    start = HospitalState.start(ward.charter.digest, hospital.state.model)
    earlier = content_of_state(start, charter)
    assert refusal(ward, hospital.receive(sealed_by(ward, 3, 1, earlier))) == "not-ahead"
    assert stages(ward.hospitals[3].receive(sealed_by(ward, 1, 3, earlier))) == [Stage.STATUS]


def test_a_coordinator_that_lost_its_folder_takes_the_word_of_those_who_opened_a_sum(open_ward):
    """Two were killed between opening it and keeping what it led to: their latches know of it, and their states not."""
    ward = open_ward(hospitals=5, choices=choices_of(scheme="bfv"))
    with pytest.raises(KeyboardInterrupt):
        ward.coordinator(engine=StoppingAfterRound(ward.hospitals, [], 1)).run()
    kept = {number: ward.state_file(number).read_bytes() for number in (1, 2)}
    drop_outs = [DropOut(5, 3, Phase.MASK), *(DropOut(number, 3, Phase.APPLY) for number in (3, 4, 5))]
    with pytest.raises(KeyboardInterrupt):
        ward.coordinator(engine=StoppingAfterRound(ward.hospitals, drop_outs, 3)).run()
    assert ward.sums == [2, 2, 1, 1, 1]
    ward.close()
    for number, content in kept.items():
        ward.state_file(number).write_bytes(content)
    shutil.rmtree(ward.folder / "coordinator")
    ward = open_ward()
    coordinator = ward.coordinator()
    coordinator.run()
    assert [record.survivors for record in coordinator.rounds] == [FOUR, ALL_FIVE]
    assert ward.refused == []
    assert ward.sums == [3, 3, 3, 3, 3]


# Hospitals that say of themselves what is not so


def test_one_that_claims_to_be_ahead_is_asked_for_nothing(open_ward):
    ward = open_ward(hospitals=5)
    ward.stop_before(Phase.MASK, 2)
    liar = Claiming(ward, 1, steps=2)
    engine = RecordingEngine(ward.hospitals | {1: liar})
    with pytest.raises(ProtocolError):
        ward.coordinator(engine=engine).run()
    assert [member for _, _, member, message in engine.sent if is_ask(message) and member == 1] == []
    assert ward.sums[1:] == [3, 3, 3, 3]


def is_ask(message):
    return peek(message).stage is Stage.ASK_SNAPSHOT


@dataclass
class Claiming:
    """A hospital that signs that it is further than it is."""

    ward: Ward
    number: int
    steps: int

    def receive(self, message):
        return [self.claim()] if peek(message).stage is Stage.QUERY else []

    def claim(self):
        true = status(self.ward, self.number)
        told = msgspec.structs.replace(true, steps=self.steps, state_digest=bytes(32))
        identity = self.ward.hospitals[self.number]._identity
        return Sealer(self.ward.charter, self.number, identity, 1).seal(Stage.STATUS, told)


def take_another_first_sum(ward, number):
    """It was alone with a sum, and away when the others made it anew and went on."""
    hospital = ward.hospitals[number]
    alone = msgspec.structs.replace(ward.hospitals[1].state.progress.applied[0], round=99)
    hospital._state = hospital.state.after_sum(alone, hospital.state.model + 1, hospital.state.optimizer)


@pytest.mark.parametrize("rounds", [2, 3])
def test_one_whose_sum_was_summed_anew_without_it_comes_to_where_the_others_are(open_ward, rounds):
    """Also where no round follows: the others are one sum further, and have finished."""
    ward = open_ward(hospitals=5, choices=choices_of(training_of(rounds=rounds)))
    drop_outs = [DropOut(2, number, phase) for number in (1, 2) for phase in (Phase.MASK, Phase.APPLY)]
    with pytest.raises(KeyboardInterrupt):
        ward.coordinator(engine=StoppingAfterRound(ward.hospitals, drop_outs, 2)).run()
    take_another_first_sum(ward, 2)
    assert ward.sums == [2, 1, 2, 2, 2]
    ward.coordinator().run()
    assert ward.sums == [rounds] * 5
    assert len(digests(ward)) == 1


def test_who_is_one_sum_behind_by_other_sums_is_handed_the_state(behind):
    take_another_first_sum(behind, 2)
    behind.hospitals[2].receive(snapshot_for(behind, 2, donor=1))
    assert stages(behind.hospitals[2].receive(word_of(behind, 1, 3))) == [Stage.STATUS]
    assert len(digests(behind)) == 1


# Donors that lie


@dataclass
class Lying:
    """A donor that hands over a model of its own making, and is honest in all else."""

    ward: Ward
    number: int
    asked: list = field(default_factory=list)

    def receive(self, message):
        hospital = self.ward.hospitals[self.number]
        if not is_ask(message):
            return hospital.receive(message)
        self.asked.append(message)
        true = hospital.state
        hospital._state = replace(true, model=true.model + 1, last_sum=b"")
        try:
            return hospital.receive(message)
        finally:
            hospital._state = true


def lying(ward, *numbers):
    return {number: Lying(ward, number) for number in numbers}


def not_released(ward, engine):
    """The reason why there is no release: one that has contributed did not catch up, and so signs nothing."""
    with pytest.raises(ProtocolError) as caught:
        ward.coordinator(engine=engine).run()
    return caught.value.reason


@pytest.mark.parametrize("max_colluding", [1, 0])
def test_a_donor_that_lies_is_endorsed_by_nobody_and_the_next_is_asked(behind):
    liars = lying(behind, 1)
    engine = RecordingEngine(behind.hospitals | liars)
    behind.coordinator(engine=engine).run()
    assert len(liars[1].asked) == 1
    assert [member for _, _, member, message in engine.sent if is_ask(message)] == [1, 3]
    assert ("h2", "not-endorsed") in behind.refused
    assert behind.sums == [3, 3, 3, 3, 3]
    assert len(digests(behind)) == 1


def test_no_more_donors_are_asked_than_may_lie_and_one(behind):
    engine = RecordingEngine(behind.hospitals | lying(behind, 1, 3, 4, 5))
    assert not_released(behind, engine) == "release-incomplete"
    asked = [member for _, _, member, message in engine.sent if is_ask(message)]
    queries = sent_to(engine, 4).count(Stage.QUERY)
    assert len(asked) == 2 * queries
    assert behind.hospitals[2].state.sums == 0


class Hanging:
    """A donor whose process dies of whatever it is asked to hand over."""

    def __init__(self, hospital):
        self.hospital = hospital
        self.asked = 0

    def receive(self, message):
        if is_ask(message):
            self.asked += 1
            raise ProtocolError("site-ended", "The site's process has ended.")
        return self.hospital.receive(message)


def test_one_that_does_not_answer_is_waited_for_once_and_counts_as_none_of_them(behind):
    hanging = Hanging(behind.hospitals[1])
    engine = EmbeddedEngine(behind.hospitals | lying(behind, 3) | {1: hanging})
    behind.coordinator(engine=engine).run_epoch()
    assert hanging.asked == 1
    assert behind.sums == [3, 3, 3, 3, 3]
    assert len(digests(behind)) == 1


def test_control_a_hospital_that_asks_for_no_endorsement_takes_the_donors_model(behind, monkeypatch):
    """Also of the next donor: an honest one would put it right."""
    monkeypatch.setattr(catching_up, "require_endorsed", lambda *arguments: None)
    liars = lying(behind, 1, 3)
    with pytest.raises(ProtocolError):
        behind.coordinator(engine=EmbeddedEngine(behind.hospitals | liars)).run()
    assert len(behind.models) == 2


# Hospitals that are behind, and lie


LOW_ORDER = bytes(32)


def giving_no_good_key(ward, number, key):
    """A hospital that is behind, and signs a key that nobody can or will seal anything for."""
    return LyingAboutItself(ward.hospitals[number], lambda true: msgspec.structs.replace(true, snapshot_key=key))


@pytest.fixture
def three_behind(open_ward):
    """Five hospitals of which two have the first sum; of the three others the first answers before all others."""
    ward = open_ward(hospitals=5, choices=choices_of(training_of(rounds=4)))
    away = [DropOut(number, 1, Phase.APPLY) for number in (1, 4, 5)]
    with pytest.raises(KeyboardInterrupt):
        ward.coordinator(engine=StoppingAfterRound(ward.hospitals, away, 1)).run()
    assert ward.sums == [0, 1, 1, 0, 0]
    return ward


@pytest.mark.parametrize("key", [b"", bytes(31), LOW_ORDER], ids=["none", "too short", "of low order"])
def test_one_for_which_nothing_can_be_sealed_costs_no_other_its_donors(three_behind, key):
    liar = giving_no_good_key(three_behind, 1, key)
    three_behind.coordinator(engine=EmbeddedEngine(three_behind.hospitals | {1: liar})).run_epoch()
    assert three_behind.sums == [0, 3, 3, 3, 3]


class TakingRefusalsForSilence(EmbeddedEngine):
    """Says of a donor that refuses that it has not answered."""

    def exchange(self, phase, outbox, round_number):
        exchange = super().exchange(phase, outbox, round_number)
        refused = {sender for sender, message in exchange.inbox if peek(message).stage is Stage.REFUSAL}
        if not any(is_ask(message) for _, message in outbox):
            return exchange
        answered = tuple(item for item in exchange.inbox if item[0] not in refused)
        return Exchange(answered, exchange.dropped | refused)


def test_control_if_who_refuses_were_asked_no_more_the_others_would_stay_behind(three_behind):
    liar = giving_no_good_key(three_behind, 1, LOW_ORDER)
    with pytest.raises(ProtocolError, match="h1 has 0 of 1 sums; h4 has 0 of 1 sums; h5 has 0 of 1 sums"):
        three_behind.coordinator(engine=TakingRefusalsForSilence(three_behind.hospitals | {1: liar})).run_epoch()
    assert three_behind.sums == [0, 1, 1, 0, 0]


def test_who_has_given_no_key_has_nobody_asked_for_a_snapshot(three_behind):
    engine = RecordingEngine(three_behind.hospitals | {1: giving_no_good_key(three_behind, 1, b"")})
    three_behind.coordinator(engine=engine).run_epoch()
    asked = [
        decode(read(three_behind, message).payload, AskSnapshot) for _, _, _, message in engine.sent if is_ask(message)
    ]
    assert {peek(ask.status).sender for ask in asked} == {4, 5}


# A sum that was never taken, with a tag that fits: every hospital of an epoch has the key of its tags


def invented_sum(ward, others):
    return content_of_sum(sum_with_a_traitor(ward, 2, Stage.MISSED_SUM, round_number=2, of=others))


@pytest.fixture
def level(open_ward):
    """Five hospitals with one sum, and the key of the epoch in which the second is due."""
    ward = open_ward(hospitals=5)
    ward.stop_before(Phase.MASK, 2)
    return ward


def hand_over_what_was_invented(ward, number):
    """What a hospital answers to the second hospital's sum, and to the word of all that there are."""
    claimed = memoryview(Claiming(ward, 2, steps=2).claim())
    snapshot = sealed_by(ward, 2, number, invented_sum(ward, [other for other in ward.hospitals if other != number]))
    others = [other for other in ward.hospitals if other not in (2, number)]
    word = decode(read(ward, word_of(ward, *others)).payload, Endorsed)
    (told,) = ward.hospitals[number].receive(snapshot)
    assert peek(told).stage is Stage.STATUS
    return ward.hospitals[number].receive(ward.forge(Stage.ENDORSED, Endorsed([*word.statuses, claimed])))


def test_a_sum_that_was_never_taken_is_endorsed_by_nobody_though_its_tag_fits(level):
    """The attack: one hospital, beside an honest coordinator, moves all others to a model of its choice."""
    before = level.models
    for number in (1, 3, 4, 5):
        assert refusal(level, hand_over_what_was_invented(level, number)) == "not-endorsed"
    assert (level.models, level.sums) == (before, [1, 1, 1, 1, 1])


@pytest.fixture
def by_sums(monkeypatch):
    monkeypatch.setattr(snapshots, "are_used", lambda charter: False)


def test_a_missed_sum_with_a_vector_that_was_never_sent_is_refused(level, by_sums):
    """With a hospital's help its tag fits; of a round far ahead, all later ones would be stale."""
    for number in (1, 3):
        forged = sum_with_a_traitor(level, 2, Stage.MISSED_SUM, round_number=4_000_000_000)
        assert refusal(level, level.hospitals[number].receive(forged)) == "never-masked"
    assert level.sums == [1, 1, 1, 1, 1]


def test_control_where_nobody_asks_what_was_masked_it_is_taken(level, by_sums, monkeypatch):
    monkeypatch.setattr(catching_up.CatchingUp, "_require_masked", lambda *arguments: None)
    forged = sum_with_a_traitor(level, 2, Stage.MISSED_SUM, round_number=4_000_000_000)
    assert stages(level.hospitals[1].receive(forged)) == [Stage.STATUS]
    assert level.sums == [2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("statuses", "reason"), [([b""] * 1001, "malformed"), ([bytes(5000)] * 5, "oversized")], ids=["many", "large"]
)
def test_more_words_than_there_are_hospitals_are_refused_unread(level, statuses, reason):
    """Before anything waits to be endorsed: a list of millions of empty ones would take gigabytes."""
    message = level.forge(Stage.ENDORSED, Endorsed([memoryview(status) for status in statuses]))
    assert refusal(level, level.hospitals[1].receive(message)) == reason


def test_control_a_hospital_that_asks_for_no_endorsement_takes_the_sum_that_was_never_taken(level, monkeypatch):
    monkeypatch.setattr(catching_up, "require_endorsed", lambda *arguments: None)
    for number in (1, 3, 4, 5):
        assert stages(hand_over_what_was_invented(level, number)) == [Stage.STATUS]
    assert level.sums == [2, 1, 2, 2, 2]


@dataclass
class HandsOnWhatWasNeverTaken(Claiming):
    """Claims to be one sum further than it is, and hands that sum to whoever it is asked for."""

    def receive(self, message):
        if not is_ask(message):
            return super().receive(message)
        asking = read(self.ward, bytes(decode(read(self.ward, message).payload, AskSnapshot).status))
        recipient, key = asking.header.sender, decode(asking.payload, Status).snapshot_key
        route = Route(self.ward.charter, self.number, recipient)
        payload = seal_snapshot(route, invented_sum(self.ward), key, np.random.default_rng(1).bytes)
        return [signed_by(self.ward, self.number, payload, recipient)]


def test_one_that_claims_to_have_the_next_sum_hands_it_to_nobody_and_it_is_summed(level):
    coordinator = level.coordinator(engine=EmbeddedEngine(level.hospitals | {2: HandsOnWhatWasNeverTaken(level, 2, 2)}))
    with pytest.raises(ProtocolError):
        coordinator.run()
    assert [record.step for record in coordinator.rounds] == [1, 2, 3]
    assert coordinator.rounds[1].survivors == ("h1", "h3", "h4", "h5")
    assert level.sums == [3, 1, 3, 3, 3]


@pytest.mark.parametrize("answer", [[], [b"garbage"]], ids=["nothing", "garbage"])
def test_a_donor_that_hands_nothing_over_is_passed_by(behind, answer):
    class Silent:
        def receive(self, message):
            return answer if is_ask(message) else behind.hospitals[1].receive(message)

    behind.coordinator(engine=EmbeddedEngine(behind.hospitals | {1: Silent()})).run()
    assert behind.sums == [3, 3, 3, 3, 3]
    assert len(digests(behind)) == 1


def test_a_snapshot_for_somebody_else_is_not_carried(behind):
    class Misaddressing:
        def receive(self, message):
            if not is_ask(message):
                return behind.hospitals[1].receive(message)
            return [signed_by(behind, 1, Snapshot(bytes(32), memoryview(b"")), recipient=3)]

    engine = RecordingEngine(behind.hospitals | {1: Misaddressing()})
    behind.coordinator(engine=engine).run()
    assert Stage.SNAPSHOT not in sent_to(engine, 3)
    assert len(digests(behind)) == 1


def test_a_recipient_that_falls_silent_keeps_nobody_waiting(behind):
    class SilentOnSnapshots(EmbeddedEngine):
        def exchange(self, phase, outbox, round_number):
            kept = [(member, message) for member, message in outbox if peek(message).stage is not Stage.SNAPSHOT]
            return super().exchange(phase, kept, round_number) if kept else Exchange((), frozenset({2}))

    assert not_released(behind, SilentOnSnapshots(behind.hospitals)) == "release-incomplete"
    assert behind.sums == [3, 0, 3, 3, 3]


def test_a_recipient_that_claims_nothing_is_given_nothing_and_harms_nobody(behind):
    """Only who has signed where it is can be handed anything."""
    asked = []

    class Quiet:
        def receive(self, message):
            asked.append(peek(message).stage)
            return []

    assert not_released(behind, EmbeddedEngine(behind.hospitals | {2: Quiet()})) == "release-incomplete"
    assert Stage.SNAPSHOT not in asked
    assert behind.sums == [3, 0, 3, 3, 3]


# What the coordinator sees


class NoCipher:
    """No cipher at all."""

    def seal(self, content):
        return content

    def open(self, sealed):
        return bytes(sealed)


def in_clear(ward, wanted: bytes) -> list[str]:
    """The files of the coordinator's folder that hold these bytes."""
    folder = ward.folder / "coordinator"
    return [str(path.relative_to(folder)) for path in sorted(Path(folder).rglob("*")) if holds(path, wanted)]


def holds(path, wanted):
    return path.is_file() and wanted in path.read_bytes()


def test_the_coordinators_transcript_and_store_hold_no_model_and_no_moment_in_clear(behind):
    state = behind.hospitals[1].state
    behind.coordinator().run()
    assert behind.hospitals[2].state.sums == 3
    for wanted in (state.model, state.optimizer.first, state.optimizer.second):
        assert in_clear(behind, wanted.tobytes()) == []


def test_control_with_nothing_sealed_the_same_search_finds_them(behind, monkeypatch):
    monkeypatch.setattr(Route, "key", lambda *_: NoCipher())
    state = behind.hospitals[1].state
    behind.coordinator().run()
    for wanted in (state.model, state.optimizer.first, state.optimizer.second):
        assert in_clear(behind, wanted.tobytes()) == ["transcript/epoch-000000.transcript"]


def test_no_sum_is_kept_by_the_coordinator(open_ward):
    ward = open_ward()
    ward.coordinator().run()
    assert not (ward.folder / "coordinator/sums").exists()


def test_control_where_hospitals_catch_up_by_sums_they_are_kept(open_ward, monkeypatch):
    monkeypatch.setattr(snapshots, "are_used", lambda charter: False)
    ward = open_ward()
    ward.coordinator().run()
    assert len(list((ward.folder / "coordinator/sums").iterdir())) == 3
