"""A model or a loss that has no gradient for each row is refused before anything is spent."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

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


@pytest.mark.parametrize("model", [OpenBags, Dropping])
@pytest.mark.parametrize("rows", [1, 2, ROWS])
def test_a_model_of_ones_own_that_keeps_rows_apart_passes(model, rows):
    require_row_gradients(model(), classification_loss, bags(rows=rows), labels(rows))


def test_instances_folded_into_the_rows_are_refused_and_the_parameter_named():
    assert refusal(Bags(), bags()).culprit == "net.weight"


@pytest.mark.parametrize("instances", [2, 3, BAG])
def test_an_embedding_of_places_is_refused_also_where_there_are_as_many_as_rows(instances):
    refusal(Placed(), bags(instances))


def test_a_parameter_that_is_not_used_is_refused_and_named():
    assert refusal(Unused(), bags()).culprit == "idle.weight"


@pytest.mark.parametrize("model", [Prototype, Centred])
def test_rows_that_are_mixed_are_refused_though_each_has_a_gradient(model):
    assert "alone" in refusal(model(), bags()).message


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
