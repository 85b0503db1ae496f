"""One epoch as a job of NVFlare: a folder that names two classes, a charter's digest and a number. No code, no data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from secagg.files import write_atomically
from secagg.json_documents import json_for_people
from training.engines.nvflare.hardening import CONTROLLER, EXECUTOR

_APP: Final = "app"


@dataclass(frozen=True)
class EpochJob:
    """What a job says.

    Attributes:
        charter: hex digest.
        serial: its number.
        fewest: how many hospitals must be connected, or it does not begin.
        wait: seconds that their processes may take to open.
    """

    charter: str
    serial: int
    fewest: int
    wait: float

    def write(self, folder: Path) -> None:
        """Write the job's folder, unsigned: whoever submits it signs it."""
        controller = {"path": CONTROLLER, "id": "epoch", "args": {"serial": self.serial, "wait": self.wait}}
        executor = {"path": EXECUTOR, "args": {"charter": self.charter, "serial": self.serial}}
        meta = {
            "name": f"epoch-{self.serial}",
            "resource_spec": {},
            "min_clients": self.fewest,
            "deploy_map": {_APP: ["@ALL"]},
        }
        config = folder / _APP / "config"
        _write(folder / "meta.json", meta)
        _write(config / "config_fed_server.json", {"format_version": 2, "workflows": [controller], "components": []})
        _write(
            config / "config_fed_client.json",
            {"format_version": 2, "executors": [{"tasks": ["*"], "executor": executor}], "components": []},
        )


def _write(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json_for_people(content))
