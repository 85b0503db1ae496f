"""One patient's weight in a step's sum is bounded in integers, whatever the patient's records are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dp.gradients import ClippedGradients
from dp.patients import PatientRecords
from dp.per_sample import per_sample
from dp.randomness import secure_generator
from dp.shares import Cohort, NoiseShares
from secagg.errors import InputError

CPU = torch.device("cpu")
INPUTS, PATIENTS = 6, 20


def model(bias=True):
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(INPUTS, 5, bias=bias), nn.Tanh(), nn.Linear(5, 1))


def loss(outputs, labels):
    return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], labels.float())


def shares_for(module, clip=0.3, bits=32):
    return NoiseShares(
        cohort=Cohort(hospitals=4, threshold=3, colluding=0),
        noise="skellam",
        field_bits=bits,
        noise_multiplier=1.0,
        clip_norm=clip,
        most_patients=20,
        dimension=sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad),
    )


def records(rows_each=1, scale=1.0):
    generator = np.random.default_rng(7)
    patients = np.repeat(np.arange(PATIENTS), rows_each)
    features = generator.normal(size=(len(patients), INPUTS)).astype(np.float32) * scale
    return PatientRecords(torch.from_numpy(features), torch.from_numpy(patients % 2), patients)


def summed(data, sample, clip=0.3, bits=32, module=None):
    module = module or model()
    with per_sample(module) as hooked:
        gradients = ClippedGradients(hooked, loss, shares_for(module, clip, bits), CPU, INPUTS)
        return gradients.sum(data, np.asarray(sample, np.int64), secure_generator(bytes(16)))


def one_by_one(data, sample, clip):
    """Without Opacus: a backward pass for each patient, its gradient clipped by hand."""
    module, total = model(), 0.0
    for patient in sample:
        rows = np.flatnonzero(data.patients == patient)
        module.zero_grad()
        loss(module(data.features[rows]), data.labels[rows]).backward()
        ordered = [parameter.grad.reshape(-1) for _, parameter in sorted(module.named_parameters())]
        gradient = torch.cat(ordered).double().numpy()
        total = total + gradient * min(1.0, clip / np.linalg.norm(gradient))
    return total


@pytest.mark.parametrize("rows_each", [1, 3])
@pytest.mark.parametrize("clip", [0.05, 0.3, 50.0])
def test_the_sum_is_that_of_clipped_patient_gradients_to_within_a_step_each(rows_each, clip):
    data, sample = records(rows_each), [0, 3, 4, 11, 19]
    found = summed(data, sample, clip) / shares_for(model(), clip).scale
    assert np.abs(found - one_by_one(data, sample, clip)).max() <= len(sample) / shares_for(model(), clip).scale + 1e-6


@pytest.mark.parametrize("rows_each", [1, 4])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4, 1e20])
def test_one_patient_alone_weighs_no_more_than_the_sensitivity(rows_each, scale):
    limit = shares_for(model(), bits=20).sensitivity
    for patient in range(PATIENTS):
        assert np.linalg.norm(summed(records(rows_each, scale), [patient], bits=20)) <= limit


def test_a_patient_whose_gradient_is_huge_weighs_as_much_as_the_clip_norm():
    """Its square is no float32: it would count as nothing."""
    torch.manual_seed(3)
    module, data = nn.Linear(INPUTS, 1), records(scale=1e25)
    weights = [np.linalg.norm(summed(data, [patient], module=module)) for patient in range(PATIENTS)]
    whole = shares_for(module).steps_per_clip
    # Whom the model is right about moves it nowhere.
    assert all(weight == 0 or weight == pytest.approx(whole, rel=1e-3) for weight in weights)
    assert max(weights) > 0


def test_control_without_clipping_a_patient_weighs_more(monkeypatch):
    monkeypatch.setattr("dp.gradients.round_rows", lambda rows, *_: np.rint(rows).astype(np.int64))
    monkeypatch.setattr(torch.Tensor, "clamp", lambda self, **_: torch.ones_like(self))
    limit = shares_for(model(), clip=0.01).sensitivity
    assert np.linalg.norm(summed(records(), [1], clip=0.01)) > limit


def test_a_patient_whose_gradient_is_no_number_counts_as_nothing():
    data = records()
    data.features[5] = float("nan")
    assert not summed(data, [5]).any()


def test_a_patient_whose_rows_add_up_to_infinity_weighs_no_more_than_the_sensitivity():
    data = records(rows_each=3)
    data.features[15:18] = 3e38
    assert np.linalg.norm(summed(data, [5], bits=20)) <= shares_for(model(), bits=20).sensitivity


def test_an_empty_sample_is_a_vector_of_zeros():
    found = summed(records(), [])
    assert found.shape == (shares_for(model()).dimension,)
    assert not found.any()


def test_a_sample_worked_through_in_parts_is_the_same_to_within_a_step_each(monkeypatch):
    sample = np.arange(PATIENTS)
    whole = summed(records(3), sample)
    monkeypatch.setattr("dp.gradients.rows_at_once", lambda *_sizes: 4)
    monkeypatch.setattr("dp.gradients._MOST_ROUNDED", 1)
    assert np.abs(summed(records(3), sample) - whole).max() <= PATIENTS


def test_a_patient_whose_rows_are_worked_through_in_pieces_weighs_the_same(monkeypatch):
    whole = summed(records(7), [4], bits=20)
    monkeypatch.setattr("dp.gradients.rows_at_once", lambda *_sizes: 3)
    assert whole.any()
    assert np.abs(summed(records(7), [4], bits=20) - whole).max() <= 1
    assert np.linalg.norm(summed(records(7, 1e20), [4], bits=20)) <= shares_for(model(), bits=20).sensitivity


def test_a_coordinate_is_clamped_to_what_the_ring_has_room_for(monkeypatch):
    monkeypatch.setattr(NoiseShares, "largest_signal", 5)
    assert np.abs(summed(records(), np.arange(PATIENTS))).max() == 5


def test_frozen_parameters_take_no_part():
    module = model()
    module[0].weight.requires_grad_(False)
    found = summed(records(), [1, 2], module=module)
    assert found.shape == (5 + 5 + 1,)


def test_a_model_that_mixes_patients_is_refused():
    module = nn.Sequential(nn.Linear(INPUTS, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    with pytest.raises(InputError) as caught, per_sample(module):
        pass
    assert caught.value.reason == "not-private-model"


class Bags(nn.Module):
    """Each row is a bag of instances, which are folded into the rows where the layer sees them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.net = nn.Linear(2, 1)

    def forward(self, rows):
        return self.net(rows.view(-1, 2)).view(len(rows), -1, 1).mean(1)


