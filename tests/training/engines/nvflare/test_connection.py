"""A hospital's site knows whether the coordinator's server still answers it, and says so if not."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from msgspec.structs import replace
from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.f3.cellnet.core_cell import make_reply
from nvflare.fuel.f3.cellnet.defs import CellChannel, ReturnCode
from nvflare.private.defs import CellChannelTopic

from secagg.errors import InputError, SecaggError, TamperingError
from secagg.files import lock, write_atomically
from tests.support.ports import free_port
from tests.training.field.conftest import lay_out
from training.engines.nvflare import connection, hospital_service
from training.engines.nvflare.connection import HEARD, VARIABLE, Connection, note_heartbeats
from training.engines.nvflare.hospital_service import serve_hospital
from training.engines.nvflare.kit import read_kit
from training.engines.nvflare.process import launch
from training.engines.nvflare.provisioning import Address, provision
from training.field.status import NOT_CONNECTED, SiteState, why_waiting
from training.field.watcher import SiteWatcher


@pytest.fixture
def heard(tmp_path):
    """The file, with a process that notes heartbeats in it."""
    (tmp_path / "kit").mkdir()
    note_heartbeats({VARIABLE: str(tmp_path / "kit" / HEARD)})
    yield tmp_path / "kit" / HEARD
    del Cell.send_request


def ask(topic: str, code: str) -> object:
    """Send a request by a cell whose server answers so."""
    cell = Cell.__new__(Cell)
    cell.logger, reply = Mock(), make_reply(code)
    cell.core_cell = SimpleNamespace(send_request=lambda **_: reply)
    assert cell.send_request(channel=CellChannel.SERVER_MAIN, topic=topic, target="server") is reply
    return reply


def test_an_answered_heartbeat_is_noted(heard):
    ask(CellChannelTopic.HEART_BEAT, ReturnCode.OK)
    assert heard.exists()


@pytest.mark.parametrize("code", [ReturnCode.TARGET_UNREACHABLE, ReturnCode.TIMEOUT, ReturnCode.UNAUTHENTICATED])
def test_one_that_nobody_answered_is_not(heard, code):
    ask(CellChannelTopic.HEART_BEAT, code)
    assert not heard.exists()


def test_nor_is_any_other_answer(heard):
    """A server that refuses a registration answers too."""
    ask(CellChannelTopic.Challenge, ReturnCode.OK)
    assert not heard.exists()


def test_where_it_cannot_be_noted_the_heartbeat_is_answered_all_the_same(heard):
    heard.parent.rmdir()
    ask(CellChannelTopic.HEART_BEAT, ReturnCode.OK)


def test_another_nvflare_is_not_started(heard):
    with pytest.raises(SecaggError) as refused:
        note_heartbeats({VARIABLE: str(heard)})
    assert refused.value.reason == "other-nvflare"


def test_a_hospital_s_process_is_told_where_to_note_it(hospital_kit):
    assert launch(read_kit(hospital_kit)).environment[VARIABLE] == str(hospital_kit.resolve() / HEARD)


@pytest.fixture
def silent_at_once(monkeypatch):
    """No heartbeat is waited for."""
    monkeypatch.setattr(connection, "_LONGEST_SILENCE", 0.0)


def test_a_site_that_has_just_been_started_has_lost_nothing(hospital_kit, tmp_path):
    assert Connection(read_kit(hospital_kit), tmp_path / "log").lost() is None


@pytest.mark.usefixtures("silent_at_once")
def test_after_a_silence_it_says_what_to_look_at(hospital_kit, tmp_path):
    lost = Connection(read_kit(hospital_kit), tmp_path / "nvflare.log").lost()
    assert (lost.reason, "sum.example.org:8443" in lost.message) == (NOT_CONNECTED, True)
    for cause in ("host and port", "firewall", "authority", "nvflare.log"):
        assert cause in lost.remedy


def test_each_heartbeat_ends_the_silence(hospital_kit, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=lambda: now[0]))
    watch, told = Connection(read_kit(hospital_kit), tmp_path / "log"), []
    for second in range(0, 600, 10):
        now[0] = float(second)
        if 200 <= second < 300:
            write_atomically(hospital_kit / HEARD, b"")
        told.append((second, watch.lost() is not None))
    assert [second for second, lost in told if lost] == [*range(120, 200, 10), *range(410, 600, 10)]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A hospital with its real kit, and no process of it."""
    sites = lay_out(tmp_path)
    provision(sites.charter, Address("127.0.0.1", free_port()), tmp_path / "provisioned")
    site = sites.hospitals[1]
    shutil.rmtree(site.kit)
    shutil.copytree(tmp_path / "provisioned" / "kits" / "hospital-01", site.kit)
    monkeypatch.setattr(hospital_service, "running", lambda *_: nullcontext(Mock()))
    return site


