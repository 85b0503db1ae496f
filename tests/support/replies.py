"""What hospitals answer, read, and what a coordinator or a traitor may send them."""

from __future__ import annotations

from secagg.encoding import pack
from secagg.masking import Purpose, Session
from secagg.masking.messages import Refusal, Sum
from secagg.masking.round_tags import round_tag
from secagg.wire import Envelope, Stage, open_envelope
from secagg.wire.envelope import decode, peek
from training.messages import Endorsed, Query, Status

ANY_SIZE = 1 << 24


def read(ward, message) -> Envelope:
    return open_envelope(message, ward.charter, ANY_SIZE)


def refusal(ward, replies):
    """The reason of the one reply, which must be a refusal that carries the hospital's signature."""
    (reply,) = replies
    envelope = read(ward, reply)
    assert envelope.header.stage is Stage.REFUSAL
    return decode(envelope.payload, Refusal).reason


def stages(replies):
    return [peek(reply).stage for reply in replies]


def status(ward, number):
    (reply,) = ward.hospitals[number].receive(ward.forge(Stage.QUERY, Query()))
    return decode(read(ward, reply).payload, Status)


def sum_with_a_traitor(ward, step, stage=Stage.SUM, round_number=1, epoch=1, weight=None, of=None):
    """A sum that nobody contributed to, with a tag that fits: a hospital has given the tag key away."""
    session = Session(ward.charter, epoch, Purpose.TRAINING, round_number, 1)
    elements = session.ring.zeros(session.length)
    elements[-1] = 1 if weight is None else weight
    traitor = ward.hospitals[2]
    model, members = status(ward, 2).state_digest, of or list(session.members)
    fitting = round_tag(elements, session, traitor.state.tag_key(epoch), round_number, model, members)
    payload = Sum(
        step, members, model, memoryview(pack(elements, session.ring)), fitting.to_bytes(session.tag_size, "little")
    )
    return ward.forge(stage, payload, epoch=epoch, round_number=round_number)


def word_of(ward, *numbers):
    """The signed STATUS of these hospitals, as the coordinator shows it to another."""
    query = ward.forge(Stage.QUERY, Query())
    statuses = [memoryview(reply) for number in numbers for reply in ward.hospitals[number].receive(query)]
    return ward.forge(Stage.ENDORSED, Endorsed(statuses))


def kept_sums(ward, *steps):
    return [(ward.folder / "coordinator/sums" / f"training-{step:06d}.bin").read_bytes() for step in steps]
