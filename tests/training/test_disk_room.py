"""A coordinator begins nothing that would not fit on its disk: hospitals pay for a round before it writes anything."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from secagg.errors import InputError
from secagg.masking.session import Purpose, Session
from secagg.masking.sizes import Shape
from tests.support.hospitals import PRIVATE_CHOICES, PRIVATE_TASK, RecordingEngine, choices_of
from training import disk_room
from training.disk_room import require_room, round_bytes, set_up_bytes
from training.engines.base import Phase
from training.engines.embedded import DropOut

SCHEMES = ["mask", "double-lock", "bfv", "ckks"]
# Of a round, beside its messages: what its events and records are called, and their lengths.
FRAMING = 4096


def with_free(monkeypatch, free):
    """As if the disk had so many bytes left, however much is asked."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free))


def bytes_in(folder):
    return sum(path.stat().st_size for part in ("transcript", "sums") for path in (folder / part).glob("*"))


@pytest.mark.parametrize("gone", [(), (DropOut(4, 2, Phase.MASK),)], ids=["all answer", "one drops"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_round_takes_no_more_room_than_is_asked_for_and_hardly_less(open_ward, scheme, gone):
    ward = open_ward(choices=choices_of(scheme=scheme))
    kept, folder = [], ward.folder / "coordinator"
    coordinator = ward.coordinator(*gone, on_round=lambda _record: kept.append(bytes_in(folder)))
    coordinator.run_epoch()
    shape = Shape.of(Session.unopened(ward.charter, Purpose.TRAINING))
    asked, taken = round_bytes(shape), kept[1] - kept[0]
    # With one gone there is less of everything but the agreements.
    assert asked * 3 / 4 - FRAMING < taken < asked + FRAMING
    assert kept[0] < set_up_bytes(shape) + asked + FRAMING
    assert FRAMING < disk_room._SLACK


def test_where_a_round_does_not_fit_nobody_is_asked_to_begin_and_nobody_pays(open_ward, monkeypatch):
    ward = open_ward(choices=PRIVATE_CHOICES, spec=PRIVATE_TASK)
    engine = RecordingEngine(ward.hospitals)
    with_free(monkeypatch, disk_room._SLACK)
    with pytest.raises(InputError) as caught:
        ward.coordinator(engine=engine).run()
    assert (caught.value.reason, caught.value.exit_code) == ("no-room", 2)
    assert str(ward.folder / "coordinator") in caught.value.message
    assert f"({disk_room._SLACK} bytes)" in caught.value.message
    assert caught.value.remedy
    assert {phase for phase, *_ in engine.sent} == {Phase.QUERY}
    assert [hospital._budget.rounds_charged for hospital in ward.hospitals.values()] == [0] * 4


def test_once_there_is_room_the_run_goes_on(open_ward, monkeypatch):
    ward = open_ward()

    def fill_up(_record):
        with_free(monkeypatch, 0)

    coordinator = ward.coordinator(on_round=fill_up)
    with pytest.raises(InputError) as caught:
        coordinator.run()
    assert caught.value.reason == "no-room"
    assert (len(coordinator.rounds), coordinator.rounds[0].step) == (1, 1)
    monkeypatch.undo()
    coordinator = ward.coordinator()
    coordinator.run()
    assert [record.step for record in coordinator.rounds] == [1, 2, 3]


def test_a_folder_that_cannot_be_asked_is_named(tmp_path):
    with pytest.raises(InputError) as caught:
        require_room(tmp_path / "nowhere", 1)
    assert caught.value.reason == "unreadable"
