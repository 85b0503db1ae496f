"""Where a simulated run keeps what. Knows names of files and nothing of what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.run_lock import LOCK_FILE


@dataclass(frozen=True)
class RunFolder:
    """The folder of a simulated run."""

    path: Path

    @property
    def settings(self) -> Path:
        """What it was started with: what makes a folder that of a run."""
        return self.path / "simulation.json"

    @property
    def charter(self) -> Path:
        """The folder of the charter, with all signatures."""
        return self.path / "charter"

    @property
    def hospitals(self) -> Path:
        """The folder of the hospitals' folders, unless they are to outlive the run elsewhere."""
        return self.path / "hospitals"

    @property
    def coordinator(self) -> Path:
        """What the coordinator keeps: numbers used, sums, transcript."""
        return self.path / "coordinator"

    @property
    def history(self) -> Path:
        """The rounds, and how good the model was after each."""
        return self.path / "history.jsonl"

    @property
    def comparison(self) -> Path:
        """How good the models are that it is compared with."""
        return self.path / "comparison.jsonl"

    @property
    def release(self) -> Path:
        """The released model, its statement, and the charter."""
        return self.path / "release"

    @property
    def entries(self) -> frozenset[str]:
        """The names of all that a run leaves in its folder."""
        kept = (
            self.settings,
            self.charter,
            self.hospitals,
            self.coordinator,
            self.history,
            self.comparison,
            self.release,
        )
        return frozenset({LOCK_FILE, *(path.name for path in kept)})
