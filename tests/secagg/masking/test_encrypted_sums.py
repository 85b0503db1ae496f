"""What a hospital opens: a sum for contributors who signed, with the shares that belong to it, of one cohort a step.

Whatever it refuses leaves it where it was, and able to take the true sum.
"""

from __future__ import annotations

import os
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from secagg.errors import LocalProtocolError, RemoteProtocolError
from secagg.homomorphic.vectors import CiphertextSum
from secagg.homomorphic.words import pack_words, words_size
from secagg.masking import kdf
from secagg.masking.dealing import SELF_MASK_SEED
from secagg.masking.limits import payload_limit
from secagg.masking.messages import EncryptedSum, Masked, Propose, ResponderReveal, Reveal, SealedReveal, Sum, Unmask
from secagg.masking.session import Settled
from secagg.masking.shamir import SHARE_SIZE
from secagg.masking.states import ClientState, ServerState
from secagg.masking.verification import ForgedSumError
from secagg.wire import Sealer, Stage
from secagg.wire.envelope import decode
from tests.support.consortium import MODEL_DIGEST, Consortium, make_identities
from tests.support.encrypted import Round, forged, opened
from tests.support.errors import reason_of

SCHEMES = ("bfv", "ckks", "double-lock")
schemes = pytest.mark.parametrize("scheme", SCHEMES)
unmasked = pytest.mark.parametrize("scheme", ["bfv", "ckks"])


def takes_the_truth(made: Round, number: int) -> bool:
    """Whether a hospital still takes the true sum."""
    client = made.consortium.clients[number]
    client.receive(made.message)
    ring = made.consortium.server.session.ring
    return np.array_equal(ring.to_signed(client.take_sum().total.vector), made.truth())


def wrong_sums(made: Round) -> dict[str, tuple[dict[str, object], str]]:
    """Fields of a sum that may not be so, with the reason of the refusal."""
    payload, session = made.payload, made.consortium.server.session
    first, *rest = payload.contributions
    size = len(payload.vector)
    return {
        "none": ({"contributions": []}, "contributors-missing"),
        "one missing": ({"contributions": rest}, "contributors-missing"),
        "one too many": ({"contributions": [first, *payload.contributions]}, "contributors-missing"),
        "another order": ({"contributions": payload.contributions[::-1]}, "forged-contribution"),
        "one twice": ({"contributions": [first, first, *rest[1:]]}, "forged-contribution"),
        "other hospitals": (
            {"survivors": payload.survivors[:-1], "contributions": payload.contributions[1:]},
            "forged-contribution",
        ),
        "another payload": (
            {"contributions": [msgspec.structs.replace(first, payload_digest=bytes(32)), *rest]},
            "forged-contribution",
        ),
        "another sequence": (
            {"contributions": [msgspec.structs.replace(first, sequence=first.sequence + 1), *rest]},
            "forged-contribution",
        ),
        "no signature": (
            {"contributions": [msgspec.structs.replace(first, signature=bytes(64)), *rest]},
            "forged-contribution",
        ),
        "cut short": ({"vector": payload.vector[: size - 1]}, "wrong-length"),
        "too long": ({"vector": memoryview(bytes(payload.vector) + b"\0")}, "wrong-length"),
        "empty": ({"vector": memoryview(b"")}, "wrong-length"),
        "a fresh vector": ({"vector": made.masked(payload.survivors[0]).vector}, "wrong-length"),
        "no residues": ({"vector": memoryview(b"\xff" * size)}, "malformed"),
        "a tag too long": ({"tag": bytes(session.tag_size + 1)}, "wrong-length"),
        "no tag": ({"tag": b""}, "wrong-length"),
    }


# --- Contributors and form -----------------------------------------------------------------------------------


@schemes
@pytest.mark.parametrize("silent", [set(), {6}], ids=["who masked", "who missed the beginning"])
def test_a_sum_that_is_not_signed_for_or_has_no_form_is_refused_and_the_true_one_taken(tmp_path, scheme, silent):
    """Also by a hospital that heard nothing of the round before."""
    made = Round.make(tmp_path, scheme, 6, silent)
    client = made.consortium.clients[6]
    state, before = client.state, client.round
    for name, (fields, reason) in wrong_sums(made).items():
        # Another cohort than it revealed for is refused for that.
        due = "survivors-changed" if state is ClientState.REVEALED and "survivors" in fields else reason
        assert reason_of(client.receive, made.changed(**fields)) == due, name
        assert (client.state, client.round) == (state, before)
    assert takes_the_truth(made, 6)


