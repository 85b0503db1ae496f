"""Where a hospital keeps what. Knows names of files and nothing of what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.latch import LATCH_FILE
from secagg.policy.toml import POLICY_FILE
from secagg.release.statement import MODEL_FILE

_STATE: Final = "checkpoint.safetensors"
_WITNESSED: Final = "witnessed.json"
_EVIDENCE: Final = "evidence/forged-sum.bin"


@dataclass(frozen=True)
class HospitalFolder:
    """One hospital's state directory, for all its charters. All of it but the releases stays at the hospital."""

    path: Path

    @property
    def identity(self) -> Path:
        """The signing key, PEM, mode 0600."""
        return self.path / "identity.pem"

    @property
    def policy(self) -> Path:
        """What this site accepts; the strict defaults where it is missing."""
        return self.path / POLICY_FILE

    @property
    def latch(self) -> Path:
        """What this site has revealed."""
        return self.path / LATCH_FILE

    @property
    def ledger(self) -> Path:
        """What this site's data sets have spent."""
        return self.path / "ledger.sqlite"

    @property
    def egress(self) -> Path:
        """What has left this site, and the sums it took."""
        return self.path / "egress.sqlite"

    @property
    def kit(self) -> Path:
        """The NVFlare start-up kit, where hospitals are in different buildings."""
        return self.path / "kit"

    def state(self, charter: bytes) -> Path:
        """The state file: the model of one charter and its progress, after the last sum."""
        return self._run(charter) / _STATE

    def release(self, charter: bytes) -> Path:
        """The released model of one charter, its statement, and the charter."""
        return self._run(charter) / "release"

    def witnessed(self, charter: bytes) -> Path:
        """The one list of checkpoints of a charter's run that this hospital signs or keeps."""
        return self._run(charter) / _WITNESSED

    def evidence(self, charter: bytes) -> Path:
        """The forged sum that made this hospital stop, as it came. That it stopped is in the latch."""
        return self._run(charter) / _EVIDENCE

    def rewritten(self, charter: bytes) -> tuple[Path, ...]:
        """The files that a charter's run writes anew, as large as its model or small; nobody else writes them."""
        return self.state(charter), self.witnessed(charter), self.release(charter) / MODEL_FILE

    def releases(self) -> Iterator[Path]:
        """The releases of all charters."""
        yield from sorted(self._runs.glob("*/release"))

    def left_by_runs(self) -> Iterator[Path]:
        """What runs under any charter have left that nobody else could have put there, as a copy of a release."""
        for name in (_STATE, _WITNESSED, _EVIDENCE):
            yield from sorted(self._runs.glob(f"*/{name}"))

    def _run(self, charter: bytes) -> Path:
        return self._runs / charter.hex()[:16]

    @property
    def _runs(self) -> Path:
        return self.path / "runs"
