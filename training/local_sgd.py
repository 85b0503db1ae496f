"""A hospital's own training between two sums, without differential privacy.

This module knows minibatch SGD with momentum, weight decay and FedProx. It knows nothing of sums or of other
hospitals. What leaves a hospital is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dp.torch_draws import drawing_from
from secagg.charter import Training
from secagg.errors import InputError
from training.records import Records

Loss = Callable[[Tensor, Tensor], Tensor]


def train_locally(
    model: nn.Module,
    records: Records,
    loss: Loss,
    settings: Training,
    generator: np.random.Generator,
    device: torch.device,
) -> None:
    """Take ``settings.local_steps`` SGD steps on ``model``, in place, leaving it on ``device``.

    Batches are drawn without replacement and the order is shuffled anew whenever it runs out; a hospital with fewer
    records than a batch uses all of them each time. Momentum starts from zero. What the model itself draws, such as
    dropout, follows from ``generator`` too.

    Raises:
        InputError: ``training-diverged`` when a parameter is no longer finite.
    """
    model.to(device)
    model.train()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    shared = [parameter.detach().clone() for parameter in trainable]
    optimiser = torch.optim.SGD(
        trainable, lr=settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    # From a child: which batches are drawn is the same whether the model draws or not.
    with drawing_from(generator.spawn(1)[0], device):
        for rows in _batches(len(records), settings, generator):
            features = torch.from_numpy(records.features[rows]).to(device)
            labels = torch.from_numpy(records.labels[rows]).to(device)
            optimiser.zero_grad(set_to_none=True)
            loss(model(features), labels).backward()  # type: ignore[no-untyped-call]
            _add_proximal_gradient(trainable, shared, settings.prox_mu)
            optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    _require_finite(trainable, records.source)


def _batches(count: int, settings: Training, generator: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    size = min(settings.batch_size, count)
    order = generator.permutation(count)
    start = 0
    for _ in range(settings.local_steps):
        if start + size > count:
            order = generator.permutation(count)
            start = 0
        yield order[start : start + size]
        start += size


def _add_proximal_gradient(parameters: list[nn.Parameter], shared: list[Tensor], mu: float) -> None:
    if mu == 0.0:
        return
    with torch.no_grad():
        for parameter, anchor in zip(parameters, shared, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(parameter - anchor, alpha=mu)


def _require_finite(parameters: list[nn.Parameter], source: str) -> None:
    if not all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
        message = f"Training on {source} diverged: a parameter is NaN or infinite."
        remedy = "Lower the learning rate, or standardise the features."
        raise InputError("training-diverged", message, culprit=source, remedy=remedy)