def test_gradients_that_are_not_one_for_each_row_are_refused():
    with pytest.raises(InputError) as caught:
        summed(records(), [1, 2], module=Bags())
    assert (caught.value.reason, caught.value.culprit) == ("not-private-model", "net.weight")


def test_a_parameter_that_is_never_used_has_no_gradients_and_is_refused():
    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.spare = nn.Linear(INPUTS, 1), nn.Linear(2, 2)

        def forward(self, rows):
            return self.net(rows)

    with pytest.raises(InputError) as caught:
        summed(records(), [1, 2], module=Spare())
    assert (caught.value.reason, caught.value.culprit) == ("not-private-model", "spare.weight")


def test_control_without_that_check_a_patient_weighs_as_often_as_its_row_has_instances(monkeypatch):
    monkeypatch.setattr("dp.row_gradients.require_each_row", lambda *_: None)
    limit = shares_for(Bags(), clip=0.01).sensitivity
    assert np.linalg.norm(summed(records(), [1], clip=0.01, module=Bags())) > 2 * limit


class CentredInTraining(nn.Module):
    """Takes from each row the mean of those beside it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.net = nn.Linear(INPUTS, 1)

    def forward(self, rows):
        return self.net(rows - rows.mean(0) if self.training else rows)


def moved_by_the_first(module):
    """By how many sensitivities a patient unlike the others moves the sum."""
    data, everybody = records(), np.arange(PATIENTS)
    data.features[0] = 1e3
    apart = summed(data, everybody, module=module) - summed(data, everybody[1:], module=module)
    return np.linalg.norm(apart) / shares_for(module).sensitivity


def test_control_where_rows_see_each_other_in_training_a_patient_moves_the_sum_by_more_than_the_sensitivity():
    """`dp.row_probe` refuses such a model before anything is charged."""
    assert moved_by_the_first(nn.Linear(INPUTS, 1)) <= 1
    assert moved_by_the_first(CentredInTraining()) > 5


class InHalfPrecision(nn.Module):
    def __init__(self, precision):
        super().__init__()
        self.net, self.precision = model(), precision

    def forward(self, rows):
        with torch.autocast("cpu", dtype=self.precision):
            return self.net(rows).float()


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_layers_in_half_precision_have_gradients_like_others(precision):
    data, everybody = records(), np.arange(PATIENTS)
    whole, half = summed(data, everybody), summed(data, everybody, module=InHalfPrecision(precision))
    assert np.linalg.norm(whole - half) < 0.02 * np.linalg.norm(whole)


def moved_of_others(module):
    """By how many clip norms one patient more moves what all others together weigh: batches of another length round."""
    data, everybody = records(), np.arange(PATIENTS)
    whole, others, alone = (summed(data, some, 0.01, module=module) for some in (everybody, everybody[1:], [0]))
    return np.linalg.norm(whole - others - alone) / shares_for(module, 0.01).steps_per_clip


def test_limit_layers_in_half_precision_let_a_patient_move_what_others_weigh_by_hundredths():
    assert moved_of_others(model()) < 2e-3
    assert 4e-3 < moved_of_others(InHalfPrecision(torch.bfloat16)) < 0.1


def test_the_model_keeps_nothing_of_the_patients_afterwards():
    module = model()
    summed(records(), [1, 2], module=module)
    assert not any(hasattr(parameter, "grad_sample") for parameter in module.parameters())
    assert all(parameter.grad is None for parameter in module.parameters())
