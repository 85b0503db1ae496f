"""A site's next charter: what its patients have spent under the last one counts, and nothing of the site is lost."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest

from secagg.charter.folder import read_verified, write_charter, write_signatures
from secagg.charter.signing import sign_charter
from secagg.errors import InputError, RefusedError, SecaggError
from secagg.identity import Identity
from secagg.policy import load_policy, render_policy
from secagg.policy.model import Countersigning
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK
from tests.training.field.conftest import any_kit, lay_out
from tests.training.field.test_sites import finish
from training.engines.nvflare.coordinator_service import serve_coordinator
from training.field import renewing
from training.field.hospital_site import HospitalSite
from training.field.laying_out import lay_out_hospital
from training.field.renewing import NextCharter, renew_hospital
from training.field.watcher import SiteWatcher
from training.run_lock import alone


@pytest.fixture
def trained(tmp_path):
    """Three sites that have spent what their policies allow."""
    sites = lay_out(tmp_path, choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    finish(sites)
    return sites


@pytest.fixture
def following(trained, tmp_path):
    """The same consortium's next charter."""
    agreed = msgspec.structs.replace(trained.charter.charter, nonce=b"2" * len(trained.charter.charter.nonce))
    identities = [Identity.load(site.folder.identity) for site in trained.hospitals.values()]
    folder = tmp_path / "next"
    write_charter(folder, agreed)
    write_signatures(folder, tuple(sign_charter(agreed, identity) for identity in identities))
    return NextCharter(folder)


def reason(operation, *arguments):
    with pytest.raises(SecaggError) as refusal:
        operation(*arguments)
    return refusal.value.reason


class KilledError(BaseException):
    """As if nothing were done any more."""


def require_folder(folder: Path, _number: int) -> None:
    """Of what a kit has to be, that it is there."""
    if not folder.is_dir():
        raise InputError("no-kit", f"{folder} holds no start-up kit.", culprit=str(folder))


def digest_of(following):
    return read_verified(following.charter).digest.hex()


def test_what_was_spent_under_the_last_charter_counts_under_the_next(trained, following):
    site = trained.hospitals[1]
    renew_hospital(site, following, any_kit)
    with pytest.raises(RefusedError) as refusal, site.attend(digest_of(following), 1000):
        pass
    assert refusal.value.reason == "budget-exceeded"


def test_control_a_second_folder_for_the_same_patients_spends_their_budget_again(trained, following, tmp_path):
    material = dataclasses.replace(trained.materials[1], charter=following.charter)
    second = lay_out_hospital(tmp_path / "second", material, any_kit)
    with second.attend(digest_of(following), 1000):
        pass


def test_who_would_init_a_site_again_is_told_to_renew_it(trained, following):
    material = dataclasses.replace(trained.materials[1], charter=following.charter)
    with pytest.raises(InputError) as refusal:
        lay_out_hospital(trained.hospitals[1].path, material, any_kit)
    assert refusal.value.reason == "folder-not-empty"
    assert "secagg hospital renew" in refusal.value.remedy
    assert "ledger of its own" in refusal.value.remedy


def test_what_is_not_given_stays(trained, following):
    site = trained.hospitals[1]
    kept = {path: path.read_bytes() for path in (site.folder.identity, site.folder.policy, site.settings)}
    release = site.release
    renew_hospital(site, following, any_kit)
    assert {path: path.read_bytes() for path in kept} == kept
    assert (release / "model.safetensors").exists()
    assert site.release != release
    assert not list(site.path.glob(".*"))


def test_a_policy_that_does_not_allow_the_next_charter_changes_nothing(trained, following, tmp_path):
    site = trained.hospitals[1]
    strict = tmp_path / "strict.toml"
    strict.write_text("minimum_cohort = 50\n")
    before = site.folder.policy.read_bytes()
    refused = dataclasses.replace(following, policy=strict, kit=trained.materials[1].kit)
    assert reason(renew_hospital, site, refused, any_kit)
    assert site.folder.policy.read_bytes() == before
    assert read_verified(site.charter).digest == trained.charter.digest


@pytest.fixture
def with_officers(trained, following, tmp_path):
    """A site whose next policy names officers: the policy, and one that allows more and names none."""
    agreed = load_policy(trained.hospitals[1].folder.policy)
    officers = frozenset(Identity.generate().public_key for _ in range(2))
    strict = msgspec.structs.replace(agreed, countersigning=Countersigning(officers=officers))
    looser = msgspec.structs.replace(agreed, maximum_epsilon=80.0)
    places = []
    for name, policy in (("strict", strict), ("looser", looser)):
        places.append(tmp_path / f"{name}.toml")
        places[-1].write_bytes(render_policy(policy))
    renew_hospital(trained.hospitals[1], dataclasses.replace(following, policy=places[0]), any_kit)
    return places


