"""A coordinator that is done stays until the hospitals have been told that the job is over, and no longer."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.signal import Signal

from secagg.files import is_locked, lock
from tests.training.field.conftest import lay_out
from training.engines.nvflare import controller, coordinator_service
from training.engines.nvflare.controller import SumController
from training.engines.nvflare.coordinator_service import _part, _run_epoch
from training.engines.nvflare.sites import site_name
from training.field.coordinator_site import CoordinatorSite
from training.field.settings import CoordinatorSettings
from training.field.watcher import SiteWatcher


@pytest.fixture(autouse=True)
def nothing_under_way(monkeypatch):
    monkeypatch.setattr(coordinator_service, "_PARTING_SECONDS", 0.0)


class NobodyReady:
    """What a controller asks of NVFlare's engine, in a job in which no hospital's process gets ready."""

    def __init__(self, site, *connected: str) -> None:
        self.connected = connected
        self._root = site.path / "kit" / "server"

    def get_workspace(self):
        return SimpleNamespace(get_root_dir=lambda: str(self._root))

    def get_clients(self):
        return [SimpleNamespace(name=name) for name in self.connected]

    def get_cell(self):
        return None


def test_an_epoch_is_conducted_until_nvflare_has_told_the_hospitals_that_the_job_is_over(tmp_path):
    site, epoch, context = lay_out(tmp_path).coordinator, SumController(serial=1, wait=0.0), FLContext()
    context.get_engine = lambda: NobodyReady(site)
    epoch.control_flow(Signal(), context)
    assert site.outcome(1) is not None
    assert is_locked(site.conducting)
    epoch.handle_event(EventType.END_RUN, context)
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


def test_who_is_connected_and_takes_too_long_to_open_is_named_with_the_setting_that_helps(tmp_path):
    site, epoch, context = lay_out(tmp_path).coordinator, SumController(serial=1, wait=0.0), FLContext()
    context.get_engine = lambda: NobodyReady(site, site_name(2))
    epoch.control_flow(Signal(), context)
    epoch.handle_event(EventType.END_RUN, context)
    lines = [json.loads(line) for line in site.log.read_text().splitlines()]
    (warning,) = (line for line in lines if line["level"] == "warning")
    assert (warning["event"], warning["member"]) == ("did not open in time", "h2")
    assert "`open`" in warning["remedy"]


@pytest.fixture
def asked(monkeypatch):
    """The cells of each epoch's engine."""
    found, engine = [], controller.NvflareEngine
    monkeypatch.setattr(
        controller, "NvflareEngine", lambda cell, cells, *rest: found.append(cells) or engine(cell, cells, *rest)
    )
    return found


def test_a_member_of_an_earlier_charter_that_is_still_connected_is_neither_waited_for_nor_asked(tmp_path, asked):
    site, epoch, context = lay_out(tmp_path).coordinator, SumController(serial=1, wait=60.0), FLContext()
    context.get_engine = lambda: NobodyReady(site, site_name(4))
    epoch._cells = {4: site_name(4)}
    epoch.control_flow(Signal(), context)
    epoch.handle_event(EventType.END_RUN, context)
    assert asked == [{}]
    assert site.outcome(1).absent == dict.fromkeys(("h1", "h2", "h3"), "not connected")


def test_one_whose_process_was_ready_and_ended_before_the_epoch_began_is_not_asked(tmp_path, asked):
    """Else the first message to it would be waited for, until it has left several questions without an answer."""
    site, epoch, context = lay_out(tmp_path).coordinator, SumController(serial=1, wait=60.0), FLContext()
    context.get_engine = lambda: NobodyReady(site, site_name(1))
    epoch._cells = {1: site_name(1)}
    context.set_prop(FLContextKey.DISCONNECTED_CLIENT_NAME, site_name(1))
    epoch.handle_event(EventType.CLIENT_DISCONNECTED, context)
    epoch.control_flow(Signal(), context)
    epoch.handle_event(EventType.END_RUN, context)
    assert asked == [{}]
    assert site.outcome(1).absent["h1"] == "ended"


def test_how_long_it_may_take_is_a_setting_of_its_own(tmp_path, monkeypatch):
    site = lay_out(tmp_path).coordinator
    jobs = Mock(connected=lambda: frozenset({1, 2, 3}))
    monkeypatch.setattr(coordinator_service, "open_jobs", lambda *_: nullcontext(jobs))
    settings = CoordinatorSettings(gather=1.0, open=77.0)
    _run_epoch(site, site.read_charter(), Mock(), settings, lambda: None, SiteWatcher())
    assert jobs.run.call_args.args[0].wait == 77.0
