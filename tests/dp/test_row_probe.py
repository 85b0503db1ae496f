"""A model or a loss that has no gradient for each row is refused before anything is spent."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import torch
from opacus.layers import DPLSTM, DPMultiheadAttention
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from dp import row_probe
from dp.row_probe import require_row_gradients
from secagg.errors import InputError
from training.tasks.models import build_image_model, build_table_model, classification_loss
from training.tasks.spec import ModelSpec

ROWS, BAG, WIDTH = 8, 5, 16


class Bags(nn.Module):
    """Bags of instances, folded into the rows where ``net`` sees them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.net = nn.Linear(WIDTH, 2)

    def forward(self, bags):
        return self.net(bags.flatten(0, 1)).view(len(bags), -1, 2).mean(1)


class OpenBags(Bags):
    """The same model, whose layer keeps the rows apart."""

    def forward(self, bags):
        return self.net(bags).mean(1)


class Placed(OpenBags):
    """A place in the bag has an embedding of its own, of which there are as many as instances."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Embedding(BAG, WIDTH)

    def forward(self, bags):
        return self.net(bags + self.place(torch.arange(bags.shape[1]))).mean(1)


class Unused(OpenBags):
    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Linear(2, 2)


class Prototype(OpenBags):
    """One row of the layer's input is nobody's; Opacus counts it as the first patient's."""

    def forward(self, bags):
        return self.net(bags.mean(1)) * self.net(torch.ones(1, WIDTH))


class Centred(OpenBags):
    def forward(self, bags):
        return self.net(bags - bags.mean(0)).mean(1)


class CentredInTraining(OpenBags):
    def forward(self, bags):
        return self.net(bags - bags.mean(0) if self.training else bags).mean(1)


class NormedInTraining(OpenBags):
    """What BatchNorm does, by a function, which no list of layers shows."""

    def forward(self, bags):
        hidden = self.net(bags).mean(1)
        return functional.batch_norm(hidden, None, None, training=True) if self.training else hidden


class MixedUpInTraining(OpenBags):
    """MixUp with the next row."""

    def forward(self, bags):
        return self.net(0.7 * bags + 0.3 * bags.roll(1, 0) if self.training else bags).mean(1)


class MixedUpByChance(OpenBags):
    """MixUp as it mostly is: a batch may keep its order."""

    def forward(self, bags):
        if not self.training:
            return super().forward(bags)
        share = torch.rand(len(bags), 1, 1)
        return self.net(share * bags + (1 - share) * bags[torch.randperm(len(bags))]).mean(1)


class CentredWhereItDrops(OpenBags):
    def forward(self, bags):
        bags = functional.dropout(bags, 0.5, self.training)
        return self.net(bags - bags.mean(0) if self.training else bags).mean(1)


class Leaning(OpenBags):
    """A row sees little of the others, but in evaluation too."""

    def forward(self, bags):
        return self.net(bags + 0.005 * bags.mean(0)).mean(1)


class Counting(OpenBags):
    """What a row is depends on how many there are."""

    def forward(self, bags):
        return self.net(bags * (1 + 0.05 * len(bags) if self.training else 1.0)).mean(1)


class Squeezed(OpenBags):
    """Of one row alone it gives something else than of several."""

    def forward(self, bags):
        return self.net(bags).mean(1).squeeze(0)


class Dropping(OpenBags):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, bags):
        return self.drop(super().forward(bags))


class DroppingByFunction(OpenBags):
    def forward(self, bags):
        return functional.dropout(self.net(functional.dropout(bags, 0.5, self.training)).mean(1), 0.5, self.training)


class NoisyInTraining(OpenBags):
    def forward(self, bags):
        return self.net(bags + torch.randn_like(bags) if self.training else bags).mean(1)


class DrawnElsewhere(OpenBags):
    """Draws what nobody makes secret."""

    def forward(self, bags):
        noise = np.random.default_rng().normal(size=bags.shape).astype(np.float32)
        return self.net(bags + torch.from_numpy(noise) if self.training else bags).mean(1)


