"""Kits that were provisioned once, and copies of them to do anything to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from secagg.charter import VerifiedCharter
from tests.support.consortium import make_charter, make_identities, sign_by_all
from training.engines.nvflare.provisioning import Address, provision

HOST = "sum.example.org"


@pytest.fixture(scope="session")
def verified() -> VerifiedCharter:
    """A charter of three."""
    identities = make_identities(3)
    return sign_by_all(make_charter(identities), identities)


@pytest.fixture(scope="session")
def provisioned(tmp_path_factory: pytest.TempPathFactory, verified: VerifiedCharter) -> Path:
    """What one provisioning made; read only."""
    out = tmp_path_factory.mktemp("provisioned")
    provision(verified, Address(HOST, 8443), out)
    return out


@pytest.fixture
def hospital_kit(provisioned: Path, tmp_path: Path) -> Path:
    """A copy of the first hospital's kit."""
    return Path(shutil.copytree(provisioned / "kits" / "hospital-01", tmp_path / "kit"))
