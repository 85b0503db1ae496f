"""Three hospitals and a coordinator in folders of their own, laid out as their administrators would."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from secagg.charter import VerifiedCharter
from secagg.charter.folder import read_verified
from tests.support.hospitals import choices_of, prepared
from training.field.coordinator_site import CoordinatorSite
from training.field.hospital_site import HospitalSite
from training.field.laying_out import HospitalMaterial, lay_out_coordinator, lay_out_hospital
from training.field.settings import HospitalSettings


@dataclass(frozen=True)
class FieldSites:
    """The sites, and what their administrators had in hand."""

    charter: VerifiedCharter
    hospitals: dict[int, HospitalSite]
    coordinator: CoordinatorSite
    materials: dict[int, HospitalMaterial]


def any_kit(_folder: Path, _number: int = 0) -> None:
    """Kits are tried with NVFlare's own tests; here they are only copied."""


def lay_out(folder: Path, hospitals: int = 3, choices=None, spec=None) -> FieldSites:
    run = prepared(folder / "agreed", hospitals, choices or choices_of(), spec)
    charter = read_verified(run / "charter")
    kit = folder / "kit"
    (kit / "startup").mkdir(parents=True)
    (kit / "startup" / "fed_client.json").write_text("{}")
    sites, materials = {}, {}
    for number, member in enumerate(charter.charter.members, 1):
        data = folder / "agreed" / "data" / f"{member.name}.csv"
        identity = run / "hospitals" / member.name / "identity.pem"
        settings = HospitalSettings(data=str(data), device="cpu", seed=7)
        materials[number] = HospitalMaterial(run / "charter", identity, kit, settings)
        sites[number] = lay_out_hospital(folder / member.name, materials[number], any_kit)
    coordinator = lay_out_coordinator(folder / "coordinator", run / "charter", kit, any_kit)
    return FieldSites(charter, sites, coordinator, materials)


@pytest.fixture
def sites(tmp_path: Path) -> FieldSites:
    return lay_out(tmp_path)
