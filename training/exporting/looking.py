"""Whether a model's code looks at the numbers of its records, which a traced program cannot do: it would do for all
what it did for the first.

Knows tensors that cannot be looked at, by the names of what gives a tensor's numbers to Python. torch's own warnings
are no help: they are the same for what a shape decides, as in an LSTM, which does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch.distributions import Distribution

from training.exporting.scoring import Scoring

_FOR_PYTHON: Final = frozenset(
    {
        *("__bool__", "__int__", "__float__", "__complex__", "__index__", "__contains__"),
        *("item", "tolist", "numpy", "__array__", "__dlpack__"),
        *("equal", "allclose", "is_nonzero", "nonzero", "argwhere"),
    }
)


def looks_at_values(scoring: Scoring, features: torch.Tensor) -> bool:
    """Whether more than operations of torch are done with these features, float32 (n, ...), or what follows from them.

    Not noticed: code that goes by a shape which follows from the numbers, such as how many rows ``x[x > 0]`` has.
    Code that fails of something else has not looked, as far as can be told.
    """
    try:
        with torch.no_grad(), _unchecked_distributions():
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

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.__name__ in _FOR_PYTHON:
            raise _LookedAtError
        given: Callable[..., Any] = super().__torch_function__
        return given(func, types, args, kwargs or {})


@contextmanager
def _unchecked_distributions() -> Iterator[None]:
    """torch's own distributions check their arguments, which changes no number."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
