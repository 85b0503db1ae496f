"""Runs that have ended, for the tests of what is reported of them."""

from __future__ import annotations

import pytest

from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK
from training.engines.base import Phase
from training.engines.embedded import DropOut


@pytest.fixture
def finished(open_ward):
    """Four hospitals after a run without differential privacy, of which one missed a round; their release."""
    ward = open_ward()
    ward.coordinator(DropOut(2, 1, Phase.MASK)).run()
    return ward


@pytest.fixture
def private(open_ward):
    """Four hospitals after a run with differential privacy."""
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    ward.coordinator().run()
    return ward
