"""What hospitals missed reaches them in order, in outboxes that are never larger than they may be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from training.parcels import parcels

MISSED = st.dictionaries(st.integers(1, 5), st.lists(st.integers(0, 40), max_size=6), max_size=5)


@given(MISSED, st.integers(1, 60), st.integers(1, 4))
def test_each_gets_its_own_in_order_and_no_outbox_is_too_large(sizes, largest, most):
    missed = {member: [f"{member}-{place}-{size}" for place, size in enumerate(each)] for member, each in sizes.items()}
    sent = list(parcels(missed, lambda name: name.encode().ljust(int(name.rsplit("-", 1)[1]), b"."), largest, most))
    for member, names in missed.items():
        got = [message for outbox in sent for to, message in outbox if to == member]
        assert [message.decode().rstrip(".") for message in got] == names
    for outbox in sent:
        assert 1 <= len(outbox) <= most
        assert len(outbox) == 1 or sum(len(message) for _, message in outbox) <= largest


def test_a_message_is_read_when_it_is_its_turn():
    """Else all that all have missed would be in memory at once."""
    read = []

    def reading(name):
        read.append(name)
        return bytes(10)

    sent = parcels({1: ["a", "b", "c"]}, reading, largest=10)
    next(sent)
    assert read == ["a", "b"]
