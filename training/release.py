"""The release at a hospital: the model as a file, what is said about it, and the folder that is left behind.

Knows how a model becomes a file whose bytes every hospital reproduces. Signing and verifying are `secagg.release`'s.
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.numpy import save

from secagg.charter import VerifiedCharter
from secagg.charter.folder import SIGNATURES_FILE, write_charter
from secagg.charter.signing import render_signatures
from secagg.errors import RemoteProtocolError
from secagg.files import sync, unwritable, write_atomically
from secagg.release import Contributor, PrivacyClaim, Release, read_envelope
from secagg.release.folder import STATEMENT_FILE, verify_release
from secagg.release.statement import MODEL_FILE
from training.hospital_state import HospitalState
from training.model_state import ModelLayout, model_digest
from training.privacy_plan import privacy_plan, rounds_stated
from training.scaling import Scaling

_PLACES: Final = 10**6


def model_file(layout: ModelLayout, state: HospitalState, scaling: Scaling) -> bytes:
    """The model as safetensors: its tensors and, where features were standardised, their mean and spread.

    No metadata, so that the same model gives the same bytes everywhere.
    """
    tensors: dict[str, np.ndarray] = dict(layout.to_tensors(state.model))
    if scaling.needs_moments:
        standardiser = scaling.standardiser(state.moments)
        tensors["standardisation.mean"] = standardiser.mean
        tensors["standardisation.std"] = standardiser.std
    return save(tensors)


def describe_release(charter: VerifiedCharter, layout: ModelLayout, state: HospitalState, rounds: int) -> Release:
    """What this hospital states about the model it holds; every hospital with the same sums states the same."""
    applied = state.progress.applied
    sums = Counter(number for entry in applied for number in entry.survivors)
    members = charter.charter.members
    return Release(
        charter=charter.digest.hex(),
        charter_name=charter.charter.name,
        model_digest=model_digest(layout, state.model).hex(),
        initial_model_digest=charter.charter.model.digest.hex(),
        sums=len(applied),
        rounds=rounds,
        contributors=tuple(Contributor(members[number - 1].name, sums[number]) for number in sorted(sums)),
        privacy=_claim(charter, rounds, len(applied)),
    )


def require_attested(statement: bytes, signed: bytes) -> None:
    """Refuse a release that is not about the statement that this hospital attested to: others may have signed another.

    Raises:
        RemoteProtocolError: ``other-release``.
        TamperingError: ``malformed-statement``.
    """
    if read_envelope(signed).payload != statement:
        raise RemoteProtocolError(
            "other-release",
            "A release was sent that is not the one that this hospital attested to.",
            culprit="the coordinator",
            remedy="Compare it with the other hospitals' releases.",
        )


def write_release(folder: Path, charter: VerifiedCharter, file: bytes, signed: bytes) -> None:
    """Write model, statement and charter into ``folder``, once they are known to fit together.

    Raises:
        TamperingError: if they do not; nothing has changed then.
        InputError: ``unwritable``.
    """
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        write_charter(new, charter.charter)
        write_atomically(new / SIGNATURES_FILE, render_signatures(charter.signatures))
        write_atomically(new / MODEL_FILE, file)
        write_atomically(new / STATEMENT_FILE, signed)
        verify_release(new)
        if folder.exists():
            for path in sorted(new.iterdir()):
                write_atomically(folder / path.name, path.read_bytes())
        else:
            # At once: a site that is killed here must not find half of a release, and take it for one.
            new.rename(folder)
            sync(folder.parent)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _claim(charter: VerifiedCharter, rounds: int, sums: int) -> PrivacyClaim:
    privacy = charter.charter.privacy
    if privacy.mode == "none":
        return PrivacyClaim("none", "patient", None, None)
    epsilon = privacy_plan(charter.charter).epsilon_after(*rounds_stated(charter.charter, rounds, sums))
    return PrivacyClaim(privacy.mode, "patient", _rounded_up(epsilon), privacy.delta)


def _rounded_up(epsilon: float) -> float:
    """To a millionth: everybody signs the same bytes, and processors compute the last places differently."""
    return math.ceil(epsilon * _PLACES) / _PLACES
