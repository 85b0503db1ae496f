"""What a hospital holds in memory during one epoch, and loses with it: its secrets, and what its peers dealt to it.

Knows rosters, deals and keys. Knows nothing of states, of the latch or of the order of messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secagg.errors import LocalProtocolError, RemoteProtocolError
from secagg.identity import Identity
from secagg.latch import Sighting
from secagg.masking import kdf
from secagg.masking.dealing import MASK_KEY, SELF_MASK_SEED, EpochSecrets, HeldShares, Route, open_deal
from secagg.masking.keystream import SignedKey
from secagg.masking.limits import has_due_sizes
from secagg.masking.messages import Advertise, Deal, Roster, nth
from secagg.masking.neighbours import Advertisements, check_holders, holders_of, recipients_of, roster_digest
from secagg.masking.passed_on import open_passed_on
from secagg.masking.remedies import COORDINATOR_LIES
from secagg.masking.session import Session, Survivors
from secagg.masking.shamir import Randomness
from secagg.wire import Sealer, Stage
from secagg.wire.envelope import decode

if TYPE_CHECKING:
    from secagg.masking.group import GroupCipher


@dataclass(frozen=True)
class Memory:
    """What the latch held before this epoch.

    Attributes:
        own: the newest epoch entered and the newest round masked.
        of_others: when other members were seen last, by number.
    """

    own: Sighting
    of_others: Mapping[int, Sighting]


class Epoch:
    """What a hospital holds in memory during one epoch, and loses with it."""

    def __init__(
        self, session: Session, number: int, identity: Identity, randomness: Randomness, memory: Memory
    ) -> None:
        self.session = session
        self.number = number
        self.memory = memory
        self.secrets = EpochSecrets(session, number, randomness)
        self.sealer = Sealer(session.charter, number, identity, session.epoch)
        self.participants: frozenset[int] = frozenset()
        self.roster: Advertisements = {}
        self.roster_digest = b""
        self.dealers: frozenset[int] = frozenset()
        self.held: dict[int, HeldShares] = {}
        self.tag_key = b""
        self._agreed: dict[bytes, bytes] = {}
        self._group: GroupCipher | None = None

    def route(self, dealer: int, recipient: int) -> Route:
        """Between two participants, under this roster."""
        return Route(self.session, self.roster_digest, dealer, recipient)

    def holders_of(self, owner: int) -> tuple[int, ...]:
        """See `secagg.masking.neighbours.holders_of`."""
        return holders_of(owner, self.roster, self.participants, self.session)

    def recipients_of(self, owner: int) -> frozenset[int]:
        """See `secagg.masking.neighbours.recipients_of`."""
        return recipients_of(owner, self.roster, self.participants, self.session)

    def take_roster(self, payload: Roster) -> None:
        """Verify every advertisement; refuse the roster unless at least t members, ourselves unaltered, are on it."""
        session = self.session
        # A roster is as large as the smallest sum, and made as carefully.
        participants = frozenset(Survivors.check(payload.participants, session, frozenset(session.members)).numbers)
        roster = {}
        for message in payload.advertisements:
            envelope = open_passed_on(message, session, Stage.ADVERTISE)
            header = envelope.header
            if (header.stage, header.epoch) != (Stage.ADVERTISE, session.epoch) or header.sender in roster:
                raise RemoteProtocolError("unexpected-message", "The roster holds a message that does not belong.")
            advertisement = decode(envelope.payload, Advertise)
            _require_sizes(session, advertisement, session.name(header.sender))
            check_holders(session, advertisement, header.sender)
            roster[header.sender] = advertisement
        if roster.get(self.number) != self.secrets.advertisement():
            raise RemoteProtocolError(
                "own-keys-altered",
                "The roster does not hold the keys that this site sent.",
                culprit="the coordinator",
                remedy=COORDINATOR_LIES,
            )
        self._take_participants(participants, roster)

    def _take_participants(self, participants: frozenset[int], roster: dict[int, Advertise]) -> None:
        if not set(roster) <= participants:
            raise RemoteProtocolError("unexpected-message", "The roster holds keys of a member that takes no part.")
        recipients = recipients_of(self.number, roster, participants, self.session)
        if not recipients | self.session.tag_dealers(participants) <= set(roster):
            raise RemoteProtocolError("keys-missing", "The roster lacks keys of a member that this site must deal to.")
        self.participants, self.roster = participants, roster
        self.roster_digest = roster_digest(participants, roster, self.session)
        self.dealers = frozenset(peer for peer in roster if peer != self.number and self._is_dealt_to_by(peer))

    def _is_dealt_to_by(self, dealer: int) -> bool:
        return self.number in self.recipients_of(dealer)

    def agreed_with(self, *peers: int) -> list[bytes]:
        """The X25519 secret of this hospital's share key with each peer's, 32 bytes: one for both directions.

        Raises:
            RemoteProtocolError: ``weak-key``, naming a peer whose key gives no secret.
        """
        keys = {self.roster[peer].share_key: self.session.name(peer) for peer in peers}
        new = [(key, name) for key, name in keys.items() if key not in self._agreed]
        if new:
            agreed = kdf.agree_with_each(self.secrets.share_key, new)
            self._agreed.update(zip((key for key, _ in new), agreed, strict=True))
        return [self._agreed[self.roster[peer].share_key] for peer in peers]

    def open_deal(self, dealer: int, deal: Deal) -> HeldShares:
        """Unseal what ``dealer`` dealt to this hospital."""
        secrets = self.session.shared_secrets if self.number in self.holders_of(dealer) else 0
        (agreed,) = self.agreed_with(dealer)
        return open_deal(self.route(dealer, self.number), deal, agreed, self.roster[dealer], secrets)

    def take_deals(self, collected: Mapping[int, HeldShares]) -> None:
        """Keep the shares, and make the tag key of the contributions that came with them."""
        self._agreed.clear()
        self.held.update({dealer: held for dealer, held in collected.items() if self.number in self.holders_of(dealer)})
        contributions = {dealer: held.tag_contribution for dealer, held in collected.items()}
        contributions[self.number] = self.secrets.tag_contribution
        dealers = self.session.tag_dealers(self.participants)
        parts = {dealer: contributions[dealer] for dealer in dealers}
        self.tag_key = kdf.epoch_tag_key(parts, self.session, self.roster_digest)
        if self.session.encrypted:
            self._group = _group(self.session, parts, self.roster_digest, self.roster)

    @property
    def group(self) -> GroupCipher:
        """What encrypts and opens sums.

        Raises:
            LocalProtocolError: ``no-epoch``, where the epoch is not set up, or nothing is encrypted.
        """
        if self._group is None:
            raise LocalProtocolError("no-epoch", "There is no secret that vectors of this epoch are encrypted under.")
        return self._group

    def noise_keys(self, round_number: int) -> tuple[bytes, ...]:
        """The keys that components 1 to J of this hospital's noise are drawn with in a round.

        Raises:
            LocalProtocolError: ``secrets-forgotten``.
        """
        return tuple(
            kdf.noise_key(seed, self.session, round_number, self.number, component)
            for component, seed in enumerate(self._noise_seeds(round_number), 1)
        )

    def noise_tag_pads(self, round_number: int) -> tuple[int, ...]:
        """What hides the tags of components 1 to J of this hospital's noise in a round.

        Raises:
            LocalProtocolError: ``secrets-forgotten``.
        """
        return tuple(
            kdf.noise_tag_pad(seed, self.session, round_number, self.number, component)
            for component, seed in enumerate(self._noise_seeds(round_number), 1)
        )

    def _noise_seeds(self, round_number: int) -> tuple[bytes, ...]:
        return self._secrets_of(round_number)[MASK_KEY + 1 :] if self.session.noise_components else ()

    def _secrets_of(self, round_number: int) -> tuple[bytes, ...]:
        secrets = self.secrets.rounds[self.session.slot(round_number)]
        if not secrets:
            raise LocalProtocolError("secrets-forgotten", f"The secrets of round {round_number} are gone.")
        return secrets

    def mask_keys(self, round_number: int, model: bytes) -> list[SignedKey]:
        """The keys of all masks of a round: its own, then those with its peers; none where nothing is masked.

        Raises:
            LocalProtocolError: ``secrets-forgotten``.
        """
        slot = self.session.slot(round_number)
        if not self.session.masked:
            return []
        secrets = self._secrets_of(round_number)
        seed, own_key = secrets[SELF_MASK_SEED], secrets[MASK_KEY]
        keys = [SignedKey(kdf.self_mask_key(seed, self.session, round_number, model, self.number), 1)]
        peers = sorted((set(self.holders_of(self.number)) | set(self.held)) - {self.number})
        public = [(nth(self.roster[peer].mask_keys, slot), self.session.name(peer)) for peer in peers]
        for peer, shared in zip(peers, kdf.agree_with_each(own_key, public), strict=True):
            key = kdf.pairwise_mask_key(shared, self.session, round_number, model, (self.number, peer))
            keys.append(SignedKey(key, 1 if self.number < peer else -1))
        return keys


def _require_sizes(session: Session, advertisement: Advertise, owner: str) -> None:
    """The coordinator has counted the keys, and not for this site's epoch."""
    if not has_due_sizes(session, advertisement):
        raise RemoteProtocolError(
            "wrong-length",
            f"The roster holds another number of keys of {owner} than this site's epoch needs: "
            "the coordinator tells members different things.",
            culprit="the coordinator",
            remedy=COORDINATOR_LIES,
        )


def _group(
    session: Session, contributions: Mapping[int, bytes], roster_digest: bytes, roster: Advertisements
) -> GroupCipher:
    # Only here: TenSEAL is loaded by those who encrypt.
    from secagg.masking.group import GroupCipher

    return GroupCipher(session, kdf.epoch_group_key(contributions, session, roster_digest), roster)
