"""`secagg hospital check`: a site's kit is tried before the site is started."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace

import pytest

from tests.cli.outcome import REFUSED, UNUSABLE, nothing_written
from training.engines.nvflare.kit import read_kit


@pytest.fixture(scope="module")
def kits(tmp_path_factory):
    """What was provisioned for three; read only."""
    from tests.support.consortium import make_charter, make_identities, sign_by_all
    from training.engines.nvflare.provisioning import Address, provision

    identities = make_identities(3)
    out = tmp_path_factory.mktemp("provisioned")
    provision(sign_by_all(make_charter(identities), identities), Address("sum.example.org"), out)
    return out / "kits"


@pytest.fixture
def site(kits, tmp_path):
    shutil.copytree(kits / "hospital-02", tmp_path / "site" / "kit")
    return tmp_path / "site"


def test_a_good_site_is_told_so_point_by_point(secagg, site):
    result = secagg("hospital", "check", site, "--json").json
    assert result["good"]
    assert (result["name"], result["host"], result["port"]) == ("hospital-02", "sum.example.org", 8002)
    assert all(point["good"] for point in result["points"])


@pytest.mark.parametrize("width", [60, 200])
def test_the_root_certificate_s_fingerprint_is_printed_whole_to_be_compared(secagg, site, monkeypatch, width):
    authority = ":".join(["4E", "ab", "CD"] * 10 + ["AB", "cd"])
    monkeypatch.setattr("cli.output.console.width", width)
    monkeypatch.setattr("cli.hospital_check.read_kit", lambda folder: replace(read_kit(folder), authority=authority))
    assert f"root certificate  SHA-256 {authority}\n" in secagg("hospital", "check", site).out


def test_a_site_that_was_opened_is_not_to_be_started(secagg, site):
    resources = site / "kit" / "local" / "resources.json"
    resources.write_text(resources.read_text().replace("HospitalExecutor", ""))
    outcome = secagg("hospital", "check", site)
    assert outcome.code == REFUSED
    assert "not ok" in outcome.out
    assert "No: 2 of 27 points are not as they should be. Do not start this site." in outcome.out


def test_a_site_whose_records_are_gone_is_told_so_before_it_is_started(secagg, site, here):
    (site / "hospital.toml").write_text(f'data = "{here / "data" / "h1.csv"}"\n')
    there = secagg("hospital", "check", site, "--json").json
    assert there["good"]
    (here / "data" / "h1.csv").unlink()
    outcome = secagg("hospital", "check", site, "--json")
    assert outcome.code == REFUSED
    (wrong,) = [point for point in json.loads(outcome.out)["points"] if not point["good"]]
    assert wrong["found"] == f"nothing can be found at {here / 'data' / 'h1.csv'}"
    assert "mount what they are on" in wrong["remedy"]
    assert len(there["points"]) == len(json.loads(outcome.out)["points"])


def test_a_site_at_a_path_from_which_no_job_can_be_started_is_told_so(secagg, site, kits, here):
    spaced = site.rename(site.with_name("my site"))
    secagg("hospital", "check", spaced).failed(UNUSABLE, "unusable-path", "my site")
    given = ("--charter", kits, "--kit", kits)
    with nothing_written(here):
        own = ("--identity", "task.toml", "--data", "data")
        secagg("hospital", "init", "a b", *given, *own).failed(UNUSABLE, "unusable-path", "a b")
        secagg("coordinator", "init", "a b", *given).failed(UNUSABLE, "unusable-path", "a b")


def test_a_folder_without_a_kit_is_named(secagg, here):
    secagg("hospital", "check", "data").failed(UNUSABLE, "no-kit", "data/kit", "secagg charter provision")


def test_without_the_extra_it_says_what_to_install(secagg, site, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvflare", None)
    secagg("hospital", "check", site).failed(UNUSABLE, "extra-missing", "in the checkout, `pip install '.[nvflare]'`")
