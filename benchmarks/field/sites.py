"""Four sites and a server on this machine for a benchmark: kits as the consortium would make them, processes, jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secagg.charter import Member, VerifiedCharter, sign_charter, verify_charter
from secagg.identity import Identity
from tests.support.ports import free_port
from training.choices import CharterChoices
from training.draft import draft_charter
from training.engines.nvflare.jobs import Jobs, open_jobs
from training.engines.nvflare.kit import Kit, Role
from training.engines.nvflare.process import launch
from training.engines.nvflare.provisioning import Address, provision
from training.field.supervisor import Supervised
from training.task import TaskSpec

_ROOT = Path(__file__).parents[2]
_MOST_SECONDS = 120.0


def agreed(choices: CharterChoices, spec: TaskSpec, names: list[str]) -> tuple[VerifiedCharter, list[Identity]]:
    """A charter that all have signed, and their keys."""
    identities = [Identity.from_seed(bytes([number]) * 32) for number, _ in enumerate(names, 1)]
    members = [Member(name=name, public_key=key.public_key) for name, key in zip(names, identities, strict=True)]
    charter = draft_charter(choices, members, spec)
    return verify_charter(charter, [sign_charter(charter, identity) for identity in identities]), identities


def kits_of(charter: VerifiedCharter, folder: Path) -> list[Kit]:
    return [made.kit for made in provision(charter, Address("localhost", free_port()), folder)]


def allow(kit: Kit, *classes: str) -> None:
    """Widen what a kit lets a job name: for the benchmark's own classes, which no hospital would allow."""
    path = kit.local / "resources.json"
    content = json.loads(path.read_text())
    content["class_allow_list"] += classes
    path.write_text(json.dumps(content))


@contextmanager
def running(kits: list[Kit], logs: Path) -> Iterator[Jobs]:
    """The processes of all kits, and a session once every site is connected."""
    admin = next(kit for kit in kits if kit.role is Role.ADMIN)
    serving = [kit for kit in kits if kit.role is not Role.ADMIN]
    sites = sum(kit.role is Role.HOSPITAL for kit in serving)
    with ExitStack() as opened:
        for kit in serving:
            start = launch(kit)
            environment = {**start.environment, "PYTHONPATH": str(_ROOT)}
            opened.callback(Supervised(start.command, environment, logs / f"{kit.name}.log").stop)
        jobs = opened.enter_context(open_jobs(admin.folder, lambda: None))
        deadline = time.monotonic() + _MOST_SECONDS
        while len(jobs.connected()) < sites:
            if time.monotonic() > deadline:
                raise RuntimeError("not every site has connected")
            time.sleep(0.2)
        yield jobs


@dataclass(frozen=True)
class BenchJob:
    """A job with NVFlare's intervals tuned: as measured, a task takes 0.2 s then instead of 2."""

    sites: int
    controller: dict[str, Any]
    executor: dict[str, Any]

    def write(self, folder: Path) -> None:
        config = folder / "app" / "config"
        config.mkdir(parents=True)
        server = {"server": {"task_request_interval": 0.1}, "workflows": [{"id": "bench", **self.controller}]}
        client = {"executors": [{"tasks": ["*"], "executor": self.executor}], "components": []}
        meta = {"name": "bench", "resource_spec": {}, "min_clients": self.sites, "deploy_map": {"app": ["@ALL"]}}
        (folder / "meta.json").write_text(json.dumps(meta))
        (config / "config_fed_server.json").write_text(json.dumps({"format_version": 2, **server}))
        (config / "config_fed_client.json").write_text(json.dumps({"format_version": 2, **client}))
