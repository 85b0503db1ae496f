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


class Drawing(nn.Module):
    """Draws, in training, noise of a shape that follows from that of its input."""

    def __init__(self, shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, rows):
        return rows + torch.randn(self.shape(rows)) if self.training else rows


class SkippedAtRandom(nn.Module):
    """Stochastic depth by batch or by row, also where the layer that is skipped drops units of its own."""

    def __init__(self, rate, draws) -> None:
        super().__init__()
        self.rate, self.draws = rate, draws
        self.layer = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.3))

    def forward(self, bags):
        if not self.training:
            return bags + self.layer(bags)
        kept = torch.rand((self.draws(bags), 1, 1)) >= self.rate
        return bags + kept / (1 - self.rate) * self.layer(bags)


class Channels(nn.Module):
    """The model that draws, seen as an image of one channel for each instance."""

    def __init__(self, layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, bags):
        return self.layer(bags[..., None]).squeeze(-1)


def one_for_all(_rows):
    return 1


def drawing(layer):
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), layer, OpenBags())


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


@pytest.mark.parametrize(
    "layer",
    [
        SkippedAtRandom(0.5, one_for_all),
        SkippedAtRandom(0.9, one_for_all),
        SkippedAtRandom(0.15, one_for_all),
        Drawing(lambda rows: (1, *rows.shape[1:])),
        Drawing(lambda _: ()),
        nn.Sequential(nn.Dropout(0.2), Drawing(lambda _: ()), nn.Dropout(0.2)),
    ],
)
def test_a_layer_that_draws_once_for_all_rows_is_refused_and_named(layer):
    refused = refusal(drawing(layer), bags())
    assert "once for all rows" in refused.message
    assert refused.culprit.startswith("1")


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, 1e4])
def test_it_is_refused_whatever_the_records_are_measured_in(size):
    class Blanked(nn.Module):
        def forward(self, rows):
            return rows * (torch.rand(()) < 0.5) if self.training else rows

    for start in range(8):
        torch.manual_seed(start)
        model = nn.Sequential(Blanked(), nn.Linear(5, 8), nn.Linear(8, 2))
        refusal(model, size * torch.randn(ROWS, 5))


@pytest.mark.parametrize("rate", [1e-6, 1e-3, 0.02, 0.1, 0.5, 0.9, 0.98, 0.999, 1.0])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Dropout,
        nn.AlphaDropout,
        nn.FeatureAlphaDropout,
        lambda rate: Channels(nn.Dropout2d(rate)),
        lambda rate: SkippedAtRandom(min(rate, 0.999), len),
    ],
    ids=["dropout", "alpha", "feature-alpha", "channels", "depth-by-row"],
)
def test_draws_for_each_row_by_itself_pass_however_rare_they_are(layer, rate):
    for _ in range(3):
        require_row_gradients(drawing(layer(rate)), classification_loss, bags(), labels())


@pytest.mark.parametrize("size", [1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 1e-2])
def test_draws_for_each_row_pass_also_where_they_are_lost_in_rounding(size):
    class Tiny(nn.Module):
        def forward(self, rows):
            return rows + size * torch.randn(rows.shape) if self.training else rows

    require_row_gradients(drawing(Tiny()), classification_loss, bags(), labels())
