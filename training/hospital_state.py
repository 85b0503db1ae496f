"""Everything a hospital carries from round to round, as one value and one file.

Knows how it is stored: a single safetensors file, replaced as a whole, so that a kill leaves the state before a sum or
after it. Holds no secret of the protocol: those live in memory and die with the process.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from secagg.errors import InputError, TamperingError
from secagg.files import PRIVATE, write_atomically
from secagg.json_documents import MALFORMED
from secagg.labels import digest
from training.model_state import ModelLayout, model_digest
from training.reached import Reached
from training.server_optimizer import OptimizerState, initial_state
from training.standardisation import Moments

_METADATA = "secagg"


class AppliedSum(msgspec.Struct, frozen=True):
    """One sum that was applied: in which round, over whom, and the validation counts it carried."""

    round: int
    survivors: tuple[int, ...]
    cells: tuple[int, ...] = ()


class EpochTagKey(msgspec.Struct, frozen=True):
    """The key that an epoch's sums can be checked with, also after a restart. It hides nobody's vector."""

    epoch: int
    key: bytes

    def __repr__(self) -> str:
        return f"EpochTagKey(epoch={self.epoch})"


class Progress(msgspec.Struct, frozen=True):
    """What the file says besides tensors.

    Attributes:
        concluded: whether a release was attested to; ``stated_rounds``: as one of how many rounds.
    """

    charter: str
    applied: tuple[AppliedSum, ...] = ()
    concluded: bool = False
    stated_rounds: int = 0
    tag_keys: tuple[EpochTagKey, ...] = ()


@dataclass(frozen=True, eq=False)
class HospitalState:
    """A hospital between two sums.

    Attributes:
        model: float32 (d,).
        moments: of the features, over all hospitals; None before they were summed.
        last_sum: a MISSED_SUM message with the sum that led here, for one that missed it; empty where there is none.
    """

    model: npt.NDArray[np.float32]
    optimizer: OptimizerState
    progress: Progress
    moments: Moments | None = None
    last_sum: bytes = b""
    _digests: dict[ModelLayout, bytes] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def start(cls, charter_digest: bytes, model: npt.NDArray[np.float32]) -> HospitalState:
        """Before the first sum."""
        return cls(model, initial_state(len(model)), Progress(charter_digest.hex()))

    @property
    def sums(self) -> int:
        """How many sums have been applied to the model."""
        return len(self.progress.applied)

    @property
    def rounds(self) -> frozenset[int]:
        """The rounds whose sums have been applied to the model."""
        return frozenset(applied.round for applied in self.progress.applied)

    @property
    def reached(self) -> Reached:
        """How many sums of statistics it has, and how many have been applied to the model."""
        return Reached(0 if self.moments is None else 1, self.sums)

    def after_moments(self, moments: Moments) -> HospitalState:
        """The same, with the sum of feature statistics."""
        return replace(self, moments=moments, last_sum=b"")

    def after_sum(
        self, applied: AppliedSum, model: npt.NDArray[np.float32], optimizer: OptimizerState
    ) -> HospitalState:
        """After one more sum was applied."""
        progress = msgspec.structs.replace(self.progress, applied=(*self.progress.applied, applied))
        return replace(self, model=model, optimizer=optimizer, progress=progress, last_sum=b"")

    def with_last_sum(self, message: bytes) -> HospitalState:
        """The same with the message of the sum that led to it."""
        return replace(self, last_sum=message)

    def tag_key(self, epoch: int) -> bytes | None:
        """The key of the tags of an epoch that this hospital was set up in."""
        return next((entry.key for entry in self.progress.tag_keys if entry.epoch == epoch), None)

    def after_set_up(self, epoch: int, key: bytes) -> HospitalState:
        """After the keys of an epoch were agreed on."""
        keys = (*self.progress.tag_keys, EpochTagKey(epoch, key))
        return replace(self, progress=msgspec.structs.replace(self.progress, tag_keys=keys))

    def with_tag_keys(self, other: HospitalState) -> HospitalState:
        """The same with the tag keys of ``other``."""
        keys = other.progress.tag_keys
        return replace(self, progress=msgspec.structs.replace(self.progress, tag_keys=keys))

    def digest(self, layout: ModelLayout) -> bytes:
        """SHA-256 over all that sums have made of this state: model, optimizer, statistics, and which sums they were.

        Hospitals that have applied the same sums have the same. Masks and tags are bound to it, so that a sum fits no
        other state than the one it was taken in. Made once, when it is first asked for.
        """
        if layout not in self._digests:
            self._digests[layout] = self._digest(layout)
        return self._digests[layout]

    def _digest(self, layout: ModelLayout) -> bytes:
        moments = [_little_endian(array) for array in (self.optimizer.first, self.optimizer.second)]
        of_features = (self.moments.mean, self.moments.variance) if self.moments else ()
        statistics = [_little_endian(array) for array in of_features]
        sums, applied = self.reached.statistics, msgspec.json.encode(self.progress.applied)
        model = model_digest(layout, self.model)
        return digest("state", b"", model, self.optimizer.step, *moments, sums, *statistics, applied)

    def after_conclusion(self, rounds: int) -> HospitalState:
        """After the release was attested to, as one of so many rounds."""
        return replace(self, progress=msgspec.structs.replace(self.progress, concluded=True, stated_rounds=rounds))

    def save(self, path: Path) -> None:
        """Write the state, durably and as a whole.

        Raises:
            InputError: ``unwritable``.
        """
        tensors = {"model": self.model, "optimizer_step": np.array([self.optimizer.step])}
        kept = {"first": self.optimizer.first, "second": self.optimizer.second}
        # An optimizer that keeps no such moments leaves them zero.
        tensors |= {name: values for name, values in kept.items() if has_bits(values)}
        if self.moments:
            tensors |= {"mean": self.moments.mean, "variance": self.moments.variance}
        if self.last_sum:
            tensors["last_sum"] = np.frombuffer(self.last_sum, np.uint8)
        metadata = {_METADATA: msgspec.json.encode(self.progress).decode()}
        write_atomically(path, save(tensors, metadata), PRIVATE)


def _little_endian(array: npt.NDArray[np.float64]) -> bytes:
    """Its bytes; none if every bit is zero, as they stay where the optimizer keeps no moments."""
    return array.astype("<f8").tobytes() if has_bits(array) else b""


def has_bits(array: npt.NDArray[np.float64]) -> bool:
    """Whether any bit is set. A zero with a sign has one: what comes of it later may differ."""
    return bool(array.view(np.uint64).any())


def load_state(path: Path, charter_digest: bytes) -> HospitalState:
    """Read what `HospitalState.save` wrote for this charter.

    Raises:
        TamperingError: ``damaged-checkpoint``, ``other-charter``.
        InputError: ``earlier-version``.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            progress = msgspec.json.decode(file.metadata()[_METADATA], type=Progress)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        last_sum = tensors.pop("last_sum").tobytes() if "last_sum" in tensors else b""
        model, step = tensors.pop("model"), tensors.pop("optimizer_step")
        zeros = initial_state(len(model))
        optimizer = OptimizerState(int(step[0]), tensors.pop("first", zeros.first), tensors.pop("second", zeros.second))
        moments = Moments(tensors.pop("mean"), tensors.pop("variance")) if "mean" in tensors else None
        state = HospitalState(model, optimizer, progress, moments, last_sum)
    except (OSError, SafetensorError, KeyError, TypeError, *MALFORMED) as error:
        raise TamperingError(
            "damaged-checkpoint",
            f"The checkpoint {path} cannot be read: {error}.",
            culprit=str(path),
            remedy="Remove it: this hospital then catches up from the others.",
        ) from error
    if any(name.startswith("moments.") for name in tensors):
        raise InputError(
            "earlier-version",
            f"The checkpoint {path} is of an earlier version of secagg, which summed feature statistics in two sums.",
            culprit=str(path),
            remedy="End this run with the version that all its hospitals began it with, or agree on a new charter.",
        )
    if progress.charter != charter_digest.hex():
        raise TamperingError(
            "other-charter",
            f"The checkpoint {path} belongs to another charter.",
            culprit=str(path),
            remedy="Move it back to the run of its charter, or remove it: this hospital then catches up from the "
            "others.",
        )
    return state
