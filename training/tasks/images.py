"""Classification of images.

This module knows how images become records of a task. It does not know file formats or layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from secagg.errors import InputError
from training.readers import Images, read_images
from training.readers.images import scale_pixels
from training.records import Records
from training.tasks.models import build_image_model, class_scores, classification_loss
from training.tasks.spec import TaskSpec


@dataclass(frozen=True)
class ImageTask:
    """A `training.task.Task` over .npz archives and folders of pictures."""

    spec: TaskSpec

    def read(self, path: Path) -> Records:
        """Features float32 (n, channels, size, size) in -1..1; ``archive.npz::test`` names a split of an archive.

        Raises:
            InputError: naming the file of what cannot be used.
        """
        data = self.spec.data
        return self.records_from(read_images(path, data.image_size, data.image_channels, data.class_names))

    def records_from(self, images: Images) -> Records:
        """The records of images that have been read already; see `read`."""
        classes = self.spec.data.classes
        if len(images.labels) and not 0 <= images.labels.min() <= images.labels.max() < classes:
            message = f"{images.source} has labels outside 0 to {classes - 1}."
            remedy = "Set classes in the task, or correct the labels."
            raise InputError("bad-labels", message, culprit=images.source, remedy=remedy)
        return Records(scale_pixels(images.pixels), images.labels, images.patients, (), images.source, images.marks)

    def build_model(self) -> nn.Module:
        """The starting model."""
        data = self.spec.data
        return build_image_model(self.spec.model, data.image_channels, data.image_size, data.classes)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy."""
        return classification_loss(outputs, labels)

    def scores(self, outputs: Tensor) -> Tensor:
        """Probabilities (n, classes)."""
        return class_scores(outputs)
