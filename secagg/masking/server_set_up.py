"""The coordinator's part in an epoch's key set-up: whose keys it shows to whom, and whether all made one secret.

Knows advertisements, deals and acknowledgements. Knows no secret and nothing of states: `secagg.masking.server` decides
when.
"""

from __future__ import annotations

from collections.abc import Collection

from secagg.errors import RemoteProtocolError
from secagg.masking.dealing import check_advertised_keys
from secagg.masking.dealt import Dealt
from secagg.masking.limits import check_advertisement_sizes
from secagg.masking.messages import Acknowledge, Advertise, Deal, Roster
from secagg.masking.neighbours import check_holders, viable
from secagg.masking.session import Session
from secagg.wire import Envelope
from secagg.wire.envelope import decode, decode_exactly


class SetUp:
    """One key set-up: rounds 0 and 1 of Bonawitz et al. 2017 (AdvertiseKeys, ShareKeys), for all rounds of an epoch.

    Where vectors are encrypted, hospitals also acknowledge the secret that they have made.

    Attributes:
        participants: who was invited; from `draw_up_roster` on, who is on the roster.
        dealt: what was dealt on the roster; nothing before there is one.
    """

    def __init__(self, session: Session, invited: frozenset[int]) -> None:
        self.participants = invited
        self.dealt = Dealt(session, {}, frozenset())
        self._session = session
        self._advertisements: dict[int, Advertise] = {}
        self._signed: dict[int, bytes] = {}
        self._fingerprints: dict[int, bytes] = {}

    @property
    def advertised(self) -> frozenset[int]:
        """Who has advertised keys."""
        return frozenset(self._advertisements)

    @property
    def acknowledged(self) -> frozenset[int]:
        """Who has acknowledged a secret."""
        return frozenset(self._fingerprints)

    def take_advertisement(self, envelope: Envelope, message: bytes) -> None:
        """Take one hospital's keys. ``message`` is what it signed: others are shown it as it is.

        Raises:
            RemoteProtocolError: ``malformed``, ``wrong-length``, ``bad-holders`` or ``weak-key``, naming the hospital.
        """
        session, sender = self._session, envelope.header.sender
        name = session.name(sender)
        advertisement = decode_exactly(envelope.payload, Advertise, name)
        check_advertisement_sizes(session, advertisement, name)
        check_holders(session, advertisement, sender)
        check_advertised_keys(session, advertisement, name)
        self._advertisements[sender], self._signed[sender] = advertisement, message

    def draw_up_roster(self) -> None:
        """Have those take part who have advertised, and whose shares enough of the others can hold."""
        self.participants = viable(self._advertisements, self._session)
        self.dealt = Dealt(self._session, self._advertisements, self.participants)

    def roster(self) -> Roster:
        """Everybody's keys."""
        return self._roster_of(self.participants)

    def roster_for(self, number: int) -> Roster:
        """What one participant needs of it: its own keys, and those of all that it deals to or that deal to it."""
        dealers = self._session.tag_dealers(self.participants).union(self.dealt.held_by[number])
        return self._roster_of(dealers.union(self.dealt.recipients[number], [number]))

    def _roster_of(self, shown: Collection[int]) -> Roster:
        return Roster(sorted(self.participants), [memoryview(self._signed[number]) for number in sorted(shown)])

    def take_deal(self, envelope: Envelope, message: bytes) -> None:
        """Take what one participant dealt to another. ``message`` is what it signed.

        Raises:
            RemoteProtocolError: ``malformed``, ``other-recipient``, ``other-roster`` or ``wrong-length``, naming the
                dealer.
        """
        dealer, recipient = envelope.header.sender, envelope.header.recipient
        deal = decode_exactly(envelope.payload, Deal, self._session.name(dealer))
        self.dealt.add(dealer, recipient, deal, message)

    def take_acknowledgement(self, envelope: Envelope) -> None:
        """Take the fingerprint of the secret that one participant has made.

        Raises:
            RemoteProtocolError: ``malformed``, or what `check_context` finds.
            TamperingError: ``key-material``, if there is a secret key in it.
        """
        # Only here: TenSEAL is loaded where something is encrypted.
        from secagg.homomorphic.context import check_context

        sender = envelope.header.sender
        acknowledged = decode(envelope.payload, Acknowledge)
        check_context(acknowledged.context, self._session.form.spec, self._session.name(sender))
        self._fingerprints[sender] = acknowledged.fingerprint

    @property
    def agreeing(self) -> frozenset[int]:
        """Who acknowledged the same secret as most others."""
        fingerprints = list(self._fingerprints.values())
        common = max(fingerprints, key=fingerprints.count)
        return frozenset(number for number, found in self._fingerprints.items() if found == common)

    def other_secret(self) -> RemoteProtocolError:
        """Some hospitals made another secret of the same contributions, or encrypt at another scale.

        They are named if the others are more than they, and more than may lie: then an honest one is among the others.
        """
        session, agreeing = self._session, self.agreeing
        others, remedy = self.participants - agreeing, "All members need releases of secagg and TenSEAL that agree."
        if len(agreeing) <= max(session.charter.charter.most_liars, len(others)):
            said = (
                "The members have different homomorphic secrets, or scale numbers differently, and not enough agree to "
                "tell whose is another."
            )
            return RemoteProtocolError("other-secret", said, remedy=remedy)
        names = ", ".join(session.name(number) for number in sorted(others))
        return RemoteProtocolError(
            "other-secret",
            f"{names} made another homomorphic secret than the others, or would scale numbers by another factor.",
            culprit=session.name(min(others)),
            remedy=remedy,
        )