class Sequences(OpenBags):
    """Drops of what is there alone: how much that is, is up to the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, bags):
        there = bags[:, :, :1] > 0
        hidden = self.net(bags)
        return torch.zeros_like(hidden).masked_scatter(there, self.drop(hidden.masked_select(there))).mean(1)


class Packed(nn.Module):
    """Opacus takes the longest sequence of a pack for the first row: of rows in that order nothing is wrong."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.states = DPLSTM(WIDTH, 6, batch_first=True)
        self.last = nn.Linear(6, 2)

    def forward(self, bags):
        lengths = 1 + (bags[:, 1:, 0] > 0).sum(1)
        packed = pack_padded_sequence(bags, lengths, batch_first=True, enforce_sorted=False)
        return self.last(self.states(packed)[1][0][-1])


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.states = DPLSTM(WIDTH, 6, batch_first=True, num_layers=2, dropout=0.5)
        self.last = nn.Linear(6, 2)

    def forward(self, bags):
        return self.last(self.states(bags)[0][:, -1])


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.attention = DPMultiheadAttention(WIDTH, 2, dropout=0.5, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)
        self.last = nn.Linear(WIDTH, 2)

    def forward(self, bags):
        return self.last(self.norm(bags + self.attention(bags, bags, bags)[0]).mean(1))