@schemes
def test_signatures_of_another_round_do_not_vouch_for_this_one(tmp_path, scheme):
    first = Round.make(tmp_path, scheme)
    first.consortium.deliver([(number, first.message) for number in first.consortium.clients])
    second = Round.begin(first.consortium, step=2)
    client = first.consortium.clients[1]
    old = second.changed(contributions=first.payload.contributions)
    assert reason_of(client.receive, old) == "forged-contribution"
    assert reason_of(client.receive, second.changed(vector=first.payload.vector, step=1)) == "step-changed"
    assert takes_the_truth(second, 1)


def test_signatures_of_another_epoch_do_not_vouch_for_this_one(tmp_path):
    first = Round.make(tmp_path, "bfv")
    old = first.consortium.server.session
    first.consortium.server = type(first.consortium.server)(replace(old, epoch=2, first_round=2))
    first.consortium.set_up()
    second = Round.begin(first.consortium)
    late = second.changed(contributions=first.payload.contributions)
    assert reason_of(first.consortium.clients[1].receive, late) == "forged-contribution"


@schemes
def test_a_sum_over_fewer_than_t_is_refused_whoever_signed(tmp_path, scheme):
    made = Round.make(tmp_path, scheme)
    few = made.changed(survivors=[1, 2, 3], contributions=made.payload.contributions[:3])
    assert reason_of(made.consortium.clients[1].receive, few) == "below-threshold"


@schemes
def test_a_sum_in_the_clear_is_none_where_sums_are_encrypted_and_the_other_way_round(tmp_path, scheme):
    made = Round.make(tmp_path / scheme, scheme)
    plain = Sum(1, [1, 2, 3, 4, 5], MODEL_DIGEST, memoryview(bytes(63)), bytes(8))
    assert reason_of(made.consortium.clients[1].receive, forged(made.consortium, Stage.SUM, plain)) == "malformed"
    masking = Consortium.make(tmp_path / "mask", 5)
    masking.set_up()
    masking.deliver(masking.server.begin(1))
    # So large it may not even be.
    message = forged(masking, Stage.SUM, made.payload)
    assert reason_of(masking.clients[1].receive, message) in ("malformed", "oversized")


# --- What the tag finds --------------------------------------------------------------------------------------


@schemes
def test_an_altered_ciphertext_that_opens_to_something_else_stops_the_hospital(tmp_path, scheme):
    made = Round.make(tmp_path, scheme)
    altered = bytearray(made.payload.vector)
    # The upper bits of the first coefficient: far above any noise.
    altered[6] ^= 0x40
    with pytest.raises(ForgedSumError):
        made.consortium.clients[1].receive(made.changed(vector=memoryview(altered)))
    assert made.consortium.clients[1].state is ClientState.STOPPED
    assert takes_the_truth(made, 2)


@unmasked
def test_one_hospitals_ciphertext_in_the_place_of_the_sum_stops_whoever_opens_it(tmp_path, scheme):
    made = Round.make(tmp_path, scheme)
    session = made.consortium.server.session
    alone = CiphertextSum(session.form)
    alone.add(made.masked(2).vector)
    vector = bytearray(session.sum_bytes)
    alone.take(memoryview(vector))
    for tag in (made.payload.tag, made.masked(2).tags):
        client = made.consortium.clients[1 if tag == made.payload.tag else 3]
        with pytest.raises(ForgedSumError):
            client.receive(made.changed(vector=memoryview(vector), tag=tag))


