"""Jobs have rising numbers, whatever happens to the coordinator's folder or clock."""

from __future__ import annotations

import time

import pytest

from secagg.errors import InputError


def test_numbers_rise(sites):
    numbers = [sites.coordinator.next_serial() for _ in range(5)]
    assert numbers == sorted(set(numbers))


def test_numbers_rise_also_when_the_folder_was_lost(sites):
    before = sites.coordinator.next_serial()
    (sites.coordinator.path / "jobs.json").unlink()
    time.sleep(0.002)
    assert sites.coordinator.next_serial() > before


def test_numbers_rise_also_when_the_clock_was_set_back(sites):
    ahead = 2 * sites.coordinator.next_serial()
    (sites.coordinator.path / "jobs.json").write_text(f'{{"last": {ahead}}}')
    assert sites.coordinator.next_serial() == ahead + 1


def test_a_damaged_file_is_named(sites):
    (sites.coordinator.path / "jobs.json").write_text("{")
    with pytest.raises(InputError) as refusal:
        sites.coordinator.next_serial()
    assert refusal.value.reason == "malformed-state"
    assert "jobs.json" in refusal.value.message


def test_without_settings_it_waits_as_long_as_by_default(sites):
    settings = sites.coordinator.read_settings()
    sites.coordinator.settings.unlink()
    assert sites.coordinator.read_settings() == settings


@pytest.mark.parametrize("line", ["gather = 0", "work = -1", 'answer = "long"', "unknown = 1", "work = "])
def test_settings_out_of_range_are_named(sites, line):
    sites.coordinator.settings.write_text(line)
    with pytest.raises(InputError) as refusal:
        sites.coordinator.read_settings()
    assert refusal.value.reason == "malformed-settings"
    assert "coordinator.toml" in refusal.value.message