def test_a_policy_with_officers_is_in_force_at_once(trained, following, with_officers):
    site, (_, looser) = trained.hospitals[1], with_officers
    site.folder.policy.write_bytes(looser.read_bytes())
    assert reason(renew_hospital, site, following, any_kit) == "policy-loosened"


def test_a_looser_policy_that_officers_have_not_signed_changes_nothing(trained, following, with_officers):
    site, (strict, looser) = trained.hospitals[1], with_officers
    back = NextCharter(trained.materials[1].charter, policy=looser)
    assert reason(renew_hospital, site, back, any_kit) == "policy-loosened"
    assert site.folder.policy.read_bytes() == strict.read_bytes()
    assert read_verified(site.charter).digest.hex() == digest_of(following)


@pytest.mark.parametrize("given", ["policy", "kit"])
def test_what_is_given_is_put_in_place(trained, following, tmp_path, given):
    site = trained.hospitals[1]
    policy, kit = tmp_path / "policy.toml", tmp_path / "kit-2"
    policy.write_bytes(site.folder.policy.read_bytes() + b"# New.\n")
    kit.mkdir()
    (kit / "new.json").write_text("{}")
    changes = {"policy": policy} if given == "policy" else {"kit": kit}
    renew_hospital(site, dataclasses.replace(following, **changes), any_kit)
    assert site.folder.policy.read_text().endswith("# New.\n") == (given == "policy")
    assert [path.name for path in site.kit.iterdir()] == (["new.json"] if given == "kit" else ["startup"])


def test_a_site_that_runs_is_left_alone(trained, following):
    site = trained.hospitals[1]
    with alone(site.path):
        assert reason(renew_hospital, site, following, any_kit) == "state-in-use"


def test_a_folder_that_is_no_site_is_refused(following, tmp_path):
    assert reason(renew_hospital, HospitalSite(tmp_path), following, any_kit) == "no-site"


@pytest.mark.parametrize("moved", [0, 1])
def test_cut_off_between_two_moves_it_can_be_repeated(trained, following, monkeypatch, moved):
    site, cut_off = trained.hospitals[1], []

    def write_and_break(folder, charter):
        if moved:
            # As if it had been killed between moving the old folder away and moving the new one there.
            site.charter.rename(site.path / ".charter.old")
        cut_off.append(folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(renewing, "write_signed_charter", write_and_break)
        with pytest.raises(KeyboardInterrupt):
            renew_hospital(site, following, any_kit)
    assert cut_off
    renew_hospital(site, following, any_kit)
    assert read_verified(site.charter).digest.hex() == digest_of(following)
    assert not list(site.path.glob(".charter*"))


@pytest.mark.parametrize("given_again", [True, False])
def test_killed_while_the_kit_is_replaced_it_can_be_repeated_with_that_kit_or_without(
    trained, following, tmp_path, monkeypatch, given_again
):
    site, kit = trained.hospitals[1], tmp_path / "kit-2"
    kit.mkdir()
    (kit / "new.json").write_text("{}")
    rename = Path.rename

    def until_the_new_one_is_to_take_its_place(source, target):
        if source.name == ".kit.new":
            raise KilledError
        return rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", until_the_new_one_is_to_take_its_place)
        with pytest.raises(KilledError):
            renew_hospital(site, dataclasses.replace(following, kit=kit), any_kit)
    assert not site.kit.exists()
    renew_hospital(site, dataclasses.replace(following, kit=kit if given_again else None), require_folder)
    assert [path.name for path in site.kit.iterdir()] == (["new.json"] if given_again else ["startup"])
    assert not list(site.path.glob(".kit*"))


def test_an_old_kit_that_one_that_was_killed_has_left_is_removed_also_where_no_kit_is_given(trained, following):
    """There is a private key in it."""
    site = trained.hospitals[1]
    for name in (".kit.old", ".kit.new"):
        (site.path / name).mkdir()
    renew_hospital(site, following, require_folder)
    assert not list(site.path.glob(".kit*"))


def test_a_coordinator_s_folder_serves_one_charter(trained, following):
    """It says so, and not that this charter's model is released."""
    site = trained.coordinator
    assert site.is_done(site.read_charter())
    (site.charter / "charter.toml").write_bytes((following.charter / "charter.toml").read_bytes())
    signatures = "charter.signatures.json"
    (site.charter / signatures).write_bytes((following.charter / signatures).read_bytes())
    assert reason(serve_coordinator, site, lambda: None, SiteWatcher()) == "other-charter"
