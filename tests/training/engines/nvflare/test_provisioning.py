"""Every party has its own kit and nobody else's; the authority's key stays with the member who provisions."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from secagg.charter.sections import MOST_MEMBERS
from secagg.errors import InputError
from training.engines.nvflare.authority import load_authority
from training.engines.nvflare.kit import Role, read_kit
from training.engines.nvflare.provisioning import Address, provision

PRIVATE_KEY = b"PRIVATE KEY"


def kits_of(folder: Path) -> list[Path]:
    return [path.parent for path in sorted((folder / "kits").rglob("startup"))]


def keys_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and PRIVATE_KEY in path.read_bytes()]


def test_members_and_the_coordinator_have_kits_that_say_whose_they_are(provisioned):
    hospitals = [read_kit(provisioned / "kits" / f"hospital-0{number}") for number in (1, 2, 3)]
    assert [(kit.role, kit.name, kit.organisation) for kit in hospitals] == [
        (Role.HOSPITAL, f"hospital-0{number}", f"hospital_0{number}") for number in (1, 2, 3)
    ]
    server, admin = (read_kit(provisioned / "kits" / "coordinator" / name) for name in ("server", "admin"))
    assert (server.role, server.name) == (Role.SERVER, "sum.example.org")
    assert (admin.role, admin.name) == (Role.ADMIN, "coordinator@secagg.internal")
    everybody = [*hospitals, server, admin]
    assert {(kit.host, kit.port) for kit in everybody} == {("sum.example.org", 8443)}
    assert len({kit.authority for kit in everybody}) == 1


def test_the_authority_s_key_is_in_one_place_and_every_kit_has_one_key_of_its_own(provisioned):
    root = load_authority(provisioned / "state", None)
    public = []
    for kit in kits_of(provisioned):
        (key,) = keys_in(kit)
        assert key.parent == kit / "startup"
        public.append(load_pem_private_key(key.read_bytes(), None).public_key().public_numbers())
    assert len(set(public)) == len(public) == 5
    assert root.key.public_key().public_numbers() not in public
    assert [path.name for path in keys_in(provisioned / "state")] == ["root-ca.key"]
    assert len(keys_in(provisioned)) == 6


def test_no_member_s_name_is_in_a_kit(provisioned, verified):
    names = [f'"{member.name}"'.encode() for member in verified.charter.members]
    for path in (provisioned / "kits").rglob("*"):
        assert path.is_dir() or not any(name in path.read_bytes() for name in names)
    for kit in kits_of(provisioned):
        certificate = next((kit / "startup").glob("*.crt"))
        subject = x509.load_pem_x509_certificate(certificate.read_bytes()).subject.rfc4514_string()
        assert "hospital" in subject or "coordinator" in subject


def test_only_this_account_can_read_kits_and_state(provisioned):
    for path in [provisioned / "state", *(provisioned / "kits").rglob("*"), provisioned / "state" / "root-ca.key"]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_nothing_else_is_left_behind(provisioned):
    assert {path.name for path in provisioned.iterdir()} == {"kits", "state", "project.yml"}
    assert not list(provisioned.rglob("*.sh"))
    assert not list(provisioned.rglob("*.default"))


def test_kits_that_are_there_are_not_overwritten(provisioned, verified):
    before = (provisioned / "kits" / "hospital-01" / "startup" / "client.key").read_bytes()
    with pytest.raises(InputError) as refused:
        provision(verified, Address("elsewhere.example.org"), provisioned)
    assert refused.value.reason == "exists"
    assert (provisioned / "kits" / "hospital-01" / "startup" / "client.key").read_bytes() == before


def test_renewal_gives_new_keys_from_the_same_authority(provisioned, verified, tmp_path):
    shutil.copytree(provisioned / "state", tmp_path / "state")
    made = provision(verified, Address("sum.example.org", 8443), tmp_path)
    old = read_kit(provisioned / "kits" / "hospital-01")
    assert {entry.kit.authority for entry in made} == {old.authority}
    assert made[0].kit.expires >= old.expires
    key = (tmp_path / "kits" / "hospital-01" / "startup" / "client.key").read_bytes()
    assert key != (old.startup / "client.key").read_bytes()


def test_a_passphrase_keeps_the_authority_s_key_closed(verified, tmp_path):
    provision(verified, Address("localhost"), tmp_path, b"correct horse")
    assert b"ENCRYPTED" in (tmp_path / "state" / "root-ca.key").read_bytes()
    shutil.rmtree(tmp_path / "kits")
    for wrong, why in ((None, "needs a passphrase"), (b"battery staple", "cannot be opened with this passphrase")):
        with pytest.raises(InputError) as refused:
            provision(verified, Address("localhost"), tmp_path, wrong)
        assert refused.value.reason == "wrong-passphrase"
        assert why in refused.value.message
    assert not (tmp_path / "kits").exists()
    provision(verified, Address("localhost"), tmp_path, b"correct horse")


def test_a_passphrase_for_an_authority_that_has_none_is_to_be_left_out(provisioned, verified, tmp_path):
    shutil.copytree(provisioned / "state", tmp_path / "state")
    with pytest.raises(InputError) as refused:
        provision(verified, Address("localhost"), tmp_path, b"correct horse")
    assert (refused.value.reason, refused.value.remedy) == ("wrong-passphrase", "Leave the passphrase out.")


@pytest.mark.parametrize("name", ["root-ca.key", "root-ca.pem"])
@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_a_damaged_authority_is_no_matter_of_passphrases(verified, tmp_path, name, passphrase):
    provision(verified, Address("localhost"), tmp_path, passphrase)
    shutil.rmtree(tmp_path / "kits")
    (tmp_path / "state" / name).write_text("nothing of the kind")
    with pytest.raises(InputError) as refused:
        provision(verified, Address("localhost"), tmp_path, passphrase)
    assert refused.value.reason == "bad-authority"
    assert "passphrase" not in refused.value.remedy


@pytest.mark.parametrize("host", ["", "a b", "-a", "a" * 65, "hospital-01", "Hospital-1", "a/../b", "https://a", "a:1"])
def test_what_is_no_host_s_name_is_refused(host):
    with pytest.raises(InputError) as refused:
        Address(host)
    assert refused.value.reason == "bad-host"


def test_an_address_is_a_host_too(verified, tmp_path):
    made = provision(verified, Address("192.0.2.7"), tmp_path)
    assert {entry.kit.host for entry in made} == {"192.0.2.7"}
    pem = (tmp_path / "kits/coordinator/server/startup/server.crt").read_bytes()
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert [str(address) for address in names.value.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]


def test_a_server_has_room_for_the_members_of_any_charter_and_a_job_store_of_its_own(provisioned):
    text = (provisioned / "kits/coordinator/server/local/resources.json").read_text()
    assert json.loads(text)["servers"][0]["max_num_clients"] == MOST_MEMBERS
    assert "/tmp" not in text
