"""Surplus noise is removed from the sum, exactly, and nothing else is: which noise depends on who survives.

The attacks on it, each with a build on which it succeeds, are in `training.attacks.noise`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secagg.charter import Encoding
from secagg.errors import LocalProtocolError, RemoteProtocolError
from secagg.masking import MaskingServer, Purpose, Session
from secagg.masking.dealing import MASK_KEY
from secagg.masking.messages import Masked, Reveal
from secagg.masking.noise import kept_components, removed_components
from secagg.masking.states import ClientState, ServerState
from secagg.masking.verification import ForgedSumError, verify_sum
from secagg.transcript import audit_epoch
from secagg.wire import Stage
from secagg.wire.envelope import decode, peek
from tests.support.consortium import MODEL_DIGEST, Consortium, integer_sum
from tests.support.misbehaving import MisbehavingCoordinator
from training.attacks.noise import NoisyCoordinator
from training.testbed.toy_noise import ToyNoise, noisy

MEMBERS, THRESHOLD = 6, 4
ALL_LEVELS = [(), (5,), (6,), (6, 5)]


def expected_sum(consortium: Consortium, vectors: dict, survivors: Collection[int]) -> np.ndarray:
    """The plain sum, and the noise that must stay: read off the charter's levels once more, not as the code does."""
    levels = (*consortium.charter.charter.privacy.noise_levels, consortium.charter.charter.threshold)
    stays = next(index for index, level in enumerate(levels) if level <= len(survivors))
    ring = consortium.server.session.ring
    total = integer_sum(consortium, vectors, survivors)
    for number in survivors:
        total = total + sum(ring.to_signed(noise) for noise in consortium.drawn[number][:stays])
    return ring.to_signed(ring.from_signed(total))


def check_sum(consortium: Consortium, vectors: dict, survivors: Collection[int]) -> None:
    """Everybody who takes part has it, the coordinator too."""
    ring, result = consortium.server.session.ring, consortium.server.result
    assert result is not None
    assert set(result.survivors.numbers) == set(survivors)
    expected = expected_sum(consortium, vectors, survivors)
    np.testing.assert_array_equal(ring.to_signed(result.vector), expected)
    for number in consortium.server.participants:
        taken = consortium.clients[number].take_sum()
        assert taken is not None
        np.testing.assert_array_equal(ring.to_signed(taken.total.vector), expected)


def small_vectors(consortium: Consortium, seed: int = 1) -> dict:
    """Far enough from the limit that noise makes no sum go round the ring."""
    session, generator = consortium.server.session, np.random.default_rng(seed)
    return {
        number: session.ring.from_signed(generator.integers(-1000, 1000, session.length))
        for number in consortium.clients
    }


def summed(folder: Path, silent: Collection[int] = (), levels=(6, 5), **changes) -> tuple[Consortium, dict]:
    consortium = Consortium.make(folder, MEMBERS, **noisy(*levels), **changes)
    vectors = small_vectors(consortium)
    consortium.set_up()
    consortium.run_round(vectors, mask_silent=silent)
    return consortium, vectors


# --- How much stays -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "survivors", "kept", "removed"),
    [
        ((), 5, 0, []),
        ((40, 35), 40, 0, [1, 2]),
        ((40, 35), 39, 1, [2]),
        ((40, 35), 35, 1, [2]),
        ((40, 35), 34, 2, []),
        ((38, 35, 30, 25), 31, 2, [3, 4]),
        ((38, 35, 30, 25), 21, 4, []),
    ],
)
def test_the_fewer_survive_the_more_components_stay(levels, survivors, kept, removed):
    assert kept_components(levels, survivors) == kept
    assert list(removed_components(levels, survivors)) == removed


# Few at a time: where too many are gone there is no sum at all.
subsets = st.sets(st.integers(1, MEMBERS), max_size=2)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(levels=st.sampled_from(ALL_LEVELS), advertise=subsets, mask=subsets, agree=subsets, reveal=subsets)
def test_any_pattern_of_drop_outs_leaves_exactly_the_noise_that_is_needed(
    tmp_path_factory, levels, advertise, mask, agree, reveal
):
    consortium = Consortium.make(tmp_path_factory.mktemp("latches"), MEMBERS, **noisy(*levels))
    with consortium:
        vectors = small_vectors(consortium)
        consortium.set_up(advertise)
        if consortium.server.state is not ServerState.READY:
            return
        consortium.run_round(vectors, mask, reveal, agree)
        if consortium.server.result is not None:
            check_sum(consortium, vectors, consortium.server.participants - mask)


@pytest.mark.parametrize("silent", [set(), {3}, {1, 6}], ids=["all", "one gone", "two gone"])
@pytest.mark.parametrize("levels", ALL_LEVELS, ids=str)
def test_every_level_is_exact(tmp_path, levels, silent):
    consortium, vectors = summed(tmp_path, silent, levels)
    check_sum(consortium, vectors, set(consortium.clients) - silent)


