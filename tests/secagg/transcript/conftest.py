"""A recorded epoch, and the file that it is written to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secagg.masking import MaskingServer
from secagg.masking.journal import Event
from secagg.transcript import TranscriptWriter, transcript_files
from tests.support.consortium import Consortium, integer_sum
from tests.support.transcripts import MEMBERS


@pytest.fixture
def recorded(tmp_path):
    """An epoch of three rounds: all answer; one drops out; too few answer. And the vectors."""
    consortium = Consortium.make(tmp_path, MEMBERS)
    events: list[Event] = []
    session = consortium.server.session
    consortium.server = MaskingServer(session, journal=events.append)
    consortium.set_up()
    vectors = consortium.random_vectors(np.random.default_rng(1))
    sums = []
    for silent in (set(), {2}, {1, 2, 3}):
        consortium.run_round(vectors, mask_silent=silent, step=len(sums) + 1)
        result = consortium.server.result
        if result:
            expected = integer_sum(consortium, vectors, result.survivors.numbers)
            np.testing.assert_array_equal(session.ring.to_signed(result.vector), expected)
            sums.append(result)
    return consortium, events, sums


@pytest.fixture
def written(recorded, tmp_path) -> Path:
    write = TranscriptWriter(tmp_path / "kept", 1)
    for event in recorded[1]:
        write(event)
    return transcript_files(tmp_path / "kept")[0]
