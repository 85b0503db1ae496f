"""A hospital that changes its signing key takes over what its patients have spent: docs/running-a-site.md says how."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from msgspec.structs import replace

from secagg.errors import RefusedError
from secagg.files import write_atomically
from secagg.identity import Identity
from secagg.latch import Latch
from secagg.policy import render_policy
from secagg.policy.needs import needed_policy
from tests.cli.outcome import REFUSED, UNUSABLE
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK
from tests.training.field.conftest import lay_out
from tests.training.field.test_sites import epoch, raise_epsilon
from training.engines.nvflare.provisioning import Address, provision
from training.field.hospital_site import HospitalSite

# Allows two of the three rounds of one training, and all of another: less than two trainings.
ALLOWED = 11.0


@pytest.fixture
def stopped(tmp_path):
    """The consortium of a training that was stopped after two of its three rounds, as h1's key had been stolen."""
    sites = lay_out(tmp_path / "old", choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    epoch(sites, 1)
    return sites


@pytest.fixture
def agreed(tmp_path):
    """What was agreed on anew, with a new key of h1, and its kit."""
    sites = lay_out(tmp_path / "new", choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    provision(sites.charter, Address("localhost"), tmp_path / "provisioned")
    return sites, tmp_path / "provisioned" / "kits" / "hospital-01"


def moved(secagg, stopped, agreed, before_the_export=()):
    """The new site, after all steps."""
    old, (new, kit) = stopped.hospitals[1].path, agreed
    for command in before_the_export:
        assert secagg(*command).code == 0
    assert secagg("budget", "export", old, "--out", "old.json").code == 0
    given = new.materials[1]
    made = ("--charter", given.charter, "--identity", given.identity, "--kit", kit, "--data", given.settings.data)
    assert secagg("hospital", "init", "site", *made).code == 0
    public_key = secagg("identity", "show", old / "identity.pem", "--json").json["public_key"]
    assert secagg("budget", "import", "site", "old.json", "--public-key", public_key).code == 0
    site = HospitalSite(Path("site"))
    raise_epsilon(site, ALLOWED)
    return site


def give_up(stopped):
    run = stopped.charter.digest.hex()
    return [("budget", "release", stopped.hospitals[1].path, "--charter", run)]


def stopped_by_a_forged_sum(sites):
    """As the hospital's folder is then: nobody ended the run, so that it still reserves."""
    folder = sites.hospitals[1].folder
    write_atomically(folder.evidence(sites.charter.digest), b"as it came")
    with Latch(folder.latch) as latch:
        latch.record_stopped(sites.charter.digest)


def spent(secagg, folder):
    return max(data_set["epsilon"] for data_set in secagg("budget", "show", folder, "--json").json)


def test_what_a_stopped_training_charged_counts_at_the_new_key_and_the_next_training_fits(
    secagg, stopped, agreed, here
):
    old = stopped.hospitals[1].path
    planned = spent(secagg, old)
    site = moved(secagg, stopped, agreed, give_up(stopped))
    assert Identity.load(site.folder.identity).public_key != Identity.load(old / "identity.pem").public_key
    assert 0 < spent(secagg, site.path) == spent(secagg, old) < planned
    with site.attend(agreed[0].charter.digest.hex(), 1):
        pass


def test_a_training_that_a_forged_sum_ended_still_reserves_and_is_freed_the_same_way(secagg, stopped, here):
    old = stopped.hospitals[1].path
    stopped_by_a_forged_sum(stopped)
    planned = spent(secagg, old)
    assert "open" in secagg("budget", "show", old).out
    (command,) = give_up(stopped)
    assert secagg(*command).code == 0
    assert 0 < spent(secagg, old) < planned
    assert "open" not in secagg("budget", "show", old).out


def test_control_without_the_release_all_that_was_planned_counts_and_nothing_there_frees_it(
    secagg, stopped, agreed, here
):
    planned = spent(secagg, stopped.hospitals[1].path)
    site = moved(secagg, stopped, agreed)
    assert spent(secagg, site.path) == planned
    run = stopped.charter.digest.hex()
    assert secagg("budget", "release", site.path, "--charter", run, "--json").json["released"] == []
    assert spent(secagg, site.path) == planned
    with pytest.raises(RefusedError) as refusal, site.attend(agreed[0].charter.digest.hex(), 1):
        pass
    assert refusal.value.reason == "budget-exceeded"


# The key is lost, and no export was made ----------------------------------------------------------------------------


@pytest.fixture
def without_its_key(stopped):
    """What is left of h1's site, and its public key as everybody's copy of the charter has it."""
    site = stopped.hospitals[1]
    site.folder.identity.unlink()
    return site.path, base64.b64encode(stopped.charter.charter.member(1).public_key).decode()


def told_without_it(secagg, without_its_key):
    """The epsilon that the ledger says is spent or reserved, to whoever has the public key only."""
    old, public_key = without_its_key
    (data_set,) = secagg("policy", "check", old, "--public-key", public_key, "--json").json["data_sets"]
    return data_set["use"]["epsilon"]


def asked(agreed):
    """What the next training needs a policy to allow."""
    return needed_policy(agreed[0].charter.charter).maximum_epsilon


def init_allowing(secagg, agreed, epsilon):
    """`secagg hospital init` of a new site with a policy that allows this much."""
    new, kit = agreed
    given = new.materials[1]
    policy = replace(needed_policy(new.charter.charter), maximum_epsilon=epsilon)
    Path("policy.toml").write_bytes(render_policy(policy))
    made = ("--charter", given.charter, "--identity", given.identity, "--kit", kit, "--data", given.settings.data)
    return secagg("hospital", "init", "site", *made, "--policy", "policy.toml")


def begins(agreed):
    with HospitalSite(Path("site")).attend(agreed[0].charter.digest.hex(), 1):
        return True


def test_without_the_key_a_ledger_cannot_be_exported_and_still_tells_what_was_spent(secagg, stopped, without_its_key):
    old, _ = without_its_key
    secagg("budget", "export", old, "--out", "old.json").failed(UNUSABLE, "unreadable", "identity.pem")
    assert 0 < told_without_it(secagg, without_its_key) <= needed_policy(stopped.charter.charter).maximum_epsilon


def test_a_policy_that_allows_less_by_that_lets_the_next_training_begin_only_where_both_fit(
    secagg, agreed, without_its_key, here
):
    spent = told_without_it(secagg, without_its_key)
    assert spent + asked(agreed) > ALLOWED
    assert init_allowing(secagg, agreed, ALLOWED - spent).code == REFUSED
    both = spent + asked(agreed) + 0.001
    assert init_allowing(secagg, agreed, both - spent).code == 0
    assert begins(agreed)


def test_control_a_policy_that_was_not_lowered_lets_it_begin_where_they_do_not(secagg, agreed, without_its_key, here):
    assert init_allowing(secagg, agreed, ALLOWED).code == 0
    assert begins(agreed)
