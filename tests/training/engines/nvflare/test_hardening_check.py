"""A hospital's kit refuses what a hostile coordinator sends, and the check that says so says no of an open kit."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from secagg.errors import SecaggError
from training.engines.nvflare.hardening_check import certificate_checks, check_kit
from training.engines.nvflare.kit import read_kit
from training.engines.nvflare.kit_check import KitCheck

# What a site started by NVFlare's own script has: all of its commands.
WITHOUT_OUR_PROCESS = """
import sys
from training.engines.nvflare import trial
trial.restrict_commands = lambda: None
trial.main(sys.argv[1], sys.argv[2])
"""
# What a site has whose command looks at who signed a job, and not at its number.
WITHOUT_THE_NUMBER = """
import sys
from training.engines.nvflare import lead_jobs, trial
lead_jobs.require_place = lambda number, running: None
trial.main(sys.argv[1], sys.argv[2])
"""
ALTERED = "a job that was altered after signing is refused"
MORE = "a job that has more than was signed is refused"
STRANGER = "a job of another authority's lead is refused"
RIGHT = "a correct, signed job is accepted"
NUMBERED = {f"a job that is numbered `{folder}` is refused" for folder in ("startup", "local")}


def by_point(checks) -> dict[str, KitCheck]:
    return {check.point: check for check in checks}


@pytest.fixture(scope="session")
def hardened(provisioned):
    return by_point(check_kit(read_kit(provisioned / "kits" / "hospital-01")))


@pytest.fixture(scope="session")
def opened(open_kit, tmp_path_factory):
    """What the trial finds of the open kit, in a process that was not ours."""
    return by_point(tried(WITHOUT_OUR_PROCESS, open_kit, tmp_path_factory.mktemp("opened")))


def tried(weakened: str, kit: Path, folder: Path) -> list[KitCheck]:
    """What the trial finds of a kit in a process that begins with this code."""
    result = folder / "checks.json"
    command = [sys.executable, "-P", "-c", weakened, str(kit), str(result)]
    subprocess.run(command, check=True, capture_output=True)
    return msgspec.json.decode(result.read_bytes(), type=list[KitCheck])


def test_every_point_of_a_provisioned_kit_is_good(hardened):
    assert [check for check in hardened.values() if not check.good] == []
    assert len(hardened) == 27


@pytest.mark.parametrize(
    ("point", "seen"),
    [
        ("`startup` is as it was provisioned", "changed"),
        ("`local` is as it was provisioned", "changed"),
        ("the connection is mutual TLS", "tls"),
        ("jobs must be signed", "not required"),
        ("logs are not streamed", "allowed"),
        ("NVFlare runs nothing beside jobs", "SiteLogStreamer"),
        ("jobs may build one class", "enforce: *"),
        ("only a lead may do anything: start and stop jobs", "lead: byoc"),
        ("only commands about jobs are taken", "ShellCommandProcessor"),
        ("no file can be read from outside", "shown"),
        ("a job that nobody has signed is refused", "built"),
        ("a job that another hospital has signed is refused", "built"),
        ("a job with code of its own is refused", "built"),
        ("a job with a configuration in another format is refused", "built"),
        ("a job with another executor is refused", "built"),
        ("a job with another class as an argument is refused", "built"),
        ("a job with another component is refused", "built"),
        ("a job with another filter is refused", "built"),
        ("a job that is numbered `startup` is refused", "`startup` was removed"),
        ("a job that is numbered `local` is refused", "`local` was removed"),
    ],
)
def test_control_an_open_kit_takes_what_a_hardened_one_refuses(hardened, opened, point, seen):
    assert hardened[point].good
    assert not opened[point].good
    assert seen in opened[point].found
    assert opened[point].remedy


def test_control_of_altered_and_foreign_signatures_the_same_job_is_taken_when_it_is_right(hardened, opened):
    # NVFlare checks a signature wherever there is one, on an open kit too. That it is the signature shows in the job
    # that differs in nothing else, and in the open kit that takes it without any.
    for checks in (hardened, opened):
        assert checks[RIGHT].good
        assert all(checks[point].good for point in (ALTERED, MORE, STRANGER))
    assert not opened["a job that nobody has signed is refused"].good


def not_good(checks) -> set[str]:
    return {check.point for check in checks if not check.good}


def test_control_without_a_look_at_the_number_a_job_of_the_lead_removes_the_key_and_the_settings(provisioned, tmp_path):
    # The lead has signed the job, and no signature covers its number: nothing else refuses it.
    checks = tried(WITHOUT_THE_NUMBER, provisioned / "kits" / "hospital-01", tmp_path)
    assert not_good(checks) == NUMBERED
    assert {check.found for check in checks if not check.good} == {"`startup` was removed", "`local` was removed"}


def test_a_hospital_that_opens_its_own_kit_is_told(hospital_kit):
    local = hospital_kit / "local"
    resources = local / "resources.json"
    resources.write_text(resources.read_text().replace('"enforce"', '"warn"'))
    (local / "authorization.json").unlink()
    (local / "custom").mkdir()
    resources.chmod(0o640)
    wrong = not_good(check_kit(read_kit(hospital_kit)))
    assert "only this account can read the kit" in wrong
    assert "`local` is as it was provisioned" in wrong
    # NVFlare has no policy then, and allows all.
    assert "only a lead may do anything: start and stop jobs" in wrong
    # That its code is refused all the same is our process's doing.
    assert "a job with code of its own is refused" not in wrong
    assert "a job with another executor is refused" in wrong
    assert "`startup` is as it was provisioned" not in wrong


@pytest.mark.parametrize(
    ("days", "points"),
    [
        (-1, {"the certificate is valid"}),
        (1, set()),
        (359, set()),
        (361, {"the certificate is valid"}),
        (3651, {"the certificate is valid", "the root certificate is valid"}),
    ],
)
def test_a_certificate_out_of_time_is_told(provisioned, days, points):
    kit = read_kit(provisioned / "kits" / "hospital-01")
    assert not_good(certificate_checks(kit, datetime.now(UTC) + timedelta(days=days))) == points


def test_the_coordinator_s_kits_are_not_a_hospital_s(provisioned):
    with pytest.raises(SecaggError) as refused:
        check_kit(read_kit(provisioned / "kits/coordinator/server"))
    assert refused.value.reason == "not-a-hospital"


def test_a_kit_that_nvflare_cannot_read_is_no_good_kit(hospital_kit):
    (hospital_kit / "local" / "resources.json").write_text("Dear colleague")
    with pytest.raises(SecaggError) as failed:
        check_kit(read_kit(hospital_kit))
    assert failed.value.reason == "trial-failed"


def test_the_check_changes_nothing(provisioned, hardened):
    kit = provisioned / "kits" / "hospital-01"
    assert {path.name for path in kit.iterdir()} == {"startup", "local", "transfer"}
    assert (kit / "startup" / "client.key").exists()
    assert (kit / "local" / "resources.json").exists()
