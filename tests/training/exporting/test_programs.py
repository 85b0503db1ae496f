"""No program is written that is found to decide otherwise than the model."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secagg.errors import InputError
from training.export_format import ExportFormat
from training.exporting import torchscript
from training.exporting.export import _written
from training.exporting.looking import looks_at_values
from training.exporting.scoring import Scoring
from training.task import TaskSpec
from training.tasks.models import class_scores

SUMMED = {"standardisation.mean": np.array([54.0, 130.0]), "standardisation.std": np.array([9.0, np.inf])}
SCALINGS = ("bounds", "secure-sum", "none")


@dataclass
class TaskOfItsOwn:
    spec: TaskSpec

    def scores(self, outputs: Tensor) -> Tensor:
        return class_scores(outputs)


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(2, 1), nn.Linear(2, 1)


class ByAge(TwoLayers):
    def forward(self, rows):
        return self.a(rows) if (rows[:, 0] > 0).any() else self.b(rows)


class ByANumber(TwoLayers):
    def forward(self, rows):
        return self.a(rows) * rows.mean().item()


class ByComparison(TwoLayers):
    def forward(self, rows):
        return self.a(rows) if torch.equal(rows[:, 0], rows[:, 1]) else self.b(rows)


class ByCloseness(TwoLayers):
    def forward(self, rows):
        return self.a(rows) if torch.allclose(rows.clamp(min=40), rows) else self.b(rows)


class ByHowManyAre(TwoLayers):
    def forward(self, rows):
        return self.a(rows) if len(torch.nonzero(rows[:, 0] > 5)) else self.b(rows)


class ByASearch(TwoLayers):
    def forward(self, rows):
        return self.a(rows) if 0.0 in rows else self.b(rows)


class Guarded(TwoLayers):
    def forward(self, rows):
        if torch.isnan(rows).any():
            raise ValueError
        return self.a(rows)


class InNumPy(TwoLayers):
    def forward(self, rows):
        return self.a(rows) + torch.from_numpy(np.asarray(rows)).sum()


class ByHowManyRows(TwoLayers):
    def forward(self, rows):
        return self.a(rows) if len(rows) == 2 else self.b(rows)


class WithWhere(TwoLayers):
    def forward(self, rows):
        _, columns = rows.shape
        assert columns == 2
        return torch.where(rows[:, :1] > 0, self.a(rows), self.b(rows)) / int(columns)


class Probit(TwoLayers):
    def forward(self, rows):
        return torch.logit(torch.distributions.Normal(0.0, 1.0).cdf(self.a(rows)).clamp(1e-6, 1 - 1e-6))


class OfLogarithms(TwoLayers):
    def forward(self, rows):
        return self.a(torch.log(rows))


class Diverged(TwoLayers):
    def forward(self, rows):
        return self.a(rows) * float("nan")


class Recurrent(TwoLayers):
    def __init__(self):
        super().__init__()
        self.lstm, self.norm = nn.LSTM(1, 2, batch_first=True), nn.GroupNorm(1, 4)

    def forward(self, rows):
        return self.a(self.norm(self.lstm(rows.unsqueeze(2))[0].flatten(1))[:, :2])


def scoring(model, standardise):
    data = {"label": "ill", "features": ["age", "bp"], "standardise": standardise}
    data["bounds"] = {"age": [20, 100], "bp": [60, 220]}
    spec = TaskSpec.from_settings("mine:task", msgspec.json.encode({"data": data}))
    return Scoring(TaskOfItsOwn(spec), model, SUMMED)


def reason(model, standardise, kind=ExportFormat.TORCHSCRIPT):
    with pytest.raises(InputError) as caught:
        _written(scoring(model, standardise), (2,), kind, {})
    return caught.value.reason


@pytest.mark.parametrize("standardise", SCALINGS)
@pytest.mark.parametrize(
    "model", [ByAge, ByANumber, InNumPy, ByComparison, ByCloseness, ByHowManyAre, ByASearch, Guarded]
)
def test_a_model_whose_code_looks_at_the_numbers_of_its_input_is_not_written(model, standardise):
    assert reason(model(), standardise) == "looks-at-numbers"


@pytest.mark.parametrize("standardise", SCALINGS)
def test_nor_is_one_that_gives_other_numbers_for_made_up_records(standardise, monkeypatch):
    monkeypatch.setattr("training.exporting.export.looks_at_values", lambda *_: False)
    for model in (ByANumber(), InNumPy()):
        assert reason(model, standardise) == "export-differs"


@pytest.mark.parametrize("standardise", SCALINGS)
def test_nor_one_that_decides_by_how_many_rows_there_are(standardise):
    assert reason(ByHowManyRows(), standardise) == "export-differs"


@pytest.mark.parametrize("kind", [ExportFormat.TORCHSCRIPT, ExportFormat.ONNX])
def test_of_one_that_gives_no_numbers_nobody_can_say_whether_the_program_does_the_same(kind):
    assert reason(Diverged(), "bounds", kind) == "nan-scores"


@pytest.mark.parametrize("standardise", SCALINGS)
@pytest.mark.parametrize("model", [WithWhere, Recurrent])
def test_control_what_shapes_decide_and_what_torch_decides_for_each_row_is_written(model, standardise):
    assert _written(scoring(model(), standardise), (2,), ExportFormat.TORCHSCRIPT, {})


@pytest.mark.parametrize("model", [Probit, OfLogarithms])
def test_so_is_what_torch_checks_by_itself_and_what_takes_only_numbers_above_0(model):
    rows = torch.tensor([[60.0, 130.0], [33.0, 90.0]])
    tried = scoring(model(), "none")
    data = _written(tried, (2,), ExportFormat.TORCHSCRIPT, {})
    assert torch.allclose(torchscript.score(data, rows), tried(rows))


def test_torch_checks_distributions_again_once_a_model_was_looked_at():
    looks_at_values(scoring(Probit(), "none"), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="within the support"):
        torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(float("nan")))


@pytest.mark.parametrize("standardise", ["bounds", "secure-sum"])
def test_a_model_whose_columns_are_scaled_is_tried_where_it_was_trained(standardise):
    tried = scoring(TwoLayers(), standardise)
    inside = tried.scale(tried.probe((2,), 5))
    assert inside.abs().max() <= 2
    assert len(inside[:, 0].unique()) == 5
    assert (inside[:, 0] > 0).any()
    assert (inside[:, 0] < 0).any()


def test_control_a_layer_looks_at_nothing():
    assert not looks_at_values(scoring(TwoLayers().a, "none"), torch.zeros(2, 2))
