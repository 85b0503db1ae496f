"""Whom a coordinator waits for: before an epoch for all, or enough; with a release in its hands, for who lacks it."""

from __future__ import annotations

from unittest.mock import Mock, call

import pytest

from training.engines.nvflare.gathering import Gathering, tell_missing
from training.field.coordinator_site import CoordinatorSite
from training.field.watcher import SiteWatcher

NAMES = ("h1", "h2", "h3")
EVERYBODY = {1, 2, 3}


class Connections:
    """Who is connected, each time somebody asks; then the last answer again."""

    def __init__(self, *connected: set[int]) -> None:
        self.left = [frozenset(members) for members in connected]

    def connected(self) -> frozenset[int]:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


def gathering(*connected: set[int]) -> Gathering:
    return Gathering(Connections(*connected), NAMES, lambda: None, Mock())


def test_an_epoch_begins_when_all_are_there():
    waiting = gathering({1}, {1, 2}, {1, 2, 3})
    waiting.wait_for_enough(EVERYBODY, 2, 60)
    assert waiting.jobs.left == [{1, 2, 3}]


def test_after_a_while_it_begins_with_as_many_as_it_takes():
    waiting = gathering({1}, {1}, {1, 3})
    waiting.wait_for_enough(EVERYBODY, 2, 0)
    assert waiting.jobs.left == [{1, 3}]


def test_a_member_of_another_charter_does_not_count():
    waiting = gathering({1, 2, 7}, {1, 2, 3})
    waiting.wait_for_enough(EVERYBODY, 3, 0)
    assert waiting.jobs.left == [{1, 2, 3}]


def test_where_it_may_not_wait_for_good_it_says_whether_enough_came():
    assert gathering({1}, {1, 3}).wait_for_enough({1, 3}, 2, 60, 60)
    assert gathering({1}, {1, 2}).wait_for_enough(EVERYBODY, 2, 0, 60)
    assert not gathering({1}).wait_for_enough(EVERYBODY, 2, 0, 0.5)


def test_it_does_not_wait_for_more_than_there_can_be():
    waiting = gathering({1})
    assert not waiting.wait_for_enough({1}, 2, 60)
    waiting.on_looked.assert_not_called()


def test_with_a_release_it_is_enough_that_one_is_there_who_lacks_it():
    assert gathering({1}, set(), {2}).wait_for_any({2, 3}, 60)


def test_who_has_the_release_is_not_waited_for():
    assert not gathering({1, 2}).wait_for_any({3}, 0.5)
    assert not gathering({1, 2, 3}).wait_for_any(set(), 60)


def test_those_who_are_missing_are_named_each_time():
    waiting = gathering({2}, {1, 2, 3})
    waiting.wait_for_enough(EVERYBODY, 3, 60)
    assert waiting.on_looked.mock_calls == [call(("h1", "h3"), 3), call((), 3)]


def test_with_a_release_only_those_who_lack_it_are():
    waiting = gathering(set(), {3})
    waiting.wait_for_any({3}, 60)
    assert waiting.on_looked.mock_calls == [call(("h3",), 1), call((), 1)]


def damaged(path):
    path.write_bytes(b"")


def unwritable(path):
    path.mkdir()


@pytest.mark.parametrize("spoil", [damaged, unwritable])
def test_a_note_for_show_that_can_neither_be_read_nor_written_ends_no_coordinator(tmp_path, spoil):
    spoil(tmp_path / "gathering.json")
    site, told = CoordinatorSite(tmp_path), Mock()
    assert site.missing() == ()
    tell_missing(site, SiteWatcher(on_gather=told), ("h1",), 3)
    assert told.mock_calls == [call(("h1",), 3)]
    assert site.missing() == (("h1",) if spoil is damaged else ())
