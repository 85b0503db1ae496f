"""What is shown of a log: whole or in part it gives the root, and nothing in it can be exchanged unseen."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.egress import EGRESS, Direction, EgressEntry, EgressLog
from secagg.errors import TamperingError
from secagg.identity import Identity
from secagg.log_excerpt import (
    LogCheckpoint,
    SignedEntry,
    checkpoint_of,
    require_grown_from,
    root_of,
    take_excerpt,
    verify_excerpt,
)
from secagg.signed_log import read_signed

SITE = Identity.from_seed(bytes(32))
HERE = Path("here")
ENTRIES = 9


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "egress.sqlite"
    with EgressLog(path, SITE) as log:
        for number in range(ENTRIES):
            log.record(
                partial(
                    EgressEntry,
                    charter="0" * 64,
                    direction=Direction.SENT,
                    stage="MASKED",
                    epoch=1,
                    round=number,
                    recipient=0,
                    bytes=number,
                    sha256="1" * 64,
                    time="2026-01-01T00:00:00+00:00",
                )
            )
    return read_signed(path, SITE.public_key, EGRESS)


def excerpt(signed, shown):
    return take_excerpt(signed, lambda entry: entry.sequence in shown)


def verify(found):
    verify_excerpt(found, SITE.public_key, EGRESS, HERE)


@given(shown=st.sets(st.integers(1, ENTRIES)))
def test_whatever_is_shown_gives_the_root_of_all(signed, shown):
    found = excerpt(signed, shown)
    verify(found)
    assert found.checkpoint == checkpoint_of([entry for entry, _ in signed])
    assert [entry.sequence for entry in found.entries] == sorted(shown)
    for length in range(ENTRIES + 1):
        noted = checkpoint_of([entry for entry, _ in signed[:length]])
        assert root_of(found, length) == noted.root
        require_grown_from(noted, found, EGRESS, HERE)


def changes(found):
    """Every way to leave something out, exchange two, show one twice, or hide one."""
    for at, item in enumerate(found.shown):
        before, after = found.shown[:at], found.shown[at + 1 :]
        yield (*before, *after), found.hidden
        yield (*before, *after), (*found.hidden, "0" * 64)
        yield (*before, item, item, *after), found.hidden
        yield (*before, item, item, *after), found.hidden[1:]
        yield (*before, SignedEntry(item.entry, bytes(64)), *after), found.hidden
        other = msgspec.structs.replace(item.entry, bytes=10**6)
        yield (*before, SignedEntry(other, item.signature), *after), found.hidden
        yield (*before, SignedEntry(other, SITE.sign(EGRESS.signed_bytes(other.body()))), *after), found.hidden
        if after:
            yield (*before, after[0], item, *after[1:]), found.hidden
    for at in range(len(found.hidden)):
        yield found.shown, (*found.hidden[:at], *found.hidden[at + 1 :])
        yield found.shown, (*found.hidden[:at], "0" * 64, *found.hidden[at + 1 :])


@pytest.mark.parametrize("shown", [range(1, ENTRIES + 1), (2, 3, 5, 9), (1,)], ids=["all", "some", "one"])
def test_nothing_can_be_left_out_exchanged_or_put_in(signed, shown):
    found = excerpt(signed, shown)
    tried = 0
    for entries, hidden in changes(found):
        tried += 1
        with pytest.raises(TamperingError) as caught:
            verify(msgspec.structs.replace(found, shown=entries, hidden=hidden))
        assert caught.value.reason == "egress-altered"
    assert tried >= len(found.shown) * 7


def test_another_key_signed_none_of_it(signed):
    with pytest.raises(TamperingError, match="Entry 1 "):
        verify_excerpt(excerpt(signed, {1}), Identity.generate().public_key, EGRESS, HERE)


@pytest.mark.parametrize("hidden", [(), (3, 4, 5)], ids=["nothing", "some"])
def test_an_entry_beyond_the_end_of_the_log_is_refused_though_the_leaves_give_the_root(signed, hidden):
    """The site signs an entry that its log never had in that place, and a root with its leaf in the last."""
    log = [entry for entry, _ in signed]
    last = msgspec.structs.replace(log[-1], sequence=ENTRIES + 100)
    moved = (last, SITE.sign(EGRESS.signed_bytes(last.body())))
    shown = take_excerpt([*signed[:-1], moved], lambda entry: entry.sequence not in hidden)
    with pytest.raises(TamperingError, match=f"Entry {ENTRIES + 100} .*beyond the end"):
        verify(shown)


def test_a_log_that_was_longer_once_or_another_is_found(signed):
    noted = checkpoint_of([entry for entry, _ in signed])
    shorter = take_excerpt(signed[:-1], lambda _: True)
    for place, found in ((noted, shorter), (LogCheckpoint(3, "0" * 64), excerpt(signed, {1}))):
        with pytest.raises(TamperingError) as caught:
            require_grown_from(place, found, EGRESS, HERE)
        assert caught.value.reason == "egress-restored"


def test_the_log_of_nothing_has_the_root_of_nothing():
    found = take_excerpt((), lambda _: True)
    verify_excerpt(found, SITE.public_key, EGRESS, HERE)
    assert found.checkpoint.root == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
