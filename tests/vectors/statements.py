"""The vectors of what is signed at the end of a run, and of the digest of a hospital's state.

Both statements are made of a run of two sums, of which the second carries validation counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from secagg.charter import VerifiedCharter
from secagg.identity import Identity
from secagg.log_excerpt import LogCheckpoint
from secagg.release import PrivacyClaim
from secagg.release.checkpoints import checkpoints_statement, sign_checkpoint
from secagg.release.dsse import assemble, attest
from secagg.release.statement import statement_bytes
from secagg.transcript.files import FileCheckpoint
from tests.support.hospitals import SCALED_BY_SUMS, tabular_spec
from training.hospital_state import AppliedSum, HospitalState, Progress
from training.model_state import ModelLayout, TensorShape
from training.release import describe_release, model_file
from training.scaling import Scaling
from training.server_optimizer import OptimizerState
from training.standardisation import Moments

LAYOUT = ModelLayout((TensorShape("bias", (1,)), TensorShape("weight", (2, 4))))
APPLIED = (AppliedSum(3, (1, 2, 3, 4)), AppliedSum(5, (1, 2, 4), (7, 0)))
ROUNDS = 3


def statements(charter: VerifiedCharter, keys: Sequence[Identity]) -> dict[str, Any]:
    """All of them, of a charter with nine parameters, whose features are scaled by secure sum."""
    state = run_state(charter)
    return {
        "about": "A run of two sums, the second with counts and without hospital-3, which signs the release alone.",
        "charter_digest": charter.digest.hex(),
        "state": {
            "parameters": state.model.tolist(),
            "second_moments": state.optimizer.second.tolist(),
            "means": state.moments.mean.tolist(),
            "variances": state.moments.variance.tolist(),
            "digest": state.digest(LAYOUT).hex(),
        },
        "release": release(charter, keys, state),
        "checkpoints": checkpoints(charter, keys),
    }


def run_state(charter: VerifiedCharter) -> HospitalState:
    numbers = np.arange(LAYOUT.size)
    optimizer = OptimizerState(len(APPLIED), np.zeros(LAYOUT.size), numbers / 8)
    moments = Moments(np.array([0.5, -1.5]), np.array([0.25, 4.0]))
    progress = Progress(charter.digest.hex(), APPLIED)
    return HospitalState((numbers / 4 - 1).astype(np.float32), optimizer, progress, moments)


def release(charter: VerifiedCharter, keys: Sequence[Identity], state: HospitalState) -> dict[str, Any]:
    file = model_file(LAYOUT, state, Scaling(tabular_spec(**SCALED_BY_SUMS)))
    said = describe_release(charter, LAYOUT, state, ROUNDS)
    # The charter has no differential privacy: the numbers are there to be spelt.
    said = msgspec.structs.replace(said, privacy=PrivacyClaim("local", "patient", 2.5, 1e-5))
    return {"model_file": file.hex(), **signed(statement_bytes(file, said), keys)}


def checkpoints(charter: VerifiedCharter, keys: Sequence[Identity]) -> dict[str, Any]:
    sites = [
        sign_checkpoint(charter, f"hospital-{number}", log(number, "ledger"), log(number, "egress"), keys[number - 1])
        for number in (4, 2, 1)
    ]
    files = [FileCheckpoint(f"epoch-{epoch:06d}.transcript", 100 + epoch, sha256(f"{epoch}")) for epoch in (0, 1)]
    return signed(checkpoints_statement(charter, sites, files), [keys[1], keys[3], keys[0]])


def log(number: int, kind: str) -> LogCheckpoint:
    return LogCheckpoint(number, sha256(f"{kind} {number}"))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def signed(statement: bytes, keys: Sequence[Identity]) -> dict[str, str]:
    file = assemble(statement, [attest(statement, key) for key in keys]).to_json()
    return {"statement": statement.decode(), "file": file.decode()}
