"""Of what hospitals answer, as much is taken as is due: all that honest ones say, and no flood."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import msgspec
import pytest

from secagg.charter.sections import ENCRYPTED_SCHEMES
from secagg.masking.messages import Refusal
from secagg.release import Contributor, PrivacyClaim, Release
from secagg.release.statement import statement_bytes
from secagg.transcript import audit_folder
from secagg.wire import Stage
from secagg.wire.envelope import peek
from tests.support.hospitals import SCALED_BY_SUMS, choices_of, tabular_spec, training_of
from training import coordinator as coordinator_module
from training.due_answers import DueAnswers, largest_answer, most_answers
from training.engines.base import Exchange, Phase
from training.engines.embedded import DropOut, EmbeddedEngine
from training.messages import LARGEST_ANSWER, Attest


@dataclass
class Comparing:
    """Passes everything on, and compares it with what is due."""

    engine: object
    charter: object
    phases: set

    def exchange(self, phase, outbox, round_number):
        came = self.engine.exchange(phase, outbox, round_number)
        assert DueAnswers(Answering(came), self.charter).exchange(phase, outbox, round_number) == came
        self.phases.add(phase)
        return came


@dataclass
class Answering:
    """Answers anything with the same."""

    answer: Exchange

    def exchange(self, *_):
        return self.answer


@pytest.fixture
def compared(monkeypatch):
    """The phases in which what came has been compared with what is due."""
    phases = set()
    monkeypatch.setattr(coordinator_module, "DueAnswers", lambda engine, charter: Comparing(engine, charter, phases))
    return phases


@pytest.mark.parametrize("scheme", ["mask", *sorted(ENCRYPTED_SCHEMES)])
def test_nothing_that_honest_hospitals_say_is_lost_whatever_they_missed_and_refuse(open_ward, compared, scheme):
    spec = tabular_spec(**SCALED_BY_SUMS) if scheme == "mask" else None
    ward = open_ward(hospitals=5, choices=choices_of(training_of(local_steps=1), scheme=scheme), spec=spec)
    missed = [DropOut(2, 1, Phase.APPLY), DropOut(3, 2, Phase.REVEAL), DropOut(4, 0, Phase.ADVERTISE)]
    ward.stop_before(Phase.MASK, 2)
    ward.close()
    ward.state_file(5).unlink()
    ward = open_ward()
    ward.coordinator(*missed).run()
    assert ward.sums == [3, 3, 3, 3, 3]
    assert {Phase.CATCH_UP, Phase.DEAL, Phase.CONCLUDE, Phase.WITNESS} <= compared


def test_who_refuses_each_of_many_messages_is_heard_with_each(open_ward):
    ward = open_ward()
    outbox = [(1, b"a sum that it has")] * 1000
    came = EmbeddedEngine(ward.hospitals).exchange(Phase.CATCH_UP, outbox, 0)
    assert len(came.inbox) == 1000
    assert DueAnswers(Answering(came), ward.charter).exchange(Phase.CATCH_UP, outbox, 0) == came


@pytest.mark.parametrize("members", [3, 1000])
def test_the_longest_attestation_that_there_can_be_is_not_too_large(members):
    digest, most = "0" * 64, (1 << 32) - 1
    names = [f"{number:064}" for number in range(members)]
    release = Release(
        charter=digest,
        charter_name=64 * "h",
        model_digest=digest,
        initial_model_digest=digest,
        sums=most,
        rounds=most,
        contributors=tuple(Contributor(name, most) for name in names),
        privacy=PrivacyClaim("distributed", "patient", 1.2345678901234567e-300, 1.2345678901234567e-300),
    )
    payload = msgspec.msgpack.encode(Attest(statement_bytes(b"", release), bytes(64)))
    assert len(payload) < largest_answer(Phase.CONCLUDE, SimpleNamespace(members=names)) < LARGEST_ANSWER


@pytest.mark.parametrize("letter", ["n", "\N{HOSPITAL}"])
def test_the_longest_refusal_is_not_too_large_in_any_phase(open_ward, letter):
    charter = open_ward().charter.charter
    longest = msgspec.msgpack.encode(Refusal(64 * letter, 1024 * letter))
    allowed = [largest_answer(phase, charter) for phase in Phase]
    assert all(len(longest) < largest for largest in allowed if largest is not None)


def test_a_roster_is_answered_with_a_deal_for_each_and_all_else_with_one_message(open_ward):
    charter = open_ward().charter.charter
    assert {phase: most_answers(phase, charter) for phase in Phase} == dict.fromkeys(Phase, 1) | {Phase.DEAL: 4}


# Hospitals that answer with many messages, each of which is small enough


class Flooding:
    """Answers everything as it should, and then with what nobody has signed, a thousand times."""

    def __init__(self, hospital):
        self.hospital = hospital

    def receive(self, message):
        return [*self.hospital.receive(message), *[bytes(1000)] * 1000]


class FloodingAlone(Flooding):
    """Answers nothing as it should."""

    def receive(self, message):
        return [bytes(8 << 10)] * 1000 if peek(message).stage is not Stage.CONCLUDE else super().receive(message)


def transcript_of(ward, flooding):
    parties = ward.hospitals | {2: flooding(ward.hospitals[2])}
    ward.coordinator(engine=EmbeddedEngine(parties)).run()
    transcript = ward.folder / "coordinator" / "transcript"
    assert audit_folder(transcript, ward.charter).findings == ()
    return sum(path.stat().st_size for path in transcript.iterdir())


@pytest.mark.parametrize("flooding", [Flooding, FloodingAlone])
def test_a_hospital_that_answers_far_too_often_leaves_the_transcript_whole_and_small(open_ward, flooding):
    assert transcript_of(open_ward(hospitals=5), flooding) < 1 << 20


def test_control_a_coordinator_that_takes_whatever_comes_keeps_all_of_it(open_ward, monkeypatch):
    monkeypatch.setattr(coordinator_module, "DueAnswers", lambda engine, _charter: engine)
    assert transcript_of(open_ward(hospitals=5), Flooding) > 10 << 20


def test_who_floods_takes_part_all_the_same(open_ward):
    ward = open_ward(hospitals=5)
    ward.coordinator(engine=EmbeddedEngine(ward.hospitals | {2: Flooding(ward.hospitals[2])})).run()
    assert ward.sums == [3, 3, 3, 3, 3]


def test_what_was_not_asked_for_is_not_taken(open_ward):
    ward = open_ward()
    inbox = ((1, b"one"), (1, b"two"), (2, b"unasked"), (1, b"three"), (3, bytes(1 << 20)))
    due = DueAnswers(Answering(Exchange(inbox, frozenset({4}))), ward.charter)
    outbox = [(1, b""), (1, b""), (3, b""), (4, b"")]
    assert due.exchange(Phase.QUERY, outbox, 0) == Exchange(inbox[:2], frozenset({4}))