@pytest.mark.parametrize("bits", [16, 31, 32, 33, 64])
def test_every_field_width_is_exact(tmp_path, bits):
    consortium, vectors = summed(tmp_path, {2}, encoding=Encoding(field_bits=bits))
    check_sum(consortium, vectors, {1, 3, 4, 5, 6})


def test_every_round_of_an_epoch_has_noise_of_its_own(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS, **noisy(6, 5))
    vectors, keys = small_vectors(consortium), []
    consortium.set_up()
    for step, silent in enumerate([{2}, set(), {1, 4}], start=1):
        consortium.run_round(vectors, mask_silent=silent, step=step)
        check_sum(consortium, vectors, set(consortium.clients) - silent)
        keys += [noise.tobytes() for number in (3, 5) for noise in consortium.drawn[number]]
    assert len(set(keys)) == len(keys) == 12


def test_statistics_carry_no_noise_that_could_come_off(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS, **noisy(6, 5))
    session = Session(consortium.charter, 1, Purpose.STATISTICS, 1, 1)
    assert (session.noise_components, session.secrets_a_round) == (0, 2)


# --- What leaves a hospital -----------------------------------------------------------------------------------


def payloads(consortium: Consortium, stage: Stage, kind: type) -> list:
    reader = MisbehavingCoordinator(consortium.charter, consortium.clients)
    sent = [message for _, message in consortium.sent if peek(message).stage is stage]
    return [decode(reader.read(message).payload, kind) for message in sent]


@pytest.mark.parametrize(("silent", "removed"), [(set(), 2), ({3}, 1), ({1, 6}, 0)])
def test_shares_leave_of_the_noise_that_comes_off_and_of_no_other(tmp_path, silent, removed):
    consortium, _ = summed(tmp_path, silent)
    survivors = sorted(set(consortium.clients) - silent)
    kept = 2 - removed
    for number, reveal in zip(survivors, payloads(consortium, Stage.REVEAL, Reveal), strict=True):
        held = consortium.clients[number]._epoch.held
        assert len(reveal.seed_shares) == 32 * len(survivors) * (1 + removed)
        assert len(reveal.mask_key_shares) == 32 * len(silent)
        everything = reveal.seed_shares + reveal.mask_key_shares
        for owner in consortium.clients:
            noise = held[owner].rounds[0][MASK_KEY + 1 :]
            stays = noise if owner in silent else noise[:kept]
            assert not any(share in everything for share in stays)


def test_whoever_has_the_noise_of_all_can_read_the_sum_over_all_and_none_over_fewer(tmp_path):
    """A coordinator that names everybody gets the seeds of all masks of one's own, and of all noise; none of pairs."""
    consortium = Consortium.make(tmp_path, MEMBERS, **noisy(6, 5))
    coordinator, vectors = NoisyCoordinator(consortium), small_vectors(consortium)
    coordinator.set_up()
    coordinator.start_round(vectors)
    coordinator.unmask(coordinator.everybody)
    ring = coordinator.session.ring

    def right(survivors: Collection[int]) -> int:
        """How many numbers of the bare sum it has."""
        total = coordinator.unmask_sum(survivors, gone=())[0]
        total = total - sum(coordinator.honest_noise(survivors, component) for component in (1, 2))
        return int((ring.to_signed(total) == integer_sum(consortium, vectors, survivors)).sum())

    assert right(coordinator.everybody) == coordinator.session.length
    assert [right(coordinator.all_but(number)) for number in coordinator.everybody] == [0] * MEMBERS


def test_a_tag_of_each_component_is_sent_and_each_is_masked(tmp_path):
    consortium, _ = summed(tmp_path)
    for masked in payloads(consortium, Stage.MASKED, Masked):
        tags = {masked.tags[start : start + 8] for start in range(0, 24, 8)}
        assert len(masked.tags) == 24
        assert len(tags) == 3


def test_the_keys_are_those_of_the_round_that_has_begun_and_of_no_other_time(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS, **noisy(6, 5))
    consortium.set_up()
    client = consortium.clients[1]
    with pytest.raises(LocalProtocolError) as caught:
        client.noise_keys()
    assert caught.value.reason == "out-of-turn"
    consortium.deliver(consortium.server.begin(1))
    keys = [one.noise_keys() for one in consortium.clients.values()]
    assert all(len(pair) == 2 and {len(key) for key in pair} == {32} for pair in keys)
    assert len({key for pair in keys for key in pair}) == 2 * MEMBERS
    assert client.noise_keys() == keys[0]
    consortium.mask(small_vectors(consortium))
    with pytest.raises(LocalProtocolError):
        client.noise_keys()


def test_without_levels_there_are_no_keys_and_no_components(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS)
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    assert consortium.clients[1].noise_keys() == ()
    zeros = consortium.server.session.ring.zeros(consortium.server.session.length)
    with pytest.raises(LocalProtocolError) as caught:
        consortium.clients[1].mask(zeros, MODEL_DIGEST, [zeros])
    assert caught.value.reason == "wrong-length"


