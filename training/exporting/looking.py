"""Whether a model's code looks at the numbers of its records, which a traced program cannot do: it would do for all
what it did for the first.

Knows tensors that cannot be looked at. torch's own warnings are no help: they are the same for what a shape decides, as
in an LSTM, which does no harm.
"""

from __future__ import annotations

from typing import NoReturn

import torch

from training.exporting.scoring import Scoring


def looks_at_values(scoring: Scoring, features: torch.Tensor) -> bool:
    """Whether more than operations of torch are done with these features, float32 (n, ...), or what follows from them.

    Code that fails of something else has not looked, as far as can be told.
    """
    try:
        with torch.no_grad():
            scoring(features.as_subclass(_Unseen))
    except _LookedAtError:
        return True
    except Exception:
        return False
    return False


class _LookedAtError(Exception):
    """Somebody wanted a number."""


class _Unseen(torch.Tensor):
    """A tensor whose numbers are for torch alone. What torch computes from it is one too."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise _LookedAtError

    __bool__ = __int__ = __float__ = __complex__ = __index__ = __array__ = _refuse
    item = tolist = numpy = _refuse
