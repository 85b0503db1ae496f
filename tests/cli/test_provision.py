"""`secagg charter provision`: kits for a charter that all have signed, and what to do with them."""

from __future__ import annotations

import sys

from tests.cli.outcome import UNUSABLE, nothing_written

PROVISION = ("charter", "provision", "--host", "sum.example.org", "--out", "provisioned")


def test_every_kit_is_shown_with_whom_it_is_for_and_what_to_keep(secagg, signed, here):
    shown = secagg(*PROVISION).shown
    for kit, member in (("hospital-01", "a"), ("hospital-02", "b"), ("hospital-03", "c")):
        assert f"{kit} {member} {kit}" in shown
        assert (here / "provisioned/kits" / kit / "startup/client.key").exists()
    assert "coordinator/server coordinator sum.example.org" in shown
    assert "coordinator/admin coordinator coordinator@secagg.internal" in shown
    assert "Keep provisioned/state here and secret" in shown


def test_as_json_each_kit_has_its_place_its_owner_and_its_end(secagg, signed):
    result = secagg(*PROVISION, "--port", 9000, "--json").json
    assert [kit["for"] for kit in result["kits"]] == ["a", "b", "c", "coordinator", "coordinator"]
    assert [kit["role"] for kit in result["kits"]] == ["hospital", "hospital", "hospital", "server", "admin"]
    assert all(kit["expires"] < result["authority_expires"] for kit in result["kits"])
    assert len(result["authority"].split(":")) == 32
    assert result["warnings"] == []


def test_what_a_killed_one_has_left_is_told_and_removed(secagg, signed, here):
    left = here / "provisioned/.provisioning-abcdefgh"
    left.mkdir(parents=True)
    outcome = secagg(*PROVISION)
    assert outcome.code == 0
    assert "private keys" in outcome.err
    assert outcome.err.endswith("[provisioning-left]\n")
    assert not left.exists()


def test_a_charter_that_nobody_has_signed_is_not_provisioned(secagg, drafted, here):
    with nothing_written(here):
        secagg(*PROVISION).failed(UNUSABLE, "charter-unsigned", "a, b, c")


def test_kits_that_are_there_stay(secagg, signed, here):
    (here / "provisioned/kits").mkdir(parents=True)
    with nothing_written(here):
        secagg(*PROVISION).failed(UNUSABLE, "exists", "provisioned/kits", "Move it away")


def test_without_the_extra_it_says_what_to_install(secagg, signed, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvflare", None)
    with nothing_written(here):
        secagg(*PROVISION).failed(UNUSABLE, "extra-missing", "in the checkout, `pip install '.[nvflare]'`")


def test_a_host_that_is_none_is_refused(secagg, signed, here):
    with nothing_written(here):
        secagg("charter", "provision", "--host", "https://sum", "--out", "p").failed(
            UNUSABLE, "bad-host", "https://sum"
        )