@pytest.mark.parametrize("lengths", [[], [21], [21, 20], [21, 21, 21]], ids=str)
def test_a_vector_without_each_of_its_components_is_not_masked(tmp_path, lengths):
    consortium = Consortium.make(tmp_path, MEMBERS, **noisy(6, 5))
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    client, ring = consortium.clients[1], consortium.server.session.ring
    with pytest.raises(LocalProtocolError) as caught:
        client.mask(ring.zeros(21), MODEL_DIGEST, [ring.zeros(length) for length in lengths])
    assert caught.value.reason == "wrong-length"
    assert client.state is ClientState.ASKED


def test_seeds_of_rounds_that_were_skipped_are_forgotten(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS, **noisy(6, 5))
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    coordinator.set_up()
    coordinator.round = 1
    coordinator.begin()
    secrets = consortium.clients[1]._epoch.secrets
    assert [len(of_round) for of_round in secrets.rounds] == [0, 2 + 2, 2 + 2]
    shown = f"{secrets!r} {consortium.clients[1]._epoch.held!r}"
    assert not any(seed.hex() in shown or repr(seed)[2:-1] in shown for seed in secrets.rounds[1])


# --- The coordinator ------------------------------------------------------------------------------------------


def test_without_what_draws_noise_no_epoch_begins_and_none_is_run_again(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS, **noisy(6))
    for begin in (
        lambda: MaskingServer(consortium.server.session),
        lambda: audit_epoch([], consortium.charter),
    ):
        with pytest.raises(LocalProtocolError) as caught:
            begin()
        assert caught.value.reason == "no-noise-expansion"


@pytest.mark.parametrize("wrong", [np.zeros(20, np.uint32), np.zeros(21, np.int64)], ids=["shorter", "signed"])
def test_noise_of_another_length_or_kind_is_no_noise(tmp_path, wrong):
    consortium = Consortium.make(tmp_path, MEMBERS, **noisy(6))
    consortium.server = MaskingServer(consortium.server.session, noise=lambda *_: wrong)
    consortium.set_up()
    with pytest.raises(ValueError, match="noise of"):
        consortium.run_round(small_vectors(consortium))


def test_a_transcript_gives_the_sum_without_its_noise_again(tmp_path):
    consortium, events = Consortium.make(tmp_path, MEMBERS, **noisy(6, 5)), []
    consortium.server = MaskingServer(consortium.server.session, None, events.append, consortium.noise)
    consortium.set_up()
    vectors = small_vectors(consortium)
    for step, silent in enumerate([set(), {3}, {1, 2}], start=1):
        consortium.run_round(vectors, mask_silent=silent, step=step)
    audit = audit_epoch(events, consortium.charter, consortium.noise)
    assert audit.findings == []
    assert [len(record.survivors) for record in audit.rounds] == [6, 5, 4]
    # Drawn otherwise, noise leaves another sum: whoever audits needs the hospitals' own sampler.
    other = ToyNoise(consortium.noise.ring, consortium.noise.length)
    found = audit_epoch(events, consortium.charter, lambda key, component: other(key, 3 - component))
    assert [finding.reason for finding in found.findings] == ["output-differs"]


# --- The check of a sum ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("silent", [set(), {3}, {1, 6}], ids=["all", "one gone", "two gone"])
def test_whoever_kept_the_tag_key_checks_a_sum_that_it_missed(tmp_path, silent):
    """As `training.catching_up` does it: in a session of one round, which it makes of the sum's header."""
    consortium, _ = summed(tmp_path, silent)
    result = consortium.server.result
    session = Session(consortium.charter, 1, Purpose.TRAINING, result.round, 1)
    assert verify_sum(result, session, consortium.clients[2].tag_key).total is result
    result.vector[0] += 1
    with pytest.raises(ForgedSumError):
        verify_sum(result, session, consortium.clients[2].tag_key)


def test_a_hospital_whose_components_are_not_what_it_drew_makes_the_sum_look_forged(tmp_path):
    """It is as with any wrong tag: nobody gains by it, everybody stops, and the transcript clears the coordinator."""
    consortium = Consortium.make(tmp_path, MEMBERS, **noisy(6, 5))
    vectors, session = small_vectors(consortium), consortium.server.session
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    masked = []
    for number, client in consortium.clients.items():
        vector, model, components = consortium.with_noise(number, vectors[number])
        if number == 4:
            components = [session.ring.zeros(session.length)] * 2
        masked.append((number, client.mask(vector, model, components)))
    outbox = consortium.answer(consortium.deliver(consortium.answer(masked)))
    with pytest.raises(ForgedSumError):
        consortium.deliver(outbox)


def test_a_set_of_survivors_that_grew_is_refused_after_an_answer(tmp_path):
    consortium = Consortium.make(tmp_path, MEMBERS, **noisy(6, 5))
    consortium.set_up()
    consortium.deliver(consortium.server.begin(1))
    consortium.mask(small_vectors(consortium))
    coordinator = MisbehavingCoordinator(consortium.charter, consortium.clients)
    coordinator.round = 1
    coordinator.know_holders(coordinator.everybody)
    coordinator.propose(1, [1, 2, 3, 4])
    with pytest.raises(RemoteProtocolError) as caught:
        coordinator.ask(1, coordinator.everybody)
    assert caught.value.reason == "survivors-changed"
