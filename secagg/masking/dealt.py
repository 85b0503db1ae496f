"""The deals of one set-up as they reach the coordinator: who has dealt to whom, and who has yet to.

Knows sealed deals and the digests beside them. Knows no share and nothing of states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

import msgspec

from secagg.errors import RemoteProtocolError
from secagg.masking.limits import check_deal_sizes
from secagg.masking.messages import Deal, Deals
from secagg.masking.neighbours import Advertisements, holders_of, recipients_of, roster_digest
from secagg.masking.session import Session


@dataclass
class Dealt:
    """What was dealt on one roster.

    Attributes:
        digests: share digests by (dealer, recipient), as the dealer signed them.
        holders: by owner, the participants that hold its shares.
        held_by: by holder, the participants whose shares it holds, ascending.
        recipients: by dealer, to whom it deals.
        messages: by recipient, then by dealer, the signed deals; until they are handed out.
    """

    session: Session
    roster: Advertisements
    participants: frozenset[int]
    digests: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = (self.roster, self.participants, self.session)
        self.holders: Mapping[int, tuple[int, ...]] = {
            number: holders_of(number, *known) for number in self.participants
        }
        self.held_by: dict[int, list[int]] = {number: [] for number in self.participants}
        for owner in sorted(self.participants):
            for holder in self.holders[owner]:
                self.held_by[holder].append(owner)
        self.recipients: Mapping[int, frozenset[int]] = {
            number: recipients_of(number, *known) for number in self.participants
        }
        # Also of who holds nobody's shares: by chance, where few are drawn.
        self.messages: dict[int, dict[int, bytes]] = {number: {} for number in self.participants}
        self._owed = {number: set(recipients) for number, recipients in self.recipients.items()}
        self._owing = {number for number, owed in self._owed.items() if owed}

    @property
    def complete(self) -> frozenset[int]:
        """Who has dealt to everybody it had to deal to."""
        return self.participants - self._owing

    @cached_property
    def _roster_digest(self) -> bytes:
        return roster_digest(self.participants, self.roster, self.session)

    @cached_property
    def advertised(self) -> list[bytes]:
        """SHA-256 of what each participant has advertised, by member number, as it is in the header of its message."""
        return [sha256(msgspec.msgpack.encode(self.roster[number])).digest() for number in sorted(self.participants)]

    def _require_roster(self, deal: Deal, name: str) -> None:
        """All were sent one roster. Whoever is dealt to on another one would have to think that they were not."""
        if deal.roster_digest != self._roster_digest:
            raise RemoteProtocolError("other-roster", f"{name} dealt on another roster than it was sent.", culprit=name)

    def add(self, dealer: int, recipient: int, deal: Deal, message: bytes) -> None:
        """Take one deal.

        Raises:
            RemoteProtocolError: ``other-recipient``, ``other-roster`` or ``wrong-length``, naming the dealer.
        """
        name = self.session.name(dealer)
        if recipient not in self.recipients[dealer]:
            raise RemoteProtocolError("other-recipient", f"{name} dealt to a member that it had not to.", culprit=name)
        self._require_roster(deal, name)
        check_deal_sizes(deal, self.session.shared_secrets if recipient in self.holders[dealer] else 0, name)
        self.digests[dealer, recipient] = deal.share_digests
        self.messages[recipient][dealer] = message
        self._owed[dealer].discard(recipient)
        if not self._owed[dealer]:
            self._owing.discard(dealer)

    def hand_out(self, recipient: int) -> Deals:
        """The signed deals for one participant, by dealer: once, as they are kept no longer."""
        return Deals([memoryview(message) for _, message in sorted(self.messages.pop(recipient).items())])
