"""What a simulation's model is compared with, trained once and written down: what was found is not drawn again.

Knows the run's folder. How each is trained is in `training.comparison`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from secagg.errors import InputError, SecaggError
from secagg.files import SHARED
from training.comparison import Comparison, HospitalPatients
from training.json_lines import JsonLines
from training.metrics import Metrics
from training.run_folder import RunFolder

_POOLED: Final = "all records pooled"
_CURATOR: Final = "all records at one curator"


@dataclass(frozen=True)
class Compared:
    """Other models on the same test records; none is tuned, or trained to the end.

    Attributes:
        steps: as many as each of them took, and each hospital in the run.
        pooled_same_steps: one model on all records, without protection; ``curator``: with the charter's noise added
            once, None without differential privacy; ``alone``: each hospital's own, as private as in the run.
    """

    steps: int
    pooled_same_steps: Metrics
    curator: Metrics | None
    alone: tuple[tuple[str, Metrics], ...]


@dataclass(frozen=True)
class _Found:
    """A line of the file: which model, how good it is, and how many steps it took; 0 where that is not known."""

    trained_on: str
    metrics: Metrics
    steps: int = 0


def compare(
    comparison: Comparison,
    hospitals: Sequence[HospitalPatients],
    folder: RunFolder,
    on_compare: Callable[[str], None],
    on_no_comparison: Callable[[str, SecaggError], None],
) -> Compared:
    """Train what the run's folder does not have yet, and write down what is found.

    Raises:
        InputError: ``damaged-comparison``, ``unwritable``.
    """
    charter = comparison.charter
    steps = comparison.sums * charter.training.local_steps
    kept = _kept(folder)
    known = {found.trained_on: found.metrics for found in kept.records if found.steps == steps}

    def tried(what: str, train: Callable[[], Metrics | None]) -> Metrics:
        if what in known:
            return known[what]
        on_compare(what)
        try:
            metrics = train() or Metrics(None, None, 0)
        except SecaggError as error:
            # Without the bounds of secure sums a model may diverge, and what the consortium made is there all the same.
            on_no_comparison(what, error)
            return Metrics(None, None, 0)
        kept.append(_Found(what, metrics, steps))
        return metrics

    pooled = tried(_POOLED, partial(comparison.pooled, hospitals))
    curator = None if charter.privacy.mode == "none" else tried(_CURATOR, partial(comparison.curator, hospitals))
    alone = tuple((own.name, tried(f"{own.name} alone", partial(comparison.alone, own))) for own in hospitals)
    return Compared(steps, pooled, curator, alone)


def _kept(folder: RunFolder) -> JsonLines[_Found]:
    path = folder.comparison

    def damaged(what: str) -> InputError:
        remedy = "Remove it and resume: the models are then trained anew, with other noise."
        return InputError("damaged-comparison", what, culprit=str(path), remedy=remedy)

    return JsonLines(path, _Found, damaged, SHARED)
