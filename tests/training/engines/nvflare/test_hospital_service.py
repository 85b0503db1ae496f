"""A hospital that runs unattended is kept from it by nothing that is only there to be looked at."""

from __future__ import annotations

import shutil

import pytest

from tests.training.field.conftest import lay_out
from training.engines.nvflare.hospital_service import serve_hospital
from training.engines.nvflare.provisioning import Address, provision
from training.field.status import SiteState
from training.field.watcher import SiteWatcher


class EnoughError(Exception):
    """Nobody waits any longer."""


@pytest.fixture
def site(tmp_path):
    """A hospital with its real kit, whose coordinator is nowhere."""
    sites = lay_out(tmp_path)
    provision(sites.charter, Address("127.0.0.1", 9), tmp_path / "provisioned")
    site = sites.hospitals[1]
    shutil.rmtree(site.kit)
    shutil.copytree(tmp_path / "provisioned" / "kits" / "hospital-01", site.kit)
    return site


def serve(site, *then):
    """Serve, and do one of these things each time it is asked whether to go on; then end it."""
    left = iter(then)

    def going():
        for do in left:
            do()
            return
        raise EnoughError

    with pytest.raises(EnoughError):
        serve_hospital(site, going, SiteWatcher())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"state": "waiting", "of_a_later_version": 1}'])
def test_a_status_that_cannot_be_read_keeps_no_site_from_starting_and_is_written_anew(site, content):
    file = site.path / "status.json"
    file.write_bytes(content)
    serve(site)
    assert site.status.read().state is SiteState.WAITING


def test_one_that_is_damaged_while_the_site_runs_does_not_end_it(site):
    serve(site, lambda: (site.path / "status.json").write_bytes(b"{"), lambda: None)