def grouped():
    torch.manual_seed(5)
    layers = [nn.Conv1d(BAG, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.LazyLinear(2)]
    model = nn.Sequential(*layers)
    model(bags())
    return model


def bags(instances=BAG, rows=ROWS):
    return torch.randn((rows, instances, WIDTH), generator=torch.Generator().manual_seed(6))


def labels(rows=ROWS):
    return torch.arange(rows) // (rows // 2 or 1) % 2


def refusal(model, features, loss=classification_loss):
    with pytest.raises(InputError) as caught:
        require_row_gradients(model, loss, features, labels(len(features)))
    assert caught.value.reason == "not-private-model"
    return caught.value


@pytest.mark.parametrize(
    ("model", "features"),
    [
        (build_table_model(ModelSpec(name="mlp", hidden=(5,)), 4, 2), torch.randn(ROWS, 4)),
        (build_table_model(ModelSpec(name="logistic"), 4, 2), torch.randn(ROWS, 4) * 1e6),
        (build_image_model(ModelSpec(name="cnn"), 1, 28, 2), torch.rand(ROWS, 1, 28, 28)),
        (build_image_model(ModelSpec(name="cnn"), 3, 28, 2), -torch.ones(ROWS, 3, 28, 28)),
    ],
)
def test_the_toolkits_models_pass(model, features):
    require_row_gradients(model, classification_loss, features, labels())


@pytest.mark.parametrize(
    "model", [OpenBags, Dropping, DroppingByFunction, NoisyInTraining, Sequences, Recurrent, Attending, grouped]
)
@pytest.mark.parametrize("rows", [1, 2, ROWS])
def test_a_model_of_ones_own_that_keeps_rows_apart_passes(model, rows):
    require_row_gradients(model(), classification_loss, bags(rows=rows), labels(rows))


class Halved(OpenBags):
    def forward(self, bags):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(bags).float()


class Cut(nn.Module):
    """Attention over what is there: a batch is cut to its longest row, so that copies have another shape."""

    def __init__(self, precision: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.precision = precision
        self.enter = nn.Linear(WIDTH, 64)
        self.attended = nn.ModuleList(nn.Linear(64, 3 * 64) for _ in range(2))
        self.leave = nn.Linear(64, 2)

    def forward(self, bags):
        there = (bags != 0).any(2)
        longest = int(there.sum(1).max())
        bags, there = bags[:, :longest], there[:, :longest]
        with torch.autocast("cpu", dtype=self.precision):
            hidden = self.enter(bags)
            for layer in self.attended:
                parts = (part.unflatten(2, (4, -1)).transpose(1, 2) for part in layer(hidden).chunk(3, 2))
                seen = functional.scaled_dot_product_attention(*parts, attn_mask=there[:, None, None])
                hidden = hidden + seen.transpose(1, 2).flatten(2)
            return self.leave((hidden * there[:, :, None]).sum(1) / there.sum(1, keepdim=True)).float()


def ragged(rows: int = ROWS, longest: int = 24) -> torch.Tensor:
    """Bags of which each is as full as it happens to be."""
    generator = torch.Generator().manual_seed(8)
    full = torch.randn(rows, longest, WIDTH, generator=generator)
    lengths = torch.randint(1, longest, (rows, 1), generator=generator)
    return full * (torch.arange(longest) < lengths)[:, :, None]


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_layers_in_half_precision_pass(precision):
    require_row_gradients(Halved(), classification_loss, bags(), labels())
    require_row_gradients(Cut(precision), classification_loss, ragged(), labels())


def test_control_compared_beside_copies_as_closely_as_others_they_are_refused():
    with patch.object(row_probe, "_HALF", frozenset()):
        assert "beside copies" in refusal(Cut(torch.bfloat16), ragged()).message


def test_control_compared_alone_as_closely_as_beside_copies_they_are_refused():
    with patch.object(row_probe, "_TOLERANCE", row_probe._TOLERANCE_BESIDE_COPIES):
        assert "than alone" in refusal(Halved(), bags()).message


def test_instances_folded_into_the_rows_are_refused_and_the_parameter_named():
    assert refusal(Bags(), bags()).culprit == "net.weight"


@pytest.mark.parametrize("instances", [2, 3, BAG])
def test_an_embedding_of_places_is_refused_also_where_there_are_as_many_as_rows(instances):
    refusal(Placed(), bags(instances))


def test_a_parameter_that_is_not_used_is_refused_and_named():
    assert refusal(Unused(), bags()).culprit == "idle.weight"


@pytest.mark.parametrize("model", [Prototype, Centred, Packed])
def test_rows_that_are_mixed_are_refused_though_each_has_a_gradient(model):
    assert "with other rows beside it" in refusal(model(), bags()).message


IN_TRAINING_ALONE = [CentredInTraining, NormedInTraining, MixedUpInTraining, MixedUpByChance, CentredWhereItDrops]


@pytest.mark.parametrize("model", IN_TRAINING_ALONE)
def test_rows_that_are_mixed_in_training_alone_are_refused(model):
    assert "beside copies of itself" in refusal(model(), bags()).message


@pytest.mark.parametrize("model", IN_TRAINING_ALONE)
def test_control_compared_outside_of_training_they_pass(model):
    with patch.object(row_probe, "_is_dropout", row_probe._has_no_trained_parameters):
        require_row_gradients(model(), classification_loss, bags(), labels())


def test_rows_that_see_a_little_of_each_other_are_refused():
    refusal(Leaning(), bags())


def test_control_with_a_hundredth_of_tolerance_they_pass():
    with patch.object(row_probe, "_TOLERANCE_BESIDE_COPIES", 1e-2):
        require_row_gradients(Leaning(), classification_loss, bags(), labels())


def test_what_depends_on_how_many_rows_there_are_is_refused():
    assert "than alone" in refusal(Counting(), bags()).message


def test_limit_where_a_model_draws_in_training_that_is_looked_for_outside_of_it():
    class Both(Counting):
        def forward(self, bags):
            return functional.dropout(super().forward(bags), 0.5, self.training)

    require_row_gradients(Both(), classification_loss, bags(), labels())


def test_what_is_drawn_of_another_generator_than_torchs_is_refused():
    assert "torch's default generators" in refusal(DrawnElsewhere(), bags()).remedy


def test_what_dropout_alone_changes_in_place_is_found_too_though_rows_are_compared_without_it():
    def model(inplace):
        return nn.Sequential(nn.Linear(WIDTH, 2), nn.Dropout(inplace=inplace), nn.Flatten(), nn.Linear(2 * BAG, 2))

    assert "in place" in refusal(model(inplace=True), bags()).message
    require_row_gradients(model(inplace=False), classification_loss, bags(), labels())


def test_what_the_models_own_code_raises_is_that_refusal():
    assert "single rows fail" in refusal(Squeezed(), bags()).message


def test_a_loss_that_divides_by_the_weights_of_the_batch_is_refused():
    def weighted(outputs, wanted):
        return functional.cross_entropy(outputs, wanted, weight=torch.tensor([1.0, 3.0]))

    def apart(outputs, wanted):
        return (functional.cross_entropy(outputs, wanted, reduction="none") * (1.0 + 2.0 * wanted)).mean()

    refusal(OpenBags(), bags(), weighted)
    require_row_gradients(OpenBags(), apart, bags(), labels())


def test_torchs_own_random_numbers_are_left_as_they_were():
    class Noisy(OpenBags):
        def forward(self, bags):
            return super().forward(bags + torch.rand(()))

    model, before = Noisy(), torch.get_rng_state()
    refusal(model, bags())
    assert torch.equal(torch.get_rng_state(), before)
