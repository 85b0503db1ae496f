"""Messages as NVFlare carries them: what is packed comes out, and nothing else does."""

from __future__ import annotations

import pytest

pytest.importorskip("nvflare", reason="the extra nvflare is not installed")

from secagg.errors import RemoteProtocolError
from tests.support.nvflare_site import TWISTS
from training.engines.nvflare.transport import pack, pack_failure, pack_reply, unpack
from training.parcels import MOST_MESSAGES


def joined(message):
    """As it arrives: one blob."""
    message.payload = b"".join(message.payload or [])
    return message


@pytest.mark.parametrize("messages", [[], [b""], [b"a"], [b"", b"one", b"", b"two"]])
@pytest.mark.parametrize("packed", [pack, pack_reply])
def test_what_is_packed_comes_out(packed, messages):
    assert unpack(joined(packed(messages))) == messages


def test_as_many_missed_sums_as_are_sent_at_once_come_out():
    messages = [b"a sum"] * MOST_MESSAGES
    assert unpack(joined(pack(messages))) == messages


READ_BY_NVFLARE = {"an object that cannot be read", "another encoding", "no message", "nothing", "an exception"}


@pytest.mark.parametrize("twist", sorted(TWISTS.keys() - READ_BY_NVFLARE))
def test_what_is_malformed_is_refused(twist):
    with pytest.raises(RemoteProtocolError) as caught:
        unpack(TWISTS[twist]())
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


def test_a_failure_says_its_reason():
    with pytest.raises(RemoteProtocolError, match="budget-exceeded") as caught:
        unpack(pack_failure("budget-exceeded"))
    assert caught.value.reason == "site-failed"
