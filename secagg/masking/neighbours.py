"""Who has to do with whom in an epoch: who holds whose shares, and so who masks with whom.

Knows advertisements and member numbers. Knows no secrets. Which degree is enough is in `secagg.graph`.

A hospital masks with everybody that it dealt to, and with everybody whose shares it took: there is no holder of a
hospital's shares that it does not mask with, whatever the coordinator tells either of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise

from secagg.errors import RemoteProtocolError
from secagg.labels import digest
from secagg.masking.lots import draw
from secagg.masking.messages import Advertise
from secagg.masking.session import Session
from secagg.masking.shamir import Randomness

Advertisements = Mapping[int, Advertise]
"""By member number."""


def draw_holders(session: Session, owner: int, randomness: Randomness) -> list[int]:
    """The members that are to hold the shares of ``owner``, drawn uniformly from the others, ascending.

    None in a complete graph: there everybody holds everybody's.
    """
    others = [number for number in session.members if number != owner]
    if session.complete:
        return []
    return sorted(draw(others, session.charter.charter.graph.degree, randomness))


def check_holders(session: Session, advertisement: Advertise, owner: int) -> None:
    """Refuse an advertisement that does not name as many holders as the charter says.

    Raises:
        RemoteProtocolError: ``bad-holders``, naming the owner.
    """
    named = advertisement.holders
    ascending = all(earlier < later for earlier, later in pairwise(named))
    known = not named or (named[-1] <= len(session.members) and owner not in named)
    if len(named) != session.charter.charter.graph.degree or not ascending or not known:
        raise RemoteProtocolError(
            "bad-holders",
            f"{session.name(owner)} named other holders of its shares than the charter lets it.",
            culprit=session.name(owner),
        )


def holders_of(owner: int, roster: Advertisements, participants: Collection[int], session: Session) -> tuple[int, ...]:
    """The participants that hold shares of ``owner``, ascending; in a complete graph ``owner`` among them."""
    if session.complete:
        return tuple(sorted(participants))
    return tuple(number for number in roster[owner].holders if number in participants)


def recipients_of(
    owner: int, roster: Advertisements, participants: Collection[int], session: Session
) -> frozenset[int]:
    """To whom ``owner`` deals: the holders of its shares, and everybody if it deals the tag key."""
    if owner in session.tag_dealers(participants):
        return frozenset(participants) - {owner}
    return frozenset(holders_of(owner, roster, participants, session)) - {owner}


def viable(roster: Advertisements, session: Session) -> frozenset[int]:
    """Those on the roster who can take part: each has enough holders that can take part too."""
    if session.complete:
        return frozenset(roster)
    left = frozenset(roster)
    while True:
        enough = frozenset(
            owner for owner in left if len(holders_of(owner, roster, left, session)) >= session.share_threshold
        )
        if enough == left:
            return left
        left = enough


def roster_digest(participants: Collection[int], roster: Advertisements, session: Session) -> bytes:
    """SHA-256 over what the epoch was opened as, who takes part, and the advertisements of those who make the tag key.

    Hospitals that were told different things find out by it, before one has to think that another lied.
    """
    dealers = session.tag_dealers(participants)
    parts: list[bytes | int | str] = [session.purpose, session.first_round, session.rounds]
    for number in sorted(participants):
        parts.append(number)
        if number in dealers:
            advertised = roster[number]
            parts += [advertised.share_key, advertised.mask_keys, advertised.seed_commitments]
            parts.append(advertised.tag_commitment)
    return digest("roster", b"", *parts)
