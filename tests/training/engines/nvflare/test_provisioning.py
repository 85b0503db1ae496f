"""Every party has its own kit and nobody else's; the authority's key stays with the member who provisions."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from secagg.charter.folder import write_charter, write_signatures
from secagg.charter.sections import MOST_MEMBERS
from secagg.errors import InputError
from secagg.files import lock
from training.engines.nvflare.authority import load_authority
from training.engines.nvflare.kit import Role, read_kit
from training.engines.nvflare.provisioning import Address, provision

PRIVATE_KEY = b"PRIVATE KEY"
PASSPHRASE = b"correct horse"
# Killed when the kits are there and lack their signatures.
KILLED = """
import os, signal, sys
from pathlib import Path
from secagg.charter.folder import read_verified
from training.engines.nvflare import certificates, provisioning
{weakened}
provisioning._sign = lambda kit, authority: os.kill(os.getpid(), signal.SIGKILL)
charter, address = read_verified(Path(sys.argv[1])), provisioning.Address("sum.example.org")
provisioning.provision(charter, address, Path(sys.argv[2]), b"correct horse")
"""
NVFLARE_S_OWN = "del certificates.ForgetfulCertBuilder.finalize"


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
    assert {path.name for path in provisioned.iterdir()} == {"kits", "state", "project.yml", ".provisioning.lock"}
    assert {path.name for path in (provisioned / "state").iterdir()} == {"root-ca.key", "root-ca.pem"}
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


# Cut off


def killed(verified, folder: Path, weakened: str = "") -> Path:
    """What a provisioning leaves that is killed at work."""
    write_charter(folder / "charter", verified.charter)
    write_signatures(folder / "charter", verified.signatures)
    command = [
        sys.executable,
        "-P",
        "-c",
        KILLED.format(weakened=weakened),
        str(folder / "charter"),
        str(folder / "out"),
    ]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    return folder / "out"


def left_in(out: Path) -> list[Path]:
    return list(out.glob(".provisioning-*"))


def keys_in_clear(folder: Path) -> list[object]:
    """The public part of every key in a folder that needs no passphrase, be it in PEM or in JSON with PEM in it."""
    blocks = []
    for path in folder.rglob("*"):
        text = path.read_bytes().replace(b"\\n", b"\n") if path.is_file() else b""
        blocks += re.findall(
            rb"-----BEGIN (?:RSA )?PRIVATE KEY-----.*?-----END (?:RSA )?PRIVATE KEY-----", text, re.DOTALL
        )
    return [load_pem_private_key(block, None).public_key().public_numbers() for block in blocks]


def test_what_one_that_was_killed_has_left_is_removed_and_told(verified, tmp_path):
    out = killed(verified, tmp_path)
    (left,) = left_in(out)
    assert keys_in_clear(left)
    root, told = load_authority(out / "state", PASSPHRASE), []
    made = provision(verified, Address("sum.example.org"), out, PASSPHRASE, told.append)
    assert left_in(out) == []
    (caution,) = told
    assert caution.code == "provisioning-left"
    assert str(left) in caution.message
    certificate = x509.load_pem_x509_certificate((made[0].kit.startup / "rootCA.pem").read_bytes())
    assert certificate == root.certificate


def test_the_authority_s_key_is_nowhere_in_clear_where_there_is_a_passphrase(verified, tmp_path):
    out = killed(verified, tmp_path)
    root = load_authority(out / "state", PASSPHRASE).key.public_key().public_numbers()
    assert root not in keys_in_clear(out)


def test_control_nvflare_s_own_maker_of_certificates_leaves_it_in_clear(verified, tmp_path):
    out = killed(verified, tmp_path, NVFLARE_S_OWN)
    root = load_authority(out / "state", PASSPHRASE).key.public_key().public_numbers()
    assert root in keys_in_clear(out)


def test_what_another_process_makes_just_now_is_left_alone(verified, tmp_path):
    working = tmp_path / ".provisioning-abcdefgh"
    working.mkdir()
    held = lock(tmp_path / ".provisioning")
    with pytest.raises(InputError) as refused:
        provision(verified, Address("localhost"), tmp_path)
    os.close(held)
    assert refused.value.reason == "state-in-use"
    assert working.exists()


def test_nothing_is_removed_but_folders_that_provisioning_makes(verified, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    others = [tmp_path / name for name in (".provisioning-old", ".provisioning", "provisioning-abcdefgh", ".kits")]
    for folder in others:
        folder.mkdir()
    link, file = tmp_path / ".provisioning-link0000", tmp_path / ".provisioning-file0000"
    link.symlink_to(elsewhere)
    file.write_text("no folder")
    told = []
    provision(verified, Address("localhost"), tmp_path, on_warning=told.append)
    assert told == []
    assert all(path.exists() for path in (*others, elsewhere, link, file))
