"""A coordinator that is done stays until the hospitals have been told that the job is over, and no longer."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.apis.signal import Signal

from secagg.files import is_locked, lock
from tests.training.field.conftest import lay_out
from training.engines.nvflare import coordinator_service
from training.engines.nvflare.controller import SumController
from training.engines.nvflare.coordinator_service import _part
from training.field.coordinator_site import CoordinatorSite


@pytest.fixture(autouse=True)
def nothing_under_way(monkeypatch):
    monkeypatch.setattr(coordinator_service, "_PARTING_SECONDS", 0.0)


class NobodyConnected:
    """What a controller asks of NVFlare's engine, in a job without hospitals."""

    def __init__(self, site) -> None:
        self._root = site.path / "kit" / "server"

    def get_workspace(self):
        return SimpleNamespace(get_root_dir=lambda: str(self._root))

    def get_clients(self):
        return []

    def get_cell(self):
        return None


def test_an_epoch_is_conducted_until_nvflare_has_told_the_hospitals_that_the_job_is_over(tmp_path):
    site, controller, context = lay_out(tmp_path).coordinator, SumController(serial=1, wait=0.0), FLContext()
    context.get_engine = lambda: NobodyConnected(site)
    controller.control_flow(Signal(), context)
    assert site.outcome(1) is not None
    assert is_locked(site.conducting)
    controller.handle_event(EventType.END_RUN, context)
    assert not is_locked(site.conducting)


def test_a_coordinator_that_is_done_stays_as_long(tmp_path):
    site, looked = CoordinatorSite(tmp_path), []
    conducting = lock(site.conducting)

    def tick():
        looked.append(1)
        if len(looked) == 3:
            os.close(conducting)

    _part(site, tick)
    assert len(looked) == 3


def test_but_does_not_hang_on_a_job_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(coordinator_service, "_LONGEST_END_SECONDS", 0.5)
    site, looked = CoordinatorSite(tmp_path), []
    conducting = lock(site.conducting)
    _part(site, lambda: looked.append(1))
    os.close(conducting)
    assert looked


def test_where_no_job_was_needed_it_stays_for_none(tmp_path):
    looked = []
    _part(CoordinatorSite(tmp_path), lambda: looked.append(1))
    assert not looked
