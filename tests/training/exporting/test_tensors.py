"""What is attached to safetensors is read back, or is too large before anything is written."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.errors import InputError
from training.exporting import tensors

WEIGHT = {"weight": np.arange(6, dtype=np.float32)}
LIMIT = 100_000_000


def test_what_fits_into_a_header_is_read_back():
    attached, found = tensors.read(tensors.write(WEIGHT, {"model": "x" * (LIMIT - 1000)}), "m")
    assert len(attached["model"]) == LIMIT - 1000
    assert np.array_equal(found["weight"], WEIGHT["weight"])


def test_a_header_that_no_reader_takes_is_not_written():
    with pytest.raises(InputError) as caught:
        tensors.write(WEIGHT, {"model": "x" * LIMIT})
    assert caught.value.reason == "too-large"
    assert "torchscript" in caught.value.remedy
