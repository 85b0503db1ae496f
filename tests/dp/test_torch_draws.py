"""What a model draws of torch is secret and fresh in every step: known, it would let one patient move all others."""

from __future__ import annotations

from contextlib import nullcontext
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

from dp.gradients import ClippedGradients
from dp.patients import PatientRecords
from dp.per_sample import per_sample
from dp.plan import PrivacyPlan
from dp.randomness import secure_generator
from dp.row_size import row_size
from dp.shares import Cohort, NoiseShares
from dp.torch_draws import drawing_from
from dp.training import SgdSettings, train_privately

CPU = torch.device("cpu")
PATIENTS, MOST_PATIENTS, CLIP = 200, 5000, 0.5
EVERYBODY = np.arange(PATIENTS)
NEXT_TO_NO_NOISE = PrivacyPlan(
    mode="local",
    noise_multiplier=1e-5,
    clip_norm=CLIP,
    sampling_rate=1.0,
    delta=1e-5,
    rounds=1,
    steps_per_round=1,
)


class SkippedForAll(nn.Module):
    """One draw for all rows of a pass, as of stochastic depth by batch."""

    def forward(self, rows):
        return 2 * rows * (torch.rand(()) < 0.5) if self.training else rows


def model(drop=0.5):
    """As most code is seeded: whoever knows the seed knows all that is drawn afterwards."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(drop), nn.Linear(8, 1))


def loss(outputs, labels):
    return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], labels.float())


def records_of(kept):
    numbers = np.random.default_rng(1)
    features = torch.from_numpy(numbers.normal(size=(PATIENTS, 5)).astype(np.float32))
    labels = torch.from_numpy(numbers.integers(0, 2, PATIENTS))
    return PatientRecords(features[kept], labels[kept], np.arange(len(kept)))


def with_local_noise(kept, drop=0.5, generator=None):
    return local_sum(model(drop), records_of(kept), loss, generator)


def on_the_grid(kept, drop=0.5, generator=None):
    return grid_sum(model(drop), records_of(kept), loss, generator)


def local_sum(module, data, loss, generator=None):
    """The sum that one step releases with next to no noise, in clip norms."""
    before = torch.cat([parameter.detach().reshape(-1).clone() for parameter in module.parameters()])
    settings = SgdSettings(learning_rate=1.0)
    train_privately(module, data, loss, NEXT_TO_NO_NOISE, settings, generator or secure_generator(), CPU)
    after = torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])
    return (before - after).double().numpy() * data.count / CLIP


def grid_sum(module, data, loss, generator=None):
    """The sum of a step of distributed DP-SGD before noise, in units of what one patient may move it by."""
    shares = NoiseShares(
        cohort=Cohort(hospitals=4, threshold=3, colluding=1),
        noise="skellam",
        field_bits=40,
        noise_multiplier=8.0,
        clip_norm=CLIP,
        most_patients=MOST_PATIENTS,
        dimension=sum(parameter.numel() for parameter in module.parameters()),
    )
    with per_sample(module) as hooked:
        gradients = ClippedGradients(hooked, loss, shares, CPU, row_size(module, data.features[:1]))
        return gradients.sum(data, np.arange(data.count), generator or secure_generator()) / shares.sensitivity


def apart(first, second):
    return float(np.linalg.norm(first - second))


MODES = pytest.mark.parametrize("step", [with_local_noise, on_the_grid])
NOT_DRAWN_ANEW = [patch(f"dp.{module}.drawing_from", lambda *_: nullcontext()) for module in ("training", "gradients")]


@MODES
def test_two_steps_on_the_same_patients_drop_other_units_though_the_model_seeds_torch(step):
    assert apart(step(EVERYBODY), step(EVERYBODY)) > 3


@MODES
def test_without_dropout_two_steps_on_the_same_patients_are_the_same_but_for_rounding(step):
    assert apart(step(EVERYBODY, drop=0.0), step(EVERYBODY, drop=0.0)) < 0.1


@MODES
def test_control_with_masks_that_are_known_a_patient_moves_the_sum_by_more_than_its_sensitivity(step):
    """And whoever knows the other patients computes both sums beforehand."""
    with NOT_DRAWN_ANEW[0], NOT_DRAWN_ANEW[1]:
        assert apart(step(EVERYBODY), step(EVERYBODY)) < 0.1
        assert apart(step(EVERYBODY), step(EVERYBODY[1:])) > 3
        # Nobody comes after the last one.
        assert apart(step(EVERYBODY), step(EVERYBODY[:-1])) < 1.1


@pytest.mark.parametrize("sum_of", [local_sum, grid_sum])
def test_control_with_one_draw_for_all_rows_of_a_part_a_patient_moves_the_sum_by_more_than_its_sensitivity(sum_of):
    """However secret it is. The gradients of each 256 rows add up to nothing, skipped or not; with a patient before
    them whose own gradient is nothing, the last of them is drawn for with the next."""
    numbers = np.tile([1.0, -1.0], 2048)
    numbers.reshape(16, 256)[::2, -2:] = [-1.0, 1.0]

    def step(numbers, key):
        features = torch.from_numpy(numbers.astype(np.float32))[:, None]
        data = PatientRecords(features, torch.zeros(len(numbers), dtype=torch.int64), np.arange(len(numbers)))
        module = nn.Sequential(SkippedForAll(), nn.Linear(1, 1, bias=False))
        return sum_of(module, data, lambda outputs, _: 100 * outputs.mean(), secure_generator(bytes([key] * 16)))

    without, beside = ([step(patients, key) for key in range(5)] for patients in (numbers, np.r_[0.0, numbers]))
    assert max(np.linalg.norm(total) for total in without) < 0.1
    assert max(np.linalg.norm(total) for total in beside) > 3


@MODES
def test_a_run_recorded_by_its_key_drops_the_same_units_again(step):
    first, second = (step(EVERYBODY, generator=secure_generator(bytes(16))) for _ in range(2))
    assert apart(first, second) == 0


@MODES
def test_torchs_own_state_is_afterwards_as_the_model_left_it(step):
    model()
    before = torch.get_rng_state()
    step(EVERYBODY)
    assert torch.equal(torch.get_rng_state(), before)


def test_all_bits_of_the_state_of_torchs_generator_are_drawn():
    """Not a seed, of which torch keeps 32 bits: what it draws is what a Mersenne twister draws from those words."""
    twister = np.random.MT19937()
    words = np.frombuffer(secure_generator(bytes(16)).bytes(4 * 624), "<u4")
    twister.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": 624}}
    torch.randn(3)  # Leaves half of a pair of draws behind.
    with drawing_from(secure_generator(bytes(16)), CPU):
        drawn = torch.empty(2000, dtype=torch.int32).random_().numpy()
    assert np.array_equal(drawn, twister.random_raw(2000) % 2**31)


def test_control_of_a_seed_torch_keeps_32_bits():
    first, second = (torch.rand(5, generator=torch.Generator().manual_seed(seed)) for seed in (5, 5 + 2**32))
    assert torch.equal(first, second)


def test_torch_draws_on_as_before_whatever_happens_within():
    torch.manual_seed(4)
    expected = torch.rand(2)
    torch.manual_seed(4)
    with pytest.raises(RuntimeError), drawing_from(secure_generator(), CPU):
        torch.rand(5) @ torch.rand(6)
    assert torch.equal(torch.rand(2), expected)
