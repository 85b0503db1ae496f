"""The Renyi divergence of one step of Gaussian noise on a Poisson sample, by Opacus.

Sources: Mironov 2017 (arXiv 1702.07476) without sampling; Mironov, Talwar and Zhang 2019 (arXiv 1908.10530), section
3.3, with it.
"""

from __future__ import annotations

import math
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Final

import numpy as np

from dp.accounting.orders import Orders, RdpCurve
from dp.events import GaussianEvent

# Beyond these the formulas leave floating point. Less noise than the one counts as none, more than the other as that.
LEAST_NOISE: Final = 1e-6
LARGEST_NOISE: Final = 10_000.0


def gaussian_step(event: GaussianEvent, orders: Orders) -> RdpCurve:
    """The divergence of one step of ``event`` at each of ``orders``, float64; infinite where there is no noise."""
    # Written so that noise that is no number counts as none.
    if not event.noise_multiplier >= LEAST_NOISE:
        return np.full(len(orders), math.inf)
    noise = min(event.noise_multiplier, LARGEST_NOISE)
    found = _formulas().compute_rdp(q=event.sampling_rate, noise_multiplier=noise, steps=1, orders=orders)
    return np.asarray(found, dtype=np.float64)


@cache
def _formulas() -> ModuleType:
    """Opacus' module with the formulas alone: its packages bring torch, which takes seconds, and it needs none of them.

    Not at the top: to verify a ledger does not need it either.
    """
    opacus = find_spec("opacus")
    folders = opacus.submodule_search_locations or () if opacus else ()
    alone = PathFinder.find_spec("rdp", [f"{folder}/accountants/analysis" for folder in folders])
    if alone is not None and alone.loader is not None:
        module = module_from_spec(alone)
        # A later version of it may need its package.
        with suppress(ImportError):
            alone.loader.exec_module(module)
            return module
    return import_module("opacus.accountants.analysis.rdp")
