"""Whoever gives wrong shares, and whoever deals them, costs nobody else's secret while enough right ones came."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.errors import RemoteProtocolError
from secagg.masking import error_correction
from secagg.masking.session import Purpose, Session, Settled, Survivors
from secagg.masking.shamir import random_secret, share
from secagg.masking.sifting import Sifting
from tests.support.consortium import MODEL_DIGEST, make_charter, make_identities, sign_by_all

SECRET = random_secret(np.random.default_rng(7).bytes)
WRONG = bytes(32)


def sifting(members: int, colluding: int = 0) -> Sifting:
    """All members are survivors; everybody's secret is the same, and shared anew."""
    identities = make_identities(members)
    charter = sign_by_all(make_charter(identities, scheme="double-lock", max_colluding=colluding), identities)
    session, everybody = Session(charter, 1, Purpose.TRAINING, 1, 3), range(1, members + 1)
    settled = Settled(1, 1, Survivors(tuple(everybody)), MODEL_DIGEST)
    made = Sifting(session, settled, {}, frozenset(everybody), lambda owner: everybody)
    for owner in everybody:
        shares = share(SECRET, session.share_threshold, everybody, np.random.default_rng(owner).bytes)
        made.shares[owner] = dict(zip(everybody, shares, strict=True))
    return made


def lie(made: Sifting, owner: int, *liars: int) -> None:
    made.shares[owner] |= dict.fromkeys(liars, WRONG)


def is_right(secret: bytes) -> bool:
    return secret == SECRET


def test_twenty_of_a_hundred_may_lie_about_every_secret_and_are_searched_for_once(monkeypatch):
    made, searches = sifting(100, 10), []
    assert made.session.share_threshold == 56
    monkeypatch.setattr(
        "secagg.masking.sifting.corrections",
        lambda *arguments: searches.append(1) or error_correction.corrections(*arguments),
    )
    for owner in made.participants:
        lie(made, owner, *range(1, 21))
        assert made.rebuild(owner, is_right) == SECRET
    assert made.doubtful == set(range(1, 21))
    assert len(searches) == 1


def test_with_more_liars_than_can_be_told_apart_the_round_has_no_sum_and_nobody_is_named():
    made = sifting(100, 10)
    lie(made, 4, *range(1, 24))
    with pytest.raises(RemoteProtocolError) as caught:
        made.rebuild(4, is_right)
    assert (caught.value.reason, caught.value.culprit) == ("wrong-share", None)
    assert "more than 22" in caught.value.message
    lie(made, 5, *range(1, 23))
    assert made.rebuild(5, is_right) == SECRET


def test_a_dealer_of_wrong_shares_has_nobody_left_out_of_what_others_dealt():
    """h1 deals wrong shares to h2 and h3, who give them on in good faith; h6 and h7 lie about what h4 dealt."""
    made = sifting(7, 0)
    assert made.session.share_threshold == 4
    lie(made, 1, 2, 3)
    assert made.rebuild(1, is_right) == SECRET
    assert made.doubtful >= {2, 3}
    # Without h2 and h3 there are too few right ones.
    lie(made, 4, 6, 7)
    assert made.rebuild(4, is_right) == SECRET
    lie(made, 5, 1, 6, 7)
    assert made.rebuild(5, is_right) == SECRET


def test_a_dealer_whose_shares_fit_no_secret_spoils_the_round_and_only_its_own():
    made = sifting(7, 0)
    made.shares[1] = {point: random_secret(np.random.default_rng(point).bytes) for point in made.participants}
    with pytest.raises(RemoteProtocolError) as caught:
        made.rebuild(1, is_right)
    assert caught.value.reason == "wrong-share"
    assert not made.doubtful
    assert made.rebuild(2, is_right) == SECRET
