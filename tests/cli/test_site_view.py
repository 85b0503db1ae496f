"""What a running site says: each thing once, with the names and reasons that a person needs."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from cli.site_view import SiteView
from training.field.status import NOT_CONNECTED, SiteState, SiteStatus

WAITING = SiteStatus(state=SiteState.WAITING, since="now", updated="now", charter="ab" * 32, name="h1", steps_due=4)
LOST = replace(WAITING, reason=NOT_CONNECTED, message="There is no connection.", remedy="Look.")


@pytest.fixture
def said(capsys):
    """What was printed, without the time of day."""
    return lambda: [line[10:] for line in capsys.readouterr().out.splitlines()]


def test_the_members_that_are_waited_for_are_named_whenever_they_change(said):
    watcher = SiteView(as_json=False).watcher
    for missing in (("h1", "h2"), ("h1", "h2"), ("h1", "h3"), ()):
        watcher.on_gather(missing, 4)
    assert said() == [
        "2 of 4 hospitals are connected; missing: h1, h2",
        "2 of 4 hospitals are connected; missing: h1, h3",
        "4 of 4 hospitals are connected",
    ]


def test_of_many_the_first_ten_are(said):
    SiteView(as_json=False).watcher.on_gather(tuple(f"h{number}" for number in range(1, 13)), 20)
    (line,) = said()
    assert line.endswith("h9, h10 and 2 more")


def test_a_program_is_given_them_all(capsys):
    SiteView(as_json=True).watcher.on_gather(("h1", "h2"), 4)
    told = json.loads(capsys.readouterr().out)
    assert (told["event"], told["connected"], told["missing"]) == ("gather", 2, ["h1", "h2"])


def test_a_hospital_says_when_it_has_lost_its_connection_and_when_it_has_one_again(said):
    watcher = SiteView(as_json=False).watcher
    for status in (WAITING, WAITING, LOST, LOST, WAITING):
        watcher.on_status(status)
    waiting = "waiting, 0 of 4 sums"
    assert said() == [waiting, f"{waiting}: There is no connection. Look. [not-connected]", waiting]


@pytest.mark.parametrize("as_json", [True, False])
def test_a_full_disk_under_what_it_prints_ends_no_site(monkeypatch, as_json):
    told = False
    # What it holds back it writes again when it is closed.
    with suppress(OSError), Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        SiteView(as_json).watcher.on_status(WAITING)
        told = True
    assert told


@pytest.mark.parametrize("as_json", [True, False])
def test_nor_does_a_reader_who_has_left(monkeypatch, as_json):
    told = False
    reader, writer = os.pipe()
    os.close(reader)
    with suppress(BrokenPipeError), os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        SiteView(as_json).watcher.on_status(WAITING)
        told = True
    assert told
