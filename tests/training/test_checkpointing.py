"""At the end of a run the hospitals sign for one another's logs; who lies about its own is left out."""

from __future__ import annotations

import msgspec
import pytest

from dp.ledger import read_ledger
from secagg.egress import read_egress
from secagg.identity import Identity
from secagg.log_excerpt import checkpoint_of
from secagg.release.checkpoints import CHECKPOINTS_FILE, checkpoints_statement, read_checkpoints
from secagg.release.dsse import assemble, attest, read_signed
from secagg.wire import Sealer, Stage, open_envelope
from secagg.wire.envelope import peek
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK
from tests.support.replies import refusal
from training.engines.base import Exchange, Phase
from training.engines.embedded import DropOut, EmbeddedEngine
from training.messages import Checkpoint, Cosign, Cosigned, Witness

ANY_SIZE = 1 << 24


class Altering(EmbeddedEngine):
    """Has hospital 2 send another payload of one kind."""

    def __init__(self, ward, stage, payload):
        super().__init__(ward.hospitals)
        self._ward, self._stage, self._payload = ward, stage, payload

    def exchange(self, phase, outbox, round_number):
        exchange = super().exchange(phase, outbox, round_number)
        inbox = [(number, self._altered(number, message)) for number, message in exchange.inbox]
        return Exchange(tuple(inbox), exchange.dropped)

    def _altered(self, number, message):
        if (number, peek(message).stage) != (2, self._stage):
            return message
        return Sealer(self._ward.charter, 2, self._ward.hospitals[2]._identity, 2).seal(self._stage, self._payload)


def checkpoints(ward, number=1):
    return read_checkpoints(ward.hospitals[number].release_folder, ward.charter)


def test_all_have_the_same_checkpoints_of_the_logs_that_all_have_signed(open_ward):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    ward.coordinator().run()
    files = {(hospital.release_folder / CHECKPOINTS_FILE).read_bytes() for hospital in ward.hospitals.values()}
    assert len(files) == 1
    found = checkpoints(ward)
    assert list(found.by_name) == list(found.cosigned_by) == ["h1", "h2", "h3", "h4"]
    ward.close()
    for name, site in found.by_name.items():
        home = ward.homes[name]
        key = Identity.load(home.identity).public_key
        ledger, egress = read_ledger(home.ledger, key), read_egress(home.egress, key)
        assert site.ledger == checkpoint_of(ledger)
        assert site.egress == checkpoint_of(egress[: site.egress.entries])
        # What comes after it is what told it, and what co-signed.
        assert [entry.stage for entry in egress[site.egress.entries :]] == ["CHECKPOINT", "COSIGN"]


@pytest.mark.parametrize(
    "payload", [Checkpoint(1, "0" * 64, 1, "0" * 64, bytes(64)), Checkpoint(1, "0" * 64, 1, "0" * 64, b"")]
)
def test_a_checkpoint_that_is_not_its_hospitals_own_is_left_out(open_ward, payload):
    ward = open_ward()
    ward.coordinator(engine=Altering(ward, Stage.CHECKPOINT, payload)).run()
    assert list(checkpoints(ward).by_name) == ["h1", "h3", "h4"]


def test_a_signature_that_is_none_is_left_out(open_ward):
    ward = open_ward()
    ward.coordinator(engine=Altering(ward, Stage.COSIGN, Cosign(bytes(64)))).run()
    assert checkpoints(ward).cosigned_by == ("h1", "h3", "h4")


@pytest.mark.parametrize("phase", [Phase.RELEASE, Phase.WITNESS])
def test_a_coordinator_that_was_stopped_before_all_had_signed_has_them_sign_when_it_is_back(open_ward, phase):
    ward = open_ward()
    ward.stop_before(phase, 0)
    assert not (ward.hospitals[1].release_folder / CHECKPOINTS_FILE).exists()
    ward.coordinator().run()
    assert checkpoints(ward).cosigned_by == ("h1", "h2", "h3", "h4")


def test_who_comes_for_the_release_later_does_not_replace_what_all_have_signed(open_ward):
    ward = open_ward(hospitals=5)
    ward.coordinator(engine=EmbeddedEngine({number: ward.hospitals[number] for number in (1, 2, 3, 4)})).run()
    before = checkpoints(ward)
    assert before.cosigned_by == ("h1", "h2", "h3", "h4")
    ward.coordinator().run()
    assert ward.hospitals[5].is_released
    assert checkpoints(ward) == before


def test_who_cannot_be_reached_for_them_has_the_release_all_the_same(open_ward):
    ward = open_ward()
    ward.coordinator(DropOut(3, 0, Phase.WITNESS)).run()
    assert (ward.hospitals[3].release_folder / "model.safetensors").exists()
    assert not (ward.hospitals[3].release_folder / CHECKPOINTS_FILE).exists()
    assert checkpoints(ward).cosigned_by == ("h1", "h2", "h4")


