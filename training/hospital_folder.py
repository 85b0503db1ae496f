"""Where a hospital keeps what. Knows names of files and nothing of what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HospitalFolder:
    """One hospital's state directory. Everything in it but ``release`` stays at the hospital."""

    path: Path

    @property
    def identity(self) -> Path:
        """The signing key, PEM, mode 0600."""
        return self.path / "identity.pem"

    @property
    def policy(self) -> Path:
        """What this site accepts; the strict defaults where it is missing."""
        return self.path / "policy.toml"

    @property
    def latch(self) -> Path:
        """What this site has revealed."""
        return self.path / "latch.sqlite"

    @property
    def ledger(self) -> Path:
        """What this site's data sets have spent."""
        return self.path / "ledger.sqlite"

    @property
    def checkpoint(self) -> Path:
        """The model and its progress after the last sum."""
        return self.path / "checkpoint.safetensors"

    @property
    def release(self) -> Path:
        """The model, its statement, and the charter."""
        return self.path / "release"
