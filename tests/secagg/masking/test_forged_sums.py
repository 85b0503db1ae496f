"""A sum is checked before anything is done with it, with a key that the coordinator never sees.

The attacks on it, each with a build on which it succeeds, are in `training.attacks.sums`.
"""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest

from secagg.errors import RemoteProtocolError
from secagg.masking import MaskingClient, kdf, tags
from secagg.masking.dealing import Route
from secagg.masking.messages import Begin, Masked
from secagg.masking.round_tags import round_tag
from secagg.masking.states import ClientState
from secagg.masking.verification import ForgedSumError
from secagg.wire import Stage
from secagg.wire.envelope import peek
from tests.support.consortium import MODEL_DIGEST, Build, Consortium
from tests.support.misbehaving import MisbehavingCoordinator
from training.testbed.build import REAL

MEMBERS = 5
ALL = (1, 2, 3, 4, 5)


@pytest.fixture
def revealed(tmp_path):
    """A round in which all have revealed: the coordinator has the sum and its tag, and has not given them out."""
    return reveal_all(tmp_path)


def reveal_all(folder, build=REAL) -> MisbehavingCoordinator:
    consortium = Consortium.make(folder, MEMBERS, build)
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    coordinator.set_up()
    begin_and_reveal(coordinator)
    return coordinator


def begin_and_reveal(coordinator: MisbehavingCoordinator, step: int = 1) -> None:
    coordinator.begin(step=step)
    coordinator.collect({number: vector_of(coordinator, number) for number in ALL})
    coordinator.unmask(ALL)


def vector_of(coordinator: MisbehavingCoordinator, number: int):
    session = coordinator.session
    largest = session.ring.largest // MEMBERS
    generator = np.random.default_rng((coordinator.round, number))
    return session.ring.from_signed(generator.integers(-largest, largest, session.length))


def caught(coordinator: MisbehavingCoordinator, message: bytes) -> bool:
    """Whether every hospital refuses it, takes no sum, and stops."""
    for hospital in coordinator.clients.values():
        with pytest.raises(ForgedSumError) as raised:
            hospital.receive(message)
        assert (raised.value.reason, raised.value.exit_code) == ("forged-sum", 4)
        assert hospital.take_sum() is None
        assert hospital.state is ClientState.STOPPED
    return True


def accepted(coordinator: MisbehavingCoordinator, message: bytes) -> bool:
    for hospital in coordinator.clients.values():
        hospital.receive(message)
    return all(hospital.take_sum() is not None for hospital in coordinator.clients.values())


def test_control_the_true_sum_is_taken_by_every_hospital(revealed):
    assert accepted(revealed, revealed.honest_sum(ALL))


def test_a_hospital_that_missed_the_round_checks_its_sum_too(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    coordinator.set_up()
    coordinator.round = 1
    late = coordinator.clients[5]
    with pytest.raises(ForgedSumError):
        late.receive(coordinator.zero_sum((1, 2, 3, 4)))
    assert late.state is ClientState.STOPPED


def test_one_try_is_all_that_a_forger_has(revealed):
    """After a forged sum nothing is taken: not the true one, no new epoch, no round."""
    true = revealed.honest_sum(ALL)
    assert caught(revealed, revealed.zero_sum(ALL))
    for message in (true, revealed.forge(Stage.BEGIN, Begin(2), round_number=2)):
        with pytest.raises(RemoteProtocolError) as refused:
            revealed.clients[1].receive(message)
        assert refused.value.reason == "unexpected-message"
    later = MisbehavingCoordinator(revealed.session.charter, revealed.clients, epoch=2, first_round=5)
    with pytest.raises(RemoteProtocolError):
        later.open()


def test_limit_a_forger_has_a_try_with_each_hospital_and_what_one_takes_all_others_take(revealed):
    first, *others = revealed.clients.values()
    with pytest.raises(ForgedSumError):
        first.receive(revealed.zero_sum(ALL))
    zeros = revealed.session.ring.zeros(revealed.session.length)
    lucky = round_tag(zeros, revealed.session, first.tag_key, 1, MODEL_DIGEST, ALL)
    guessed = revealed.sum_message(ALL, bytes(revealed.session.vector_bytes), 1, lucky, MODEL_DIGEST)
    for hospital in others:
        hospital.receive(guessed)
        assert hospital.take_sum() is not None


# --- The key --------------------------------------------------------------------------------------------------


def test_all_hospitals_of_an_epoch_have_one_tag_key_and_those_of_another_epoch_another(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    keys = []
    for epoch in (1, 2):
        coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients, epoch=epoch, first_round=epoch)
        coordinator.set_up()
        (key,) = {client.tag_key for client in consortium.clients.values()}
        keys.append(key)
    assert keys[0] != keys[1]


class Overheard(MaskingClient):
    """Keeps all that leaves it."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.left = []

    def receive(self, message):
        replies = super().receive(message)
        self.left += replies
        return replies

    def mask(self, *arguments):
        reply = super().mask(*arguments)
        self.left.append(reply)
        return reply


def contributions_in_clear(folder) -> tuple[int, bool]:
    """In all that leaves a hospital in an epoch: how many of the contributions to the tag key; whether the key."""
    clients = reveal_all(folder, Build(client=Overheard)).clients.values()
    left = [message for client in clients for message in client.left]
    stages = Counter(peek(message).stage for message in left)
    assert stages == {Stage.ADVERTISE: 5, Stage.DEAL: 5 * 4, Stage.MASKED: 5, Stage.REVEAL: 5}
    keys = {client.tag_key for client in clients}
    contributions = [client._epoch.secrets.tag_contribution for client in clients]
    assert (len(keys), len(set(contributions))) == (1, 5)
    seen = sum(any(secret in message for message in left) for secret in contributions)
    return seen, any(secret in message for secret in keys for message in left)


def test_the_coordinator_never_sees_the_tag_key_or_a_part_of_it(tmp_path):
    """Neither does whoever reads along: no message of the epoch holds any of these bytes."""
    assert contributions_in_clear(tmp_path) == (0, False)


class NoCipher:
    """Seals nothing."""

    def seal(self, content, bound):
        return content + bytes(16)

    def open(self, sealed, bound):
        return bytes(sealed[:-16])


def test_control_where_deals_are_not_sealed_the_same_search_finds_every_part(tmp_path, monkeypatch):
    monkeypatch.setattr(Route, "sealing_key", lambda *_: NoCipher())
    assert contributions_in_clear(tmp_path) == (5, False)


def test_the_tag_that_is_sent_is_masked(revealed):
    """The same vector in two rounds: the tags that leave have nothing to do with those that the key gives."""
    session = revealed.session
    payload = msgspec.msgpack.decode(revealed.read(revealed.masked[1]).payload, type=Masked)
    key = kdf.round_tag_key(revealed.clients[1].tag_key, session, revealed.round, MODEL_DIGEST)
    vector = session.ring.zeros(session.length)
    plain = tags.tag(vector, session.ring, key, [1]).to_bytes(session.tag_size, "little")
    assert payload.tags != plain
    assert len(payload.tags) == session.tag_size