class EnoughError(Exception):
    """Seen enough."""


def reasons(site, connection, times: int = 4) -> list[str | None]:
    """Of the site's status, each time that it is asked whether to go on."""
    seen = []

    def going():
        seen.append(site.status.read().reason)
        if len(seen) == times:
            raise EnoughError
        connection(len(seen))

    with pytest.raises(EnoughError):
        serve_hospital(site, going, SiteWatcher())
    return seen


def test_a_site_that_cannot_connect_says_so_until_it_can(site, monkeypatch):
    def connect(time):
        monkeypatch.setattr(connection, "_LONGEST_SILENCE", 0.0 if time < 3 else 120.0)

    assert reasons(site, connect, 5) == [None, NOT_CONNECTED, NOT_CONNECTED, None, None]
    assert site.status.read().state is SiteState.WAITING


@pytest.mark.usefixtures("silent_at_once")
def test_one_that_is_started_again_has_not_tried_yet(site, monkeypatch):
    assert reasons(site, lambda _: None)[-1] == NOT_CONNECTED
    monkeypatch.setattr(connection, "_LONGEST_SILENCE", 120.0)
    assert set(reasons(site, lambda _: None)) == {None}


@pytest.mark.usefixtures("silent_at_once")
@pytest.mark.parametrize("reason", ["certificate-expired", "certificate-not-yet-valid"])
def test_nor_has_it_the_certificate_that_it_had(site, reason):
    """With a kit of another authority than the coordinator's, it would be told to renew the kit again."""
    reasons(site, lambda _: None, 1)
    site.status.write(why_waiting(site.status.read(), InputError(reason, "Nobody connects with it.")))
    assert reasons(site, lambda _: None) == [None, *[NOT_CONNECTED] * 3]


def in_a_job(site):
    """As a job's process writes it with each message."""
    site.status.write(replace(site.status.read(), state=SiteState.TRAINING, reason=None, message=None, remedy=None))


@pytest.fixture
def hanging_job(site):
    """What has the site open is a job's process that waits for its coordinator."""
    attending = lock(site.attending)
    yield site
    os.close(attending)


def test_one_whose_coordinator_is_gone_in_the_middle_of_a_job_says_so_until_it_is_back(hanging_job, monkeypatch):
    """NVFlare's process of the job waits for ever, and writes nothing."""

    def begin_and_cut_off(time):
        if time == 1:
            in_a_job(hanging_job)
        monkeypatch.setattr(connection, "_LONGEST_SILENCE", 0.0 if time in (1, 2) else 120.0)

    assert reasons(hanging_job, begin_and_cut_off, 5) == [None, NOT_CONNECTED, NOT_CONNECTED, None, None]
    assert hanging_job.status.read().state is SiteState.TRAINING


def test_one_whose_jobs_process_was_killed_waits(site):
    """It could not write that: without the site it would show `training` until the next job."""
    assert reasons(site, lambda _: in_a_job(site)) == [None] * 4
    assert site.status.read().state is SiteState.WAITING


def test_control_as_long_as_the_process_is_there_it_trains(hanging_job):
    assert reasons(hanging_job, lambda _: in_a_job(hanging_job)) == [None] * 4
    assert hanging_job.status.read().state is SiteState.TRAINING


@pytest.mark.usefixtures("silent_at_once")
def test_what_only_the_next_job_can_settle_stays(site):
    reasons(site, lambda _: None, 1)
    site.status.write(why_waiting(site.status.read(), TamperingError("ledger-restored", "It was set back.")))
    assert set(reasons(site, lambda _: None)) == {"ledger-restored"}
