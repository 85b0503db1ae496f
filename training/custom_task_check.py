"""What is tried of a task that is somebody's own code, before anything is signed or spent.

Knows what such code gets wrong most often: a model that is drawn anew each time, or made once and kept, scores that are
no probabilities or no row's own, and a loss that is no number. Passes on no word of a fault on a hospital's own rows.
Tasks that come with the toolkit have tests of their own, and are not tried.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from secagg.charter import Training
from secagg.errors import InputError, SecaggError
from training.local_sgd import train_locally
from training.model_state import ModelLayout, flatten, model_digest
from training.own_code_faults import TRAINING_FAILS, by_its_type
from training.records import Records
from training.scaling import Scaling
from training.score_check import require_columns, require_probabilities
from training.task import Task

_SEEDED: Final = (
    "Seed its parameters from spec.model.seed, within torch.random.fork_rng(), as docs/examples/recall_task.py does."
)
# Of a score: layers whose shape is the rows' own round otherwise, by a few thousandths in half precision.
_TOLERANCE: Final = 1e-2
_TRIED_ROWS: Final = 3
_NEW: Final = "Build a new model at each call, or give a copy: copy.deepcopy(model)."
_LOSS: Final = (
    "Correct the task's code: loss must give a tensor of one number, which torch computed from outputs and from "
    "labels, int64 of shape (n,)."
)


def require_same_model_again(task: Task, first: nn.Module, digest: bytes) -> None:
    """Refuse a task that builds another model each time, gives one that is in use already, or one without numbers.

    Args:
        first: a model that it has built before; ``digest``: of that.

    Raises:
        InputError: ``unseeded-model``, ``reused-model``, ``model-not-finite``.
    """
    if not task.spec.is_custom:
        return
    kind, module = task.spec.kind, task.build_model()
    # Digests come later: a model that is made ready twice has other layers.
    if _trained(first) & _trained(module):
        message = (
            f"build_model of {kind} gives the same module each time, or one that shares its parameters: a second "
            "training would start from what the first has made of them."
        )
        raise InputError("reused-model", message, culprit=kind, remedy=_NEW)
    vector = flatten(module)
    if not np.isfinite(vector).all():
        message = f"build_model of {kind} gives parameters that are not finite numbers."
        raise InputError("model-not-finite", message, culprit=kind, remedy=_SEEDED)
    if model_digest(ModelLayout.of(module), vector) != digest:
        message = f"build_model of {kind} gives other parameters each time; all hospitals must start from one model."
        raise InputError("unseeded-model", message, culprit=kind, remedy=_SEEDED)


def require_usable_scores(task: Task, records: Records) -> None:
    """Refuse a task whose scores of the starting model are no probabilities, by made-up rows.

    A model may have rules that such rows break, as that a sequence is not empty: if it fails, it is tried on a few rows
    of ``records``.

    Raises:
        InputError: ``bad-scores``; ``model-fails``, if the model or `scores` can take neither.
    """
    if not task.spec.is_custom:
        return
    try:
        scores = _scores(task, _made_up(task, records.features.shape[1:]))
    except SecaggError:
        raise
    # A task's own code may raise anything.
    except Exception as fault:
        scores = _scores_of_own(task, records, fault)
    found = scores.detach().double().numpy()
    # Of a row that no patient has a model may make no number.
    finite = found[np.isfinite(found).all(axis=1)]
    if len(finite):
        require_probabilities(task.spec, finite)


def require_single_scores(task: Task, records: Records) -> None:
    """Refuse a task whose scores of a row depend on the rows beside it: one patient would move others between counts.

    By a few rows of ``records``, each beside others and beside copies of itself: batches of one shape, so that from one
    state what draws at random draws the same for both.

    Args:
        records: not scaled.

    Raises:
        InputError: ``bad-scores``.
    """
    if not task.spec.is_custom:
        return
    few = Scaling(task.spec).alone(records.take(range(min(_TRIED_ROWS, len(records)))))
    # Of a model that starts from zeros all rows have one output, and what mixes them would move nobody.
    if any(_mixes_rows(task, few.features, spread) for spread in (0.0, 1.0)):
        raise InputError(
            "bad-scores",
            f"The scores of {task.spec.kind} are not each row's own: beside other rows a row has other scores than "
            "beside copies of itself.",
            culprit=task.spec.kind,
            remedy="Compute each row's scores from that row's outputs alone: no median, minimum, rank or softmax over "
            "the rows, and nothing kept of a batch before. What draws at random, do so from torch's own generators.",
        )


def require_usable_loss(task: Task, records: Records, settings: Training, device: torch.device) -> None:
    """Refuse a task that no step can be taken with, before a round is charged: by two steps, which nobody uses.

    Args:
        records: not scaled.

    Raises:
        InputError: ``training-fails``.
    """
    if not task.spec.is_custom:
        return
    # Two: a model that keeps a part of the first fails in the second.
    steps = msgspec.structs.replace(settings, local_steps=2)
    fault = _fault_in_training(task, Scaling(task.spec).alone(records), steps, device)
    if fault is None:
        return
    # Its type alone: its words may tell of the records, and so may those of a fault on made-up rows after it.
    kind = task.spec.kind
    what = f"The model or loss of {kind} failed in its first steps on records"
    raise by_its_type(TRAINING_FAILS, what, fault, kind, _LOSS) from fault


def _fault_in_training(task: Task, records: Records, steps: Training, device: torch.device) -> Exception | None:
    try:
        train_locally(task.build_model(), records, task.loss, steps, np.random.default_rng(0), device)
    except SecaggError:
        # A few rows, or made-up ones, may lead anywhere.
        return None
    # A task's own code may raise anything.
    except Exception as fault:
        return fault
    return None


def _scores_of_own(task: Task, records: Records, made_up: Exception) -> Tensor:
    few = Scaling(task.spec).alone(records.take(range(min(_rows(task), len(records)))))
    try:
        return _scores(task, few.features)
    except SecaggError:
        raise
    except Exception as fault:
        # Of the fault on records its type alone: its words may tell of them.
        raise InputError(
            "model-fails",
            f"The model or scores of {task.spec.kind} failed on rows of records ({type(fault).__name__}) and on "
            f"made-up rows, each of shape {records.features.shape[1:]} ({type(made_up).__name__}: {made_up}).",
            culprit=task.spec.kind,
            remedy="Correct the task's code: build_model and scores must fit the features that read gives.",
        ) from made_up


def _scores(task: Task, features: npt.NDArray[np.float32]) -> Tensor:
    """Those of the rows together. A batch may also be of one row."""
    # Not below: what builds a model may need gradients itself.
    model = task.build_model().eval()
    # Not inference mode: what the task's code keeps of these rows could take no part in training.
    with torch.no_grad():
        scores, alone = (task.scores(model(torch.from_numpy(rows))) for rows in (features, features[:1]))
    require_columns(task.spec, scores, len(features))
    require_columns(task.spec, alone, 1)
    return scores


def _mixes_rows(task: Task, features: npt.NDArray[np.float32], spread: float) -> bool:
    """Whether a row's scores differ beside other rows.

    Args:
        spread: the standard deviation of what is added to each row's outputs before, the same to its copies'.
    """
    model, count = task.build_model().eval(), len(features)

    def scores(rows: list[int]) -> Tensor:
        torch.default_generator.manual_seed(0)
        outputs = model(torch.from_numpy(features[rows]))
        if spread:
            outputs = outputs + spread * torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0))[rows]
        given = task.scores(outputs)
        require_columns(task.spec, given, len(rows))
        return given.detach().float()

    together = beside_copies = None
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            together = scores(list(range(count)))
            beside_copies = torch.stack([scores([row] * count)[row] for row in range(count)])
        except SecaggError:
            raise
        # A task's own code may raise anything.
        except Exception:
            # Outputs that were moved may break a rule of scores. What fails only beside copies has looked beside.
            return together is not None and not spread
    return not torch.allclose(together, beside_copies, rtol=0, atol=_TOLERANCE, equal_nan=True)


def _made_up(task: Task, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Rows from all 0 to all 1: float32, shape (n, ...)."""
    values = np.linspace(0, 1, _rows(task), dtype=np.float32).reshape(-1, *(1,) * len(shape))
    return np.broadcast_to(values, (len(values), *shape)).copy()


def _rows(task: Task) -> int:
    """How many a task is tried on: not as many as classes, as a square of scores would not show which way it is."""
    return 3 if task.spec.data.classes == 2 else 2


def _trained(module: nn.Module) -> set[int]:
    """Where the trainable parameters are in memory."""
    trainable = (tensor for tensor in module.parameters() if tensor.requires_grad and tensor.numel())
    return {tensor.untyped_storage().data_ptr() for tensor in trainable}
