"""A task of one's own: breast ultrasounds, where a missed tumour costs three times as much as a false alarm.

Reading, scaling and scores are the toolkit's; the model and the loss are ours. `secagg` imports this file by its name:
it must be installed at every hospital, or its folder be on PYTHONPATH.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.tasks.images import ImageTask
from training.tasks.spec import TaskSpec

MISSED = 3.0


@dataclass(frozen=True)
class RecallTask(ImageTask):
    """`read`, `scores` and `spec` are those of `ImageTask`."""

    def build_model(self) -> nn.Module:
        """One small network, the same parameters wherever it is built. No BatchNorm, no buffers."""
        size, inputs = self.spec.data.image_size, self.spec.data.image_channels
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.spec.model.seed)
            return nn.Sequential(
                nn.Conv2d(inputs, 16, kernel_size=5, stride=2, padding=2),
                nn.GroupNorm(4, 16),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(16 * ((size + 1) // 2) ** 2, 1),
            )

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """A mean over rows, each row's part depending on that row alone: differential privacy needs that."""
        malignant = (labels == 0).to(outputs.dtype)  # BreastMNIST: 0 is malignant, 1 is normal or benign
        weights = 1.0 + (MISSED - 1.0) * malignant
        losses = functional.binary_cross_entropy_with_logits(outputs[:, 0], labels.to(outputs.dtype), reduction="none")
        return (weights * losses).mean()


def build(spec: TaskSpec) -> RecallTask:
    """What ``kind = "recall_task:build"`` calls."""
    return RecallTask(spec)
