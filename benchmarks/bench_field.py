"""Hospitals in different buildings, all of them on this machine: what a round takes, and what moving bytes takes.

Every party is a process of its own behind mutual TLS, as in the field. The wires between them are this machine's.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.conftest import Report
from benchmarks.field.moving import Moved, MovingController, MovingExecutor
from benchmarks.field.sites import BenchJob, agreed, allow, kits_of, running
from benchmarks.sizes import size
from secagg.charter.folder import write_charter, write_signatures
from tests.support.hospitals import choices_of, tabular_spec, training_of, write_tables
from training.engines.nvflare.kit import Role
from training.engines.nvflare.site_kits import require_coordinator_kits, require_hospital_kit
from training.field.coordinator_site import CoordinatorSite
from training.field.laying_out import HospitalMaterial, lay_out_coordinator, lay_out_hospital
from training.field.settings import HospitalSettings

SITES = ["aachen", "bonn", "celle", "dessau"]
PARAMETERS = size(25_000_000, 250_000)
# As the default field carries parameters of 16 bits.
BYTES_EACH = 3
TIMES = size(5, 1)
ROUNDS = size(40, 4)
# 15,001 parameters on two features.
HIDDEN = (120, 120)
SECAGG = Path(sys.executable).with_name("secagg")
_PATIENCE = 300


def place_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def moved(folder: Path) -> Moved:
    charter, _ = agreed(choices_of(), tabular_spec(), SITES)
    kits = kits_of(charter, folder / "provisioned")
    for kit in kits:
        if kit.role is not Role.ADMIN:
            allow(kit, place_of(MovingController if kit.role is Role.SERVER else MovingExecutor))
    out = folder / "moved.json"
    arguments = {"size": PARAMETERS * BYTES_EACH, "times": TIMES, "out": str(out)}
    job = BenchJob(
        len(SITES),
        {"path": place_of(MovingController), "args": arguments},
        {"path": place_of(MovingExecutor), "args": {}},
    )
    with running(kits, folder / "logs") as jobs:
        jobs.run(job, out.exists)
    return msgspec.json.decode(out.read_bytes(), type=Moved)


def bench_moving_a_large_model_to_four_sites_and_back(tmp_path: Path, figure: Report) -> None:
    result = moved(tmp_path)
    ours, theirs = median(result.by_engine), median(result.by_tasks)
    megabytes = result.size / 1e6
    figure(f"{megabytes:.0f} MB to 4 sites and back, by NVFlare's tasks", theirs, "s")
    figure("the same, by the engine", ours, "s")
    figure("engine / tasks", ours / theirs, "", at_most=1.5)


def seconds_of_rounds(folder: Path) -> list[float]:
    tables = write_tables(folder / "data", len(SITES))
    spec = tabular_spec(test_fraction=0)
    spec = msgspec.structs.replace(spec, model=msgspec.structs.replace(spec.model, name="mlp", hidden=HIDDEN))
    training = training_of(rounds=ROUNDS, local_steps=1)
    charter, identities = agreed(choices_of(training, epoch_rounds=ROUNDS), spec, SITES)
    write_charter(folder / "charter", charter.charter)
    write_signatures(folder / "charter", charter.signatures)
    kits = kits_of(charter, folder / "provisioned")
    for number, (name, identity, kit, table) in enumerate(zip(SITES, identities, kits, tables, strict=False), 1):
        identity.save(folder / f"{name}.pem")
        material = HospitalMaterial(
            folder / "charter", folder / f"{name}.pem", kit.folder, HospitalSettings(data=str(table), device="cpu")
        )
        lay_out_hospital(folder / f"site-{number}", material, require_hospital_kit)
    coordinator = folder / "provisioned" / "kits" / "coordinator"
    lay_out_coordinator(folder / "coordinator", folder / "charter", coordinator, require_coordinator_kits)
    with ExitStack() as opened:
        for number, _ in enumerate(SITES, 1):
            opened.callback(started("hospital", folder / f"site-{number}").wait, _PATIENCE)
        started("coordinator", folder / "coordinator").wait(_PATIENCE)
    return [record.seconds for record in CoordinatorSite(folder / "coordinator").rounds.records]


def started(what: str, site: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([str(SECAGG), what, "run", str(site)], stdout=subprocess.DEVNULL)


def bench_a_round_of_four_sites(tmp_path: Path, figure: Report) -> None:
    # Not the first: in it, torch is loaded and every connection is new.
    figure("a round of 4 sites, 15,000 parameters, median", median(seconds_of_rounds(tmp_path)[1:]), "s", at_most=0.5)
