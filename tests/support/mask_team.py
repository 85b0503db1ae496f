"""A team of worker processes whose example job is to expand masks."""

from __future__ import annotations

from functools import partial

import numpy as np

from secagg.masking.expansion import MaskJob, expand_with
from secagg.masking.keystream import Expander, MaskStreams, SignedKey
from secagg.processes.team import Team
from secagg.processes.worker import Worker, first_to_answer

PATIENCE = 60
KEYS = [SignedKey(bytes([number]) * 32, -1 if number % 3 else 1) for number in range(1, 8)]


def started(count: int) -> Team:
    """A team whose workers are ready, whatever the number of cores here."""
    team = Team([worker for worker in (Worker.start() for _ in range(count)) if worker])
    assert len(team.workers) == count
    for worker in team.workers:
        assert first_to_answer([worker], PATIENCE)
        assert list(worker.collect(MaskJob(MaskStreams(KEYS, np.dtype("<u4"))))) == []
    return team


def by(team: Team) -> Expander:
    return partial(expand_with, team.run)


def random_vector(length: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(length).integers(0, 2**32, length).astype(dtype)
