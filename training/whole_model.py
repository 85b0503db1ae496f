"""A model that can be used, from a release: what was trained, put into what was frozen.

Knows releases and tasks. The file of a release holds trained parameters only; the rest is built as it was for training,
from the task's seed or the backbone that the charter names by its digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.numpy import load_file
from torch import nn

from secagg.errors import InputError
from secagg.release import VerifiedRelease, verify_release
from secagg.release.statement import MODEL_FILE
from training.draft import task_of, task_spec
from training.model_state import ModelLayout, load, model_digest
from training.tasks.low_rank import merged
from training.tasks.spec import input_names

SCALING: Final = frozenset({"standardisation.mean", "standardisation.std"})


def whole_model(folder: Path) -> nn.Module:
    """The released model in ``folder``, verified, in evaluation mode; low-rank pairs are added to their layers.

    It takes features that are scaled as for training. A custom task's code is run: review it first.

    Raises:
        InputError, TamperingError: as `secagg.release.verify_release`, and for a task or a backbone that is not there.
        InputError: ``other-model``, if the task builds another model here than the one that was trained;
            ``not-mergeable``, if a layer computes something else once its pair is added to it.
    """
    return assembled(verify_release(folder), load_file(folder / MODEL_FILE), str(folder))


def constant_columns(release: VerifiedRelease, tensors: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """The columns that a released model makes no use of, since they did not vary; none where no statistics were summed.

    Args:
        tensors: of the release.
    """
    constant = np.isinf(tensors.get("standardisation.std", np.zeros(0)))
    names = input_names(task_spec(release.charter.charter).data)
    if len(names) != len(constant):
        # In a release from before they had to be the task's, those of a custom task are known to its code alone.
        names = tuple(f"column {number}" for number in range(1, len(constant) + 1))
    return tuple(compress(names, constant))


def assembled(release: VerifiedRelease, tensors: Mapping[str, np.ndarray], place: str) -> nn.Module:
    """The same from a release's tensors, which belong to it; see `whole_model`.

    Args:
        place: where they are from, for the error.
    """
    module = task_of(release.charter.charter).build_model()
    layout = ModelLayout.of(module)
    # A layer of somebody's own may be called as scaling is.
    own = {tensor.name for tensor in layout.tensors}
    vector = layout.to_vector({name: tensor for name, tensor in tensors.items() if name in own or name not in SCALING})
    if model_digest(layout, vector).hex() != release.statement.predicate.model_digest:
        raise InputError(
            "other-model",
            "The frozen parameters that the task builds here differ from those that the released ones were trained on.",
            culprit=place,
            remedy="Use the release of the task's code and of torch that the hospitals used.",
        )
    load(module, vector)
    return merged(module).eval()