class StopsHalfWay(EmbeddedEngine):
    """Gives what all have signed to the first so many hospitals, and is stopped."""

    def __init__(self, ward, first):
        super().__init__(ward.hospitals)
        self._first = first

    def exchange(self, phase, outbox, round_number):
        if outbox and peek(outbox[0][1]).stage is Stage.COSIGNED:
            super().exchange(phase, outbox[: self._first], round_number)
            raise KeyboardInterrupt
        return super().exchange(phase, outbox, round_number)


@pytest.mark.parametrize(("first", "second_list"), [(1, {2, 3, 4}), (2, set())])
def test_who_has_kept_a_first_list_refuses_a_second_and_the_run_ends_all_the_same(open_ward, first, second_list):
    """With one there are still enough others, of whom one may lie; with two there are not, and no list is kept."""
    ward = open_ward()
    with pytest.raises(KeyboardInterrupt):
        ward.coordinator(engine=StopsHalfWay(ward, first)).run()
    kept = checkpoints(ward)
    coordinator = ward.coordinator()
    coordinator.run()
    assert coordinator._store.state.witnessed
    assert all(hospital.is_released for hospital in ward.hospitals.values())
    assert all(checkpoints(ward, number) == kept for number in range(1, first + 1))
    later = {n for n in range(first + 1, 5) if (ward.hospitals[n].release_folder / CHECKPOINTS_FILE).exists()}
    assert later == second_list
    assert {checkpoints(ward, number).cosigned_by for number in later} <= {("h2", "h3", "h4")}


@pytest.fixture
def finished(open_ward):
    ward = open_ward()
    ward.coordinator().run()
    return ward


def witness(ward, statement):
    return ward.hospitals[1].receive(ward.forge(Stage.WITNESS, Witness(statement)))


def test_a_hospital_signs_for_no_checkpoint_that_is_not_its_hospitals_own(finished):
    signed = (finished.hospitals[1].release_folder / CHECKPOINTS_FILE).read_bytes()
    payload = msgspec.json.decode(signed, type=dict[str, object])["payload"]
    statement = msgspec.convert(payload, bytes, strict=False)
    (reply,) = witness(finished, statement)
    assert open_envelope(reply, finished.charter, ANY_SIZE).header.stage is Stage.COSIGN
    forged = statement.replace(b'"entries":', b'"entries":1', 1)
    assert refusal(finished, witness(finished, forged)) == "bad-checkpoints"


def test_forged_signatures_do_not_replace_what_a_hospital_has(finished):
    path = finished.hospitals[1].release_folder / CHECKPOINTS_FILE
    signed = path.read_bytes()
    forged = signed.replace(b'"sig": "', b'"sig": "AAAA', 1)
    replies = finished.hospitals[1].receive(finished.forge(Stage.COSIGNED, Cosigned(forged)))
    assert refusal(finished, replies) == "bad-checkpoints"
    assert path.read_bytes() == signed


def test_a_list_without_enough_signatures_or_without_its_own_entry_does_not_replace_it_or_come_in_its_place(finished):
    hospital = finished.hospitals[1]
    path = hospital.release_folder / CHECKPOINTS_FILE
    whole = path.read_bytes()
    signed, said = read_signed(whole), checkpoints(finished)
    few = assemble(signed.payload, signed.signatures[:2])
    lacking = checkpoints_statement(finished.charter, [site for name, site in said.by_name.items() if name != "h1"])
    assert refusal(finished, witness(finished, lacking)) == "bad-checkpoints"
    lacking = assemble(lacking, [attest(lacking, other._identity) for other in finished.hospitals.values()])
    for reason, message in (("too-few-signatures", few), ("bad-checkpoints", lacking)):
        replies = [hospital.receive(finished.forge(Stage.COSIGNED, Cosigned(message.to_json())))]
        assert path.read_bytes() == whole
        path.unlink()
        replies.append(hospital.receive(finished.forge(Stage.COSIGNED, Cosigned(message.to_json()))))
        assert [refusal(finished, reply) for reply in replies] == [reason, reason]
        assert not path.exists()
        path.write_bytes(whole)


def test_the_same_list_with_fewer_of_its_signatures_does_not_replace_it(finished):
    path = finished.hospitals[1].release_folder / CHECKPOINTS_FILE
    signed = read_signed(path.read_bytes())
    fewer = assemble(signed.payload, signed.signatures[:3]).to_json()
    replies = finished.hospitals[1].receive(finished.forge(Stage.COSIGNED, Cosigned(fewer)))
    assert refusal(finished, replies) == "already-witnessed"
    assert read_signed(path.read_bytes()) == signed


def test_nothing_is_signed_before_the_hospital_has_attested_to_its_model(open_ward):
    ward = open_ward()
    for stage, payload in ((Stage.WITNESS, Witness(b"")), (Stage.COSIGNED, Cosigned(b""))):
        assert refusal(ward, ward.hospitals[1].receive(ward.forge(stage, payload))) == "not-concluded"
