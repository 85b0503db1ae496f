"""A release goes to every member, and who could not be reached is known."""

from __future__ import annotations

from secagg.wire import open_envelope
from secagg.wire.envelope import decode
from tests.support.consortium import make_charter, make_identities, sign_by_all
from training.engines.base import Exchange, Phase
from training.handing_out import hand_out
from training.messages import Release

IDENTITIES = make_identities(3)
CHARTER = sign_by_all(make_charter(IDENTITIES), IDENTITIES)
NAMES = [member.name for member in CHARTER.charter.members]


class Away:
    """Delivers to all but those who are away, and has refusals of those who refuse."""

    def __init__(self, away=(), refusing=()):
        self.away, self.refusing, self.sent = away, refusing, []

    def exchange(self, phase, outbox, round_number):
        assert (phase, round_number) == (Phase.RELEASE, 0)
        self.sent += outbox
        return Exchange(tuple((number, b"refused") for number in self.refusing), frozenset(self.away))


def test_everybody_is_sent_the_release_as_it_was_signed():
    engine = Away()
    assert hand_out(CHARTER, engine, b"signed", NAMES) == ()
    assert [number for number, _ in engine.sent] == [1, 2, 3]
    message = engine.sent[0][1]
    assert decode(open_envelope(message, CHARTER, len(message)).payload, Release).signed == b"signed"


def test_who_was_away_is_named_and_who_refused_is_not_asked_again():
    assert hand_out(CHARTER, Away(away={3}, refusing=(1,)), b"signed", NAMES) == (NAMES[2],)


def test_only_those_who_lack_it_are_sent_it_again():
    engine = Away()
    assert hand_out(CHARTER, engine, b"signed", NAMES[1:2]) == ()
    assert [number for number, _ in engine.sent] == [2]
