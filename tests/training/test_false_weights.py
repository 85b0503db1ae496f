"""One hospital that sends false weights, with tags that fit, against a whole run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secagg.charter.sections import ServerStep
from secagg.encoding import Ring
from secagg.encoding.moments import VALUE
from secagg.errors import ProtocolError
from secagg.masking.session import STATISTICS_BITS
from secagg.release.dsse import read_envelope
from tests.support.hospitals import SCALED_BY_SUMS, choices_of, tabular_spec, training_of
from training import applying
from training.contributing import Contributor, Vector
from training.moment_vector import MomentVector
from training.server_optimizer import StepOverflowError
from training.vector_layout import UpdateVector

LIAR = 2
MOMENTUM = ServerStep(optimizer="momentum", learning_rate=0.5)


@pytest.fixture
def run(open_ward, monkeypatch):
    """Runs five hospitals, of which the second makes the whole of some sums weigh less than nothing."""

    def run(method, lie, sums, spec=None):
        ward = open_ward(hospitals=5, spec=spec, choices=choices_of(training_of(server=MOMENTUM)))
        honest, liar = getattr(Contributor, method), ward.hospitals[LIAR]._contributor
        made = []

        def contribute(contributor, *arguments):
            vector = honest(contributor, *arguments)
            if contributor is not liar:
                return vector
            made.append(vector)
            bits = ward.charter.charter.encoding.field_bits if method == "update" else STATISTICS_BITS
            return lie(vector, contributor, Ring(bits)) if len(made) in sums else vector

        monkeypatch.setattr(Contributor, method, contribute)
        coordinator = ward.coordinator()
        return ward, coordinator, coordinator.run()

    return run


def least_at(place):
    """The least number that the ring has: nobody sees what is masked, and it outweighs all others' weights."""

    def lie(vector, _contributor, ring):
        signed = ring.to_signed(vector.elements)
        signed[place] = -ring.largest
        return Vector(ring.from_signed(signed), vector.removable)

    return lie


def a_giant(_vector, contributor, _ring):
    """As if its first patient were as large as there is room for."""
    train = contributor.train
    features = train.features.copy()
    features[0, 0] = 2e14
    codec = MomentVector(contributor.charter, train.feature_names)
    return Vector(codec.encode(replace(train, features=features)))


def everybody_signed(ward, signed):
    assert len(read_envelope(signed).signatures) == 5
    assert ward.sums == [3] * 5
    assert len(ward.models) == 1


@pytest.mark.parametrize("sums", [(1,), (2,), (1, 2)], ids=str)
def test_a_false_weight_costs_a_step_and_not_the_run(run, sums):
    ward, coordinator, signed = run("update", least_at(-1), sums)
    everybody_signed(ward, signed)
    assert [record.step for record in coordinator.rounds] == [1, 2, 3]
    assert ward.cautions == [(f"h{number}", "no-weight") for _ in sums for number in range(1, 6)]


def test_to_a_model_that_false_weights_alone_have_left_as_it_was_nobody_attests(run):
    with pytest.raises(ProtocolError) as caught:
        run("update", least_at(-1), (1, 2, 3))
    assert caught.value.reason == "release-incomplete"
    assert "h1, h2, h3, h4, h5: None of 3 sums has changed the model" in caught.value.message


def test_a_false_weight_of_statistics_leaves_features_as_they_are_and_not_the_run_at_an_end(run):
    ward, _, signed = run("moments", least_at(0), (1,), tabular_spec(**SCALED_BY_SUMS))
    everybody_signed(ward, signed)
    scale = ward.hospitals[1].scaling.standardiser(ward.hospitals[1].state.moments)
    assert scale.mean.tolist() == [0.0, 0.0]
    assert scale.std.tolist() == [1.0, 1.0]


def test_a_false_mean_that_no_rows_have_leaves_features_as_they_are(run):
    ward, _, signed = run("moments", least_at(VALUE.count), (1,), tabular_spec(**SCALED_BY_SUMS))
    everybody_signed(ward, signed)
    assert ("h1", "no-moments") in ward.cautions
    scale = ward.hospitals[1].scaling.standardiser(ward.hospitals[1].state.moments)
    assert (scale.mean.tolist(), scale.std.tolist()) == ([0.0, 0.0], [1.0, 1.0])


def test_limit_a_false_mean_of_a_feature_moves_it_out_of_sight_at_all_hospitals(run):
    """Rows could have it. For this model the run goes on; that feature is one number for all patients."""
    ward, _, signed = run("moments", a_giant, (1,), tabular_spec(**SCALED_BY_SUMS))
    everybody_signed(ward, signed)
    scaling, moments = ward.hospitals[1].scaling, ward.hospitals[1].state.moments
    scaled = scaling.apply(ward.hospitals[1]._contributor.train, moments).features
    assert len(np.unique(scaled[:, 0])) == 1
    assert len(np.unique(scaled[:, 1])) > 1


def test_a_step_that_would_leave_no_model_costs_a_step_and_not_the_run(run, monkeypatch):
    """As by numbers that a hospital lets grow from sum to sum."""
    honest = applying.apply

    def overflowing(settings, state, *arguments):
        if state.step == 1:
            raise StepOverflowError("model-not-finite", "Step 2 makes the model infinite.")
        return honest(settings, state, *arguments)

    monkeypatch.setattr(applying, "apply", overflowing)
    ward, _, signed = run("update", least_at(-1), ())
    everybody_signed(ward, signed)
    assert ward.cautions == [(f"h{number}", "model-not-finite") for number in range(1, 6)]


@pytest.mark.parametrize(("method", "codec", "place"), [("update", UpdateVector, -1), ("moments", MomentVector, 0)])
def test_control_hospitals_that_refuse_such_a_sum_never_come_past_it(run, monkeypatch, method, codec, place):
    def refusing(_applier, _total, error):
        raise error

    monkeypatch.setattr(applying.SumApplier, "_tell_void", refusing)
    with pytest.raises(ProtocolError):
        run(method, least_at(place), (1,), tabular_spec(**SCALED_BY_SUMS) if codec is MomentVector else None)
