"""A coordinator starts with two kits that were made together, and with which every member can connect."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from secagg.charter.sections import MOST_MEMBERS
from secagg.errors import InputError
from training.engines.nvflare.kit import Role
from training.engines.nvflare.provisioning import Address, provision
from training.engines.nvflare.site_kits import require_coordinator_kits


@pytest.fixture
def kits(provisioned, tmp_path) -> Path:
    """A copy of the coordinator's, made for a charter of three."""
    return Path(shutil.copytree(provisioned / "kits" / "coordinator", tmp_path / "kits"))


def refused(kits: Path, members: int = 3) -> InputError:
    with pytest.raises(InputError) as refusal:
        require_coordinator_kits(kits, members)
    return refusal.value


def limit(kits: Path, clients: object) -> None:
    path = kits / "server" / "local" / "resources.json"
    content = json.loads(path.read_text())
    content["servers"][0]["max_num_clients"] = clients
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("members", [3, 4, MOST_MEMBERS])
def test_kits_that_were_made_for_three_serve_a_charter_of_more(kits, members):
    assert [kit.role for kit in require_coordinator_kits(kits, members)] == [Role.SERVER, Role.ADMIN]


def test_a_server_s_kit_that_would_shut_out_a_member_is_refused(kits):
    limit(kits, 3)
    require_coordinator_kits(kits, 3)
    error = refused(kits, 4)
    assert (error.reason, error.culprit) == ("other-kit", str(kits / "server"))
    assert "3 of the charter's 4" in error.message


@pytest.mark.parametrize("clients", ["3", None, []])
def test_one_whose_limit_is_no_number_is_no_kit(kits, clients):
    limit(kits, clients)
    assert refused(kits).reason == "malformed-kit"


@pytest.mark.parametrize("role", ["server", "admin"])
def test_one_of_two_that_was_renewed_by_another_authority_is_refused(kits, verified, tmp_path, role):
    """A kit was stolen, `state` was moved away, and only one of the coordinator's folders was put in its place."""
    provision(verified, Address("sum.example.org", 8443), tmp_path / "again")
    shutil.rmtree(kits / role)
    shutil.copytree(tmp_path / "again" / "kits" / "coordinator" / role, kits / role)
    error = refused(kits)
    assert (error.reason, "authority" in error.message) == ("other-kit", True)


@pytest.mark.parametrize(
    ("address", "what"), [(Address("else.example.org", 8443), "host"), (Address("sum.example.org", 8444), "port")]
)
def test_or_made_for_another_address(kits, provisioned, verified, tmp_path, address, what):
    shutil.copytree(provisioned / "state", tmp_path / "again" / "state")
    provision(verified, address, tmp_path / "again")
    shutil.rmtree(kits / "admin")
    shutil.copytree(tmp_path / "again" / "kits" / "coordinator" / "admin", kits / "admin")
    error = refused(kits)
    assert (error.reason, f"the {what} is" in error.message) == ("other-kit", True)


def test_two_kits_of_one_kind_are_not_the_coordinator_s(kits):
    shutil.rmtree(kits / "admin")
    shutil.copytree(kits / "server", kits / "admin")
    assert refused(kits).culprit == str(kits / "admin")
