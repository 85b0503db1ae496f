"""What all tests share: where the support code and the real data are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

# Small tensors on a shared machine: more threads than one are slower.
torch.set_num_threads(1)

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with public medical data sets; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("SECAGG_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set SECAGG_DATA")
    return folder
