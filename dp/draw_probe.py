"""Whether a model draws for each row by itself what it draws at random, tried on one row many times over.

Knows a model and a row. Knows nothing of patients, losses or noise.

A step is worked through in parts. A draw for all rows of a pass, as whether a layer is skipped, is another one in each
part, and one patient more moves others from one part into the next: it then changes everybody's gradients.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from secagg.errors import InputError

_ROWS: Final = 32
# A layer that is skipped with probability 0.1 is skipped in one of them, but for one time in a thousand.
_PASSES: Final = 64
# Of the largest output. Float32 gives equal rows of one pass outputs that differ by a millionth.
_TOLERANCE: Final = 1e-5


def require_row_draws(model: nn.Module, features: Tensor) -> None:
    """Refuse a model whose outputs for equal rows are the same in each pass, and change from one pass to the next.

    Layers are tried one by one, the others switched to evaluation: they might tell the rows apart. Draws that are
    independent from row to row are refused with a probability below 1e-15 a layer, whatever their distribution: for
    that, 32 rows of one pass and 32 of another would have to fall on two sides by chance.

    Not found: draws from another generator than torch's of the CPU; a layer that draws for each row as well as for all;
    one that shows it in a few passes of a thousand; draws that do not change what the model puts out at its start.

    Args:
        model: left in evaluation mode.
        features: (n, ...) float32, n > 0; the first row is used.

    Raises:
        InputError: ``not-private-model``, naming the layer.
    """
    rows = features[:1].repeat_interleave(_ROWS, dim=0)
    model.train()
    if not _draws(model, rows):
        return
    for name, layer in model.named_modules():
        model.eval()
        layer.training = True
        if _draws(model, rows) and _is_shared(model, rows):
            raise InputError(
                "not-private-model",
                "The model cannot be trained with differential privacy: what it draws at random is drawn once for all "
                f"rows, in {type(layer).__name__}.",
                culprit=name or type(layer).__name__,
                remedy='Draw for each row by itself, as nn.Dropout does and stochastic depth of mode "row".',
            )
    model.eval()


def _draws(model: nn.Module, rows: Tensor) -> bool:
    before = torch.get_rng_state()
    _outputs(model, rows)
    return not torch.equal(torch.get_rng_state(), before)


def _is_shared(model: nn.Module, rows: Tensor) -> bool:
    first = _outputs(model, rows)
    widest, largest = _spread(first), _largest(first)
    for _ in range(_PASSES - 1):
        outputs = _outputs(model, rows)
        widest, largest = max(widest, _spread(outputs)), max(largest, _largest(outputs))
        noise = _TOLERANCE * largest
        if widest > noise:
            return False
        # Rows of both passes are then in two heaps, and not in one that is about as wide as the noise.
        if _largest(outputs[0] - first[0]) > max(noise, 100 * widest):
            return True
    return False


def _spread(outputs: Tensor) -> float:
    return _largest(outputs - outputs[0])


def _largest(outputs: Tensor) -> float:
    return float(outputs.abs().max())


@torch.no_grad()
def _outputs(model: nn.Module, rows: Tensor) -> Tensor:
    """Zeros where the model gives something else than a tensor of rows: nothing is found out then."""
    outputs = model(rows)
    of_rows = isinstance(outputs, Tensor) and outputs.dim() > 0 and len(outputs) == len(rows)
    return torch.nan_to_num(outputs) if of_rows else torch.zeros(len(rows))
