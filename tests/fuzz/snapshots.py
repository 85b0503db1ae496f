"""A harness for what is sealed in a snapshot: a hospital that lies chooses every byte of it."""

from __future__ import annotations

import msgspec
import numpy as np

from secagg.charter import Metrics, Model, Statistics
from secagg.errors import RemoteProtocolError
from tests.fuzz.harness import Harness, nested
from tests.support.consortium import MODEL_DIGEST, make_charter, make_identities, sign_by_all
from training.hospital_state import AppliedSum, HospitalState
from training.model_state import ModelLayout, TensorShape
from training.server_optimizer import OptimizerState
from training.snapshot_content import content_of_state, content_of_sum, read_content, read_state
from training.standardisation import Moments

_MEMBERS, _SIZE = 4, 2
_IDENTITIES = make_identities(_MEMBERS)
_CHARTER = sign_by_all(
    make_charter(
        _IDENTITIES,
        model=Model(digest=MODEL_DIGEST, parameters=_SIZE),
        statistics=Statistics(features=1),
        metrics=Metrics(release="exact", cells=1),
    ),
    _IDENTITIES,
)
_LAYOUT = ModelLayout((TensorShape("weight", (_SIZE,)),))
_START = HospitalState.start(_CHARTER.digest, np.zeros(_SIZE, np.float32))


def _states() -> list[HospitalState]:
    """After each sum of a short training."""
    found = [_START, _START.after_moments(Moments(np.array([1.0]), np.array([2.0])))]
    for step in (1, 2, 3):
        optimizer = OptimizerState(step, np.full(_SIZE, step / 8), np.zeros(_SIZE))
        applied = AppliedSum(1 + step, (1, 2, 4), (step,))
        found.append(found[-1].after_sum(applied, np.full(_SIZE, step, np.float32), optimizer))
    return found


def _content(data: bytes) -> None:
    content = read_content(data)
    if content.state is not None:
        state = read_state(content.state, _CHARTER, _START, _LAYOUT)
        state.digest(_LAYOUT)
        # What was taken can be handed on, and is then the same.
        again = read_content(content_of_state(state, _CHARTER.charter)).state
        assert again is not None
        assert read_state(again, _CHARTER, _START, _LAYOUT).digest(_LAYOUT) == state.digest(_LAYOUT)


def _content_seeds() -> list[bytes]:
    whole = [content_of_state(state, _CHARTER.charter) for state in _states()]
    endless = [msgspec.msgpack.encode([[b"", b"", b"", b"", bytes(size), b"", b""], b""]) for size in (4, 1 << 20)]
    return [*whole, content_of_sum(b"a message"), *endless, *nested(b"\x92", b"\xdd\0\0\0\1")]


HARNESSES = (Harness("snapshots", _content_seeds, _content, (RemoteProtocolError,)),)