@schemes
def test_a_sum_of_a_round_that_is_over_is_refused_before_it_is_opened(tmp_path, scheme, monkeypatch):
    """By one that took no part in that round, and is asked about no other."""
    made = Round.make(tmp_path, scheme, 6, {6})
    assert takes_the_truth(made, 6)

    def opened_again(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("secagg.masking.group.GroupCipher.open_sum", opened_again)
    assert reason_of(made.consortium.clients[6].receive, made.message) == "stale-round"


# --- One cohort for each step --------------------------------------------------------------------------------


@unmasked
def test_a_step_is_opened_over_one_cohort_only_and_over_that_again_and_again(tmp_path, scheme):
    made = Round.make(tmp_path, scheme)
    consortium = made.consortium
    consortium.clients[1].receive(made.message)
    consortium.clients[1].take_sum()
    less = Round.begin(consortium, silent={5})
    assert less.payload.survivors == [1, 2, 3, 4]
    assert reason_of(consortium.clients[1].receive, less.message) == "differencing"
    assert takes_the_truth(less, 2)  # It never opened the first.
    same = Round.begin(consortium)
    assert takes_the_truth(same, 1)


@unmasked
def test_which_cohort_was_opened_outlives_a_crash_and_what_is_no_sum_counts_for_nothing(tmp_path, scheme, monkeypatch):
    """The cohort is on disk before the sum is opened, so that a crash in between cannot open two."""
    made = Round.make(tmp_path, scheme)
    consortium = made.consortium
    broken = made.changed(vector=memoryview(b"\xff" * len(made.payload.vector)))
    assert reason_of(consortium.clients[1].receive, broken) == "malformed"
    assert not consortium.latches[1]._read("SELECT * FROM cohorts")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr("secagg.masking.group.GroupCipher.open_sum", crash)
        with pytest.raises(KeyboardInterrupt):
            consortium.clients[1].receive(made.message)
    consortium.stop(1)
    consortium.start(1)
    old = consortium.server.session
    consortium.server = type(consortium.server)(replace(old, epoch=2, first_round=2, rounds=2))
    consortium.set_up()
    less = Round.begin(consortium, silent={5})
    assert reason_of(consortium.clients[1].receive, less.message) == "differencing"
    assert takes_the_truth(Round.begin(consortium), 1)


def over(made: Round, survivors: list[int]) -> bytes:
    """The true sum over these, with all that belongs to it: nothing forged."""
    session, total = made.consortium.server.session, CiphertextSum(made.consortium.server.session.form)
    for number in survivors:
        total.add(made.masked(number).vector)
    vector = bytearray(session.sum_bytes)
    total.take(memoryview(vector))
    tag = sum(int.from_bytes(made.masked(number).tags, "little") for number in survivors) % (1 << 8 * session.tag_size)
    signed = dict(zip(made.payload.survivors, made.payload.contributions, strict=True))
    return made.changed(
        survivors=survivors,
        contributions=[signed[number] for number in survivors],
        tag=tag.to_bytes(session.tag_size, "little"),
        vector=memoryview(vector),
    )


@unmasked
def test_limit_where_nobody_agrees_a_coordinator_can_give_hospitals_sums_over_different_hospitals(tmp_path, scheme):
    """Each opens one. They hold different models then, and masked vectors of different models are not added up."""
    made = Round.make(tmp_path, scheme, 6)
    for number, survivors in ((1, [1, 2, 3, 4, 5]), (2, [1, 2, 3, 4, 6])):
        client = made.consortium.clients[number]
        client.receive(over(made, survivors))
        total = client.take_sum().total
        expected = made.consortium.integers(made.vectors, *survivors)
        assert np.array_equal(client.session.ring.to_signed(total.vector), expected)


def test_under_the_double_lock_no_hospital_takes_a_sum_over_others_than_it_answered_for(tmp_path):
    made = Round.make(tmp_path, "double-lock", 6)
    for number in made.consortium.clients:
        message = over(made, [1, 2, 3, 4, 5] if number < 6 else [1, 2, 3, 4, 6])
        assert reason_of(made.consortium.clients[number].receive, message) == "survivors-changed"


# --- Where nothing is masked ---------------------------------------------------------------------------------


@unmasked
def test_where_nothing_is_masked_nobody_agrees_and_nobody_reveals(tmp_path, scheme):
    consortium = Consortium.make(tmp_path, 5, scheme=scheme)
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    vectors = consortium.random_vectors(np.random.default_rng(1))
    consortium.answer(consortium.mask(vectors))
    client = consortium.clients[1]
    for stage, payload in (
        (Stage.PROPOSE, Propose([1, 2, 3, 4])),
        (Stage.UNMASK, Unmask([1, 2, 3, 4], bytes(32), [])),
        (Stage.UNMASK, Unmask([1, 2, 3, 4, 5], bytes(32), [])),
    ):
        assert reason_of(client.receive, forged(consortium, stage, payload)) == "unexpected-message"
        assert client.state is ClientState.MASKED


@unmasked
def test_a_round_takes_one_message_of_each_hospital(tmp_path, scheme):
    made = Round.make(tmp_path, scheme, silent={5})
    consortium = made.consortium
    before = len(consortium.sent)
    second = Round.begin(consortium, silent={4})
    assert len(consortium.sent) - before == 4
    assert second.payload.reveals == []
    assert consortium.clients[1]._epoch.secrets.rounds == []


# --- Sealed shares -------------------------------------------------------------------------------------------


def reveal_of(made: Round, number: int) -> SealedReveal:
    return decode(opened(made.consortium, made.sent(number, Stage.REVEAL)).payload, SealedReveal)


def resealed(made: Round, number: int, shares: bytes) -> ResponderReveal:
    """What a hospital, or anybody who has the group's key, may say that ``number`` revealed."""
    group = made.consortium.clients[1]._epoch.group
    digest = reveal_of(made, number).survivors_digest
    key = group._reveal_key(made.consortium.server.round, number, digest)
    return ResponderReveal(number, key.seal(shares))


def test_no_share_is_in_anything_that_leaves_a_hospital_of_the_double_lock(tmp_path):
    made = Round.make(tmp_path, "double-lock", silent={5})
    everything = b"".join(message for _, message in made.consortium.sent) + made.message
    slot = 0
    for client in made.consortium.clients.values():
        for held in client._epoch.held.values():
            assert not any(share in everything for share in held.rounds[slot])
    # Its control: with the group's key they are all there.
    survivors = client.session.threshold
    found = made.consortium.clients[2]._epoch.group._open_reveals(made.payload.reveals, settled_of(made).survivors, 1)
    assert len(found) >= survivors
    assert made.consortium.clients[1]._epoch.held[2].rounds[slot][SELF_MASK_SEED] in dict(found)[1]


def settled_of(made: Round) -> Settled:
    return made.consortium.server.result


def test_reveals_that_do_not_belong_to_the_sum_are_refused_and_the_true_sum_taken(tmp_path):
    made = Round.make(tmp_path, "double-lock")
    reveals, client = made.payload.reveals, made.consortium.clients[1]
    first, *rest = reveals[0], *reveals[2:]
    size = 5 * SHARE_SIZE
    for name, shown, reason in (
        ("none", [], "too-few-revealed"),
        ("too few", reveals[:3], "too-few-revealed"),
        ("one twice", [first, first, *rest], "duplicate"),
        ("no member", [ResponderReveal(999, first.sealed), *rest], "duplicate"),
        ("another's", [ResponderReveal(2, first.sealed), *rest], "unreadable-shares"),
        ("altered", [ResponderReveal(1, bytes([first.sealed[0] ^ 1]) + first.sealed[1:]), *rest], "unreadable-shares"),
        ("empty", [ResponderReveal(1, b""), *rest], "unreadable-shares"),
        ("a share less", [resealed(made, 1, bytes(size - SHARE_SIZE)), *rest], "unreadable-shares"),
        ("half a share", [resealed(made, 1, bytes(size - 1)), *rest], "unreadable-shares"),
        ("wrong shares", [resealed(made, 1, bytes(size)), *rest], "wrong-share"),
    ):
        assert reason_of(client.receive, made.changed(reveals=shown)) == reason, name
        assert client.state is ClientState.REVEALED
    assert takes_the_truth(made, 1)


def test_shares_of_one_that_is_not_in_the_sum_are_refused(tmp_path):
    made = Round.make(tmp_path, "double-lock", silent={5})
    stranger = resealed(made, 1, bytes(5 * SHARE_SIZE))
    shown = [*made.payload.reveals[1:], ResponderReveal(5, stranger.sealed)]
    assert reason_of(made.consortium.clients[1].receive, made.changed(reveals=shown)) == "duplicate"


def test_sealed_shares_of_another_round_or_for_other_survivors_do_not_open(tmp_path):
    first = Round.make(tmp_path, "double-lock")
    first.consortium.deliver([(number, first.message) for number in first.consortium.clients])
    second = Round.begin(first.consortium, silent={5}, step=2)
    shown = [first.payload.reveals[0], *second.payload.reveals[1:]]
    assert reason_of(first.consortium.clients[1].receive, second.changed(reveals=shown)) == "unreadable-shares"
    group, session = first.consortium.clients[1]._epoch.group, first.consortium.server.session
    keys = {
        kdf.reveal_sealing_key(group._key, session, round_number, responder, digest)
        for round_number in (1, 2)
        for responder in (1, 2)
        for digest in (bytes(32), b"\1" * 32)
    }
    assert len(keys) == 8


def test_every_sum_that_comes_with_t_reveals_opens_whichever_they_are(tmp_path):
    made = Round.make(tmp_path, "double-lock")
    reveals = made.payload.reveals
    assert len(reveals) == 5
    for number in made.consortium.clients:
        fewer = [reveal for reveal in reveals if reveal.responder != number]
        made.consortium.clients[number].receive(made.changed(reveals=fewer[::-1]))
        found = made.consortium.clients[number].take_sum().total.vector
        assert np.array_equal(made.consortium.server.session.ring.to_signed(found), made.truth())


@pytest.mark.parametrize("silent", [set(), {7}])
def test_wrong_shares_that_nobody_could_check_are_left_out_while_t_right_ones_are_left(tmp_path, silent):
    """The coordinator cannot look at them, and a hospital has digests of its own shares only: commitments decide."""
    made = Round.make(tmp_path, "double-lock", 7, silent)
    client, wrong = made.consortium.clients[3], bytes(7 * SHARE_SIZE)
    threshold = client.session.threshold
    for liars in ({2}, {1, 6}, {4, 5, 6}):
        shown = [
            resealed(made, reveal.responder, wrong) if reveal.responder in liars else reveal
            for reveal in made.payload.reveals
        ]
        message = made.changed(reveals=shown)
        if len(shown) - len(liars) >= threshold:
            opened = client._epoch.group.open_sum(decode(opened_by(made, message), EncryptedSum), settled_of(made))
            assert np.array_equal(client.session.ring.to_signed(opened.vector), made.truth())
        else:
            assert reason_of(client.receive, message) == "wrong-share"
    assert takes_the_truth(made, 3)


def unreadable(made: Round, number: int) -> list[ResponderReveal]:
    """What a hospital may send in the place of its shares, and with the coordinator's help in another's."""
    others = next(reveal for reveal in made.payload.reveals if reveal.responder != number)
    shown = (bytes(len(others.sealed)), os.urandom(len(others.sealed)), b"", others.sealed)
    return [ResponderReveal(number, sealed) for sealed in shown] + [resealed(made, number, bytes(SHARE_SIZE))]


def test_shares_that_do_not_unseal_are_left_out_while_t_others_are_there(tmp_path):
    """The coordinator cannot tell, and all have revealed for this cohort: a refusal would be one for good."""
    made = Round.make(tmp_path, "double-lock", 6)
    client = made.consortium.clients[3]
    assert len(made.payload.reveals) == client.session.threshold + 2
    for reveal in unreadable(made, 2):
        shown = [reveal, *(honest for honest in made.payload.reveals if honest.responder != 2)]
        payload = decode(opened_by(made, made.changed(reveals=shown)), EncryptedSum)
        opened = client._epoch.group.open_sum(payload, settled_of(made))
        assert np.array_equal(client.session.ring.to_signed(opened.vector), made.truth())
    client.receive(made.changed(reveals=[reveal, *made.payload.reveals[2:]]))
    assert np.array_equal(client.session.ring.to_signed(client.take_sum().total.vector), made.truth())


def test_where_fewer_than_t_unseal_the_one_whose_shares_do_not_is_named(tmp_path):
    made = Round.make(tmp_path, "double-lock", 6)
    client = made.consortium.clients[3]
    for reveal in unreadable(made, 2):
        with pytest.raises(RemoteProtocolError) as caught:
            client.receive(made.changed(reveals=[reveal, *made.payload.reveals[3:]]))
        assert (caught.value.reason, caught.value.culprit) == ("unreadable-shares", "h2")
        assert client.state is ClientState.REVEALED
    assert takes_the_truth(made, 3)


def opened_by(made: Round, message: bytes) -> memoryview:
    return opened(made.consortium, message).payload


def test_the_coordinator_refuses_reveals_for_others_or_of_another_size_and_names_the_sender(tmp_path):
    consortium = Consortium.make(tmp_path, 5, scheme="double-lock")
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    outbox = consortium.answer(consortium.mask(consortium.random_vectors(np.random.default_rng(1))))
    replies = dict(consortium.deliver(outbox))
    server = consortium.server
    honest = decode(opened(consortium, replies[2]).payload, SealedReveal)
    assert len(honest.sealed) == 5 * SHARE_SIZE + 16
    sealer = Sealer(consortium.charter, 2, make_identities(5)[1], 1)
    for payload, reason in (
        (msgspec.structs.replace(honest, survivors_digest=bytes(32)), "survivors-changed"),
        (msgspec.structs.replace(honest, inputs_digest=bytes(32)), "inputs-changed"),
        (msgspec.structs.replace(honest, sealed=honest.sealed[:-1]), "wrong-length"),
        (msgspec.structs.replace(honest, sealed=honest.sealed + b"\0"), "wrong-length"),
        (Reveal(honest.survivors_digest, honest.inputs_digest, bytes(160), b""), "malformed"),
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            server.receive(2, sealer.seal(Stage.REVEAL, payload, round=1))
        assert caught.value.reason == reason
        assert caught.value.culprit in ("h2", None)
        assert 2 in server.missing
    assert server.receive(2, replies[2]) == []
    # It waits for all: whether shares are right it cannot see, and whoever can must not lack any.
    for number in (1, 3, 4):
        assert server.receive(number, replies[number]) == []
    assert server.state is ServerState.UNMASKING
    outbox = server.receive(5, replies[5])
    assert server.state is ServerState.READY
    consortium.deliver(outbox)
    assert all(client.take_sum() for client in consortium.clients.values())


def test_t_sealed_reveals_are_enough_when_waiting_is_over_and_fewer_are_not(tmp_path):
    for answering, reason in ((4, None), (3, "too-few-revealed")):
        consortium = Consortium.make(tmp_path / str(answering), 5, scheme="double-lock")
        consortium.set_up()
        vectors = consortium.random_vectors(np.random.default_rng(1))
        consortium.run_round(vectors, reveal_silent=set(range(answering + 1, 6)))
        fault = consortium.server.fault
        assert (fault.reason if fault else None) == reason
        assert (consortium.clients[1].take_sum() is None) is (reason is not None)


# --- What comes up to the coordinator ------------------------------------------------------------------------


@schemes
def test_the_coordinator_refuses_a_vector_that_is_no_ciphertext_and_its_sum_is_the_others(tmp_path, scheme):
    consortium = Consortium.make(tmp_path, 5, scheme=scheme)
    consortium.set_up()
    server = consortium.server
    consortium.deliver(server.begin(1))
    vectors = consortium.random_vectors(np.random.default_rng(1))
    masked = dict(consortium.mask(vectors))
    for number in (1, 2, 3, 4):
        server.receive(number, masked[number])
    honest = decode(opened(consortium, masked[5]).payload, Masked)
    size = len(honest.vector)
    sealer = Sealer(consortium.charter, 5, make_identities(5)[4], 1)
    spec, residues = server.session.form.spec, bytearray(honest.vector)
    last = np.zeros(spec.block, np.uint64)
    last[-1] = spec.parameters.modulus
    pack_words(last, memoryview(residues)[-words_size(spec.block) :])
    for vector, reason in (
        (b"", "wrong-length"),
        (bytes(honest.vector)[:-1], "wrong-length"),
        (bytes(honest.vector) + b"\0", "wrong-length"),
        (b"\xff" * size, "malformed"),
        # Up to the last residue.
        (bytes(residues), "malformed"),
    ):
        payload = msgspec.structs.replace(honest, vector=memoryview(vector))
        assert reason_of(server.receive, 5, sealer.seal(Stage.MASKED, payload, round=1)) == reason
        assert server.missing == {5}
    outbox = server.timeout()
    while server.result is None:
        outbox = consortium.answer(consortium.deliver(outbox, silent={5}))
    consortium.deliver(outbox)
    expected = consortium.integers(vectors, 1, 2, 3, 4)
    found = consortium.clients[5].take_sum().total.vector
    assert np.array_equal(server.session.ring.to_signed(found), expected)


@schemes
@pytest.mark.parametrize("members", [3, 7])
def test_no_honest_message_is_larger_than_its_limit_and_the_sum_is_almost_as_large(tmp_path, scheme, members):
    made = Round.make(tmp_path, scheme, members)
    session = made.consortium.server.session
    for _, message in made.consortium.sent:
        envelope = opened(made.consortium, message)
        assert len(envelope.payload) <= payload_limit(session, envelope.header.stage)
    size = len(opened(made.consortium, made.message).payload)
    assert size <= payload_limit(session, Stage.SUM)
    assert size > payload_limit(session, Stage.SUM) - 200 - 40 * members


@schemes
def test_the_coordinator_has_no_sum_to_show(tmp_path, scheme):
    made = Round.make(tmp_path, scheme)
    result, server = made.consortium.server.result, made.consortium.server
    assert not hasattr(result, "vector")
    with pytest.raises(LocalProtocolError) as caught:
        server._round.collection.packed_sum_of(MODEL_DIGEST)
    assert caught.value.reason == "encrypted"
