"""A site whose certificates have run out, or soon will, says so itself."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from secagg.errors import InputError
from tests.support.ports import free_port
from tests.training.field.conftest import lay_out
from training.engines.nvflare import coordinator_service, expiry, hospital_service
from training.engines.nvflare.coordinator_service import serve_coordinator
from training.engines.nvflare.expiry import Expiry
from training.engines.nvflare.hospital_service import serve_hospital
from training.engines.nvflare.kit import read_kit
from training.engines.nvflare.provisioning import Address, provision
from training.field.status import SiteState
from training.field.watcher import SiteWatcher


class Clock:
    """So many days from now."""

    def __init__(self, days: float) -> None:
        self.days = days

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.days)


@pytest.fixture
def sites(tmp_path):
    """Sites with real kits, whose certificates are valid for 360 days."""
    sites = lay_out(tmp_path)
    provision(sites.charter, Address("127.0.0.1", free_port()), tmp_path / "provisioned")
    for site, name in ((sites.hospitals[1], "hospital-01"), (sites.coordinator, "coordinator")):
        shutil.rmtree(site.kit)
        shutil.copytree(tmp_path / "provisioned" / "kits" / name, site.kit)
    return sites


@pytest.fixture
def kit(sites):
    return read_kit(sites.hospitals[1].kit)


@pytest.fixture
def each_time(monkeypatch):
    """It looks whenever it is asked, and not once an hour."""
    monkeypatch.setattr(expiry, "_SECONDS_BETWEEN", 0.0)


@pytest.mark.parametrize(("days", "reason"), [(-1, "certificate-not-yet-valid"), (361, "certificate-expired")])
def test_a_certificate_out_of_time_starts_no_site(kit, days, reason):
    with pytest.raises(InputError) as refusal:
        Expiry([kit], list, Clock(days))
    assert (refusal.value.reason, refusal.value.culprit) == (reason, str(kit.folder))


@pytest.mark.parametrize(("days", "warnings"), [(1, []), (329, []), (331, ["certificate-expires"])])
def test_one_that_runs_out_within_a_month_is_told_at_the_start(kit, days, warnings):
    told = []
    Expiry([kit], told.append, Clock(days))
    assert [error.reason for error in told] == warnings


@pytest.mark.usefixtures("each_time")
def test_and_then_once_a_day_until_it_has_run_out(kit):
    told, clock = [], Clock(358)
    watch = Expiry([kit], told.append, clock)
    found = []
    for hours in range(1, 73):
        clock.days = 358 + hours / 24
        found.append(watch.check())
    assert [error.reason for error in told] == ["certificate-expires"] * 2 + ["certificate-expired"] * 2
    assert {error.reason for error in found if error} == {"certificate-expired"}


def test_it_looks_once_an_hour(kit):
    clock = Clock(1)
    watch = Expiry([kit], list, clock)
    clock.days = 400
    assert watch.check() is None


def at(monkeypatch, service, clock):
    monkeypatch.setattr(service, "Expiry", partial(Expiry, now=clock))


def test_a_hospital_with_an_expired_certificate_says_so_instead_of_waiting(sites, monkeypatch):
    at(monkeypatch, hospital_service, Clock(361))
    with pytest.raises(InputError) as refusal:
        serve_hospital(sites.hospitals[1], lambda: None, SiteWatcher())
    assert refusal.value.reason == "certificate-expired"


def test_so_does_a_coordinator(sites, monkeypatch):
    at(monkeypatch, coordinator_service, Clock(361))
    with pytest.raises(InputError) as refusal:
        serve_coordinator(sites.coordinator, lambda: None, SiteWatcher())
    assert refusal.value.reason == "certificate-expired"


@pytest.mark.usefixtures("each_time")
def test_where_it_runs_out_while_a_hospital_waits_the_status_says_why(sites, monkeypatch):
    clock, site, heard = Clock(1), sites.hospitals[1], []
    at(monkeypatch, hospital_service, clock)

    def going():
        status = site.status.read()
        if status and status.reason == "certificate-expired":
            raise KeyboardInterrupt
        clock.days = 361

    with pytest.raises(KeyboardInterrupt):
        serve_hospital(site, going, SiteWatcher(on_warning=heard.append))
    assert site.status.read().state is SiteState.WAITING
    assert "certificate-expired" in {error.reason for error in heard}
