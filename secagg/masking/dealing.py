"""A hospital's secrets of one epoch, and how their shares reach its peers.

Knows key generation, sharing and sealing. Knows nothing of states: `secagg.masking.client` decides when.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from cryptography.exceptions import InvalidTag

from secagg.errors import RemoteProtocolError
from secagg.latch import NEVER_SEEN, SIGHTING_SIZE, Sighting
from secagg.masking import kdf, shamir
from secagg.masking.kdf import Secret
from secagg.masking.limits import check_deal_sizes
from secagg.masking.messages import CONTRIBUTION_SIZE, KEY_SIZE, Advertise, Deal, nth
from secagg.masking.neighbours import draw_holders
from secagg.masking.remedies import COORDINATOR_LIES
from secagg.masking.sealing import OneTimeKey
from secagg.masking.session import Session
from secagg.masking.shamir import SHARE_SIZE, Randomness

# Where a round's secrets stand, in the order of a deal: see `secrets_of`. After them, in the order of their components,
# come the seeds of noise: that of component j, from 1, at MASK_KEY + j.
SELF_MASK_SEED, MASK_KEY = range(2)


class EpochSecrets:
    """One hospital's secrets of an epoch: a share key, those of each round, and its contribution to the tag key.

    They live in memory only. A round's secrets are forgotten once it is over.

    Attributes:
        rounds: for each round a self-mask seed, a mask key and J noise seeds, 32 bytes each; none once forgotten.
    """

    def __init__(self, session: Session, owner: int, randomness: Randomness) -> None:
        self.share_key = randomness(KEY_SIZE)
        # The test vectors were recorded with randomness drawn in this order.
        mask_keys = [shamir.random_secret(randomness) for _ in range(session.secret_rounds)]
        self_mask_seeds = [shamir.random_secret(randomness) for _ in range(session.secret_rounds)]
        noise_seeds = [
            [shamir.random_secret(randomness) for _ in range(session.noise_components)]
            for _ in range(session.secret_rounds)
        ]
        self.rounds: list[tuple[bytes, ...]] = [
            (seed, key, *noise) for seed, key, noise in zip(self_mask_seeds, mask_keys, noise_seeds, strict=True)
        ]
        self.tag_contribution = randomness(CONTRIBUTION_SIZE)
        self.holders = draw_holders(session, owner, randomness)
        self._session = session
        self._owner = owner

    def advertisement(self) -> Advertise:
        """The public side: keys and commitments."""
        return Advertise(
            kdf.public_key(self.share_key),
            b"".join(kdf.public_key(secrets[MASK_KEY]) for secrets in self.rounds),
            b"".join(self._commitments(slot) for slot in range(len(self.rounds))),
            kdf.tag_contribution_commitment(self.tag_contribution, self._session, self._owner),
            self.holders,
        )

    def _commitments(self, slot: int) -> bytes:
        round_number = self._session.first_round + slot
        self_mask_seed, _, *noise_seeds = self.rounds[slot]
        return kdf.self_mask_commitment(self_mask_seed, self._session, round_number, self._owner) + b"".join(
            kdf.noise_seed_commitment(seed, self._session, round_number, self._owner, component)
            for component, seed in enumerate(noise_seeds, 1)
        )

    def forget(self, slots: range) -> None:
        """Drop the secrets of rounds that are over."""
        for slot in slots[: len(self.rounds)]:
            self.rounds[slot] = ()

    def __repr__(self) -> str:
        return f"EpochSecrets(epoch={self._session.epoch})"


@dataclass(frozen=True, repr=False)
class HeldShares:
    """What one dealer gave one recipient.

    Attributes:
        rounds: for each round a share of each of its secrets, 32 bytes each; none if the recipient holds no shares of
            the dealer.
        tag_contribution: the dealer's part of the tag key, 32 bytes.
        sighting: when the dealer saw the recipient take part before this epoch.
    """

    rounds: tuple[tuple[bytes, ...], ...]
    tag_contribution: bytes
    sighting: Sighting = NEVER_SEEN

    def joined(self) -> bytes:
        """All shares, round by round, in the order of `secrets_of`; then the contribution; then the sighting."""
        return b"".join(chain.from_iterable(self.rounds)) + self.tag_contribution + self.sighting.pack()

    @classmethod
    def split(cls, data: bytes, secrets: int) -> HeldShares:
        """The inverse of `joined`, where ``secrets`` secrets are shared for each round."""
        end = len(data) - CONTRIBUTION_SIZE - SIGHTING_SIZE
        parts = [data[start : start + SHARE_SIZE] for start in range(0, end, SHARE_SIZE)]
        contribution = data[end : end + CONTRIBUTION_SIZE]
        sighting = Sighting.unpack(data[-SIGHTING_SIZE:])
        rounds = tuple(tuple(parts[start : start + secrets]) for start in range(0, len(parts), secrets))
        return cls(rounds, contribution, sighting)

    def digests(self, session: Session, dealer: int, recipient: int) -> bytes:
        """The share digests (`secagg.masking.kdf.share_digest`), in the order of `joined`."""
        shares = list(chain.from_iterable(self.rounds))
        return b"".join(kdf.share_digests(shares, _share_labels(session), dealer, recipient)) if shares else b""


def secrets_of(session: Session) -> list[tuple[Secret, int]]:
    """The secrets that are shared for each round, in the order of a deal: (kind, component), or (kind, 0) where there
    are no components.
    """
    noise = [(Secret.NOISE_SEED, component) for component in range(1, session.noise_components + 1)]
    return [(Secret.SELF_MASK_SEED, 0), (Secret.MASK_KEY, 0), *noise]


@lru_cache(maxsize=4)
def _share_labels(session: Session) -> list[kdf.ShareLabel]:
    """In the order of `HeldShares.joined`: made once, for the digests of everybody's deals."""
    rounds = range(session.first_round, session.first_round + session.secret_rounds)
    return [kdf.share_label(session, number, *kind) for number in rounds for kind in secrets_of(session)]


def share_out(
    secrets: EpochSecrets, session: Session, members: Sequence[int], randomness: Randomness
) -> dict[int, HeldShares]:
    """Shares of every secret of the epoch for every one of ``members``, the holders.

    Raises:
        RemoteProtocolError: ``too-few-holders``, if the secrets could never be rebuilt.
    """
    if len(members) < session.share_threshold:
        raise RemoteProtocolError(
            "too-few-holders",
            f"{len(members)} of the hospitals that this one drew take part; {session.share_threshold} must.",
        )
    rounds = [
        [shamir.share(secret, session.share_threshold, members, randomness) for secret in of_round]
        for of_round in secrets.rounds
    ]
    return {
        member: HeldShares(
            tuple(tuple(shares[index] for shares in of_round) for of_round in rounds), secrets.tag_contribution
        )
        for index, member in enumerate(members)
    }


def tag_part(secrets: EpochSecrets) -> HeldShares:
    """The deal for a recipient that holds no shares: the dealer's contribution to the tag key alone."""
    return HeldShares((), secrets.tag_contribution)


@dataclass(frozen=True)
class Route:
    """From whom to whom shares travel, and under which roster."""

    session: Session
    roster_digest: bytes
    dealer: int
    recipient: int

    def sealing_key(self, agreed: bytes) -> OneTimeKey:
        """The key that seals a deal on this route.

        Args:
            agreed: the X25519 secret of the dealer's and the recipient's share keys, 32 bytes.
        """
        return OneTimeKey(kdf.share_sealing_key(agreed, self.session, self.roster_digest, self.dealer, self.recipient))


def seal_deal(route: Route, shares: HeldShares, agreed: bytes) -> Deal:
    """The shares of ``route.dealer`` for ``route.recipient``, sealed and committed to.

    Args:
        agreed: see `Route.sealing_key`.
    """
    digests = shares.digests(route.session, route.dealer, route.recipient)
    sealed = route.sealing_key(agreed).seal(shares.joined(), digests)
    return Deal(route.roster_digest, digests, sealed)


def open_deal(route: Route, deal: Deal, agreed: bytes, advertised: Advertise, secrets: int) -> HeldShares:
    """Unseal a deal and check it against the dealer's digests and what the dealer advertised.

    Args:
        agreed: see `Route.sealing_key`.
        secrets: how many secrets the deal must hold shares of: all of the epoch's, or none.

    Raises:
        RemoteProtocolError: ``other-roster``, ``wrong-length``, ``unreadable-shares``, ``bad-share``,
            ``bad-tag-contribution``.
    """
    dealer = route.session.name(route.dealer)
    if deal.roster_digest != route.roster_digest:
        raise RemoteProtocolError(
            "other-roster",
            f"{dealer} was shown other keys than this site, or the epoch was opened to it otherwise: "
            "the coordinator tells members different things.",
            culprit="the coordinator",
            remedy=COORDINATOR_LIES,
        )
    check_deal_sizes(deal, secrets, dealer)
    try:
        plain = route.sealing_key(agreed).open(deal.sealed_shares, deal.share_digests)
    except InvalidTag as error:
        raise RemoteProtocolError(
            "unreadable-shares", f"The shares from {dealer} cannot be unsealed.", culprit=dealer
        ) from error
    shares = HeldShares.split(plain, route.session.secrets_a_round)
    if shares.digests(route.session, route.dealer, route.recipient) != deal.share_digests:
        raise RemoteProtocolError("bad-share", f"The shares from {dealer} are not those it signed.", culprit=dealer)
    committed = kdf.tag_contribution_commitment(shares.tag_contribution, route.session, route.dealer)
    if committed != advertised.tag_commitment:
        raise RemoteProtocolError(
            "bad-tag-contribution", f"{dealer} contributed to the tag key what it had not committed to.", culprit=dealer
        )
    return shares


def check_advertised_keys(session: Session, advertisement: Advertise, owner: str) -> None:
    """Refuse keys of low order: with one on the roster, no hospital could go on.

    Raises:
        RemoteProtocolError: ``weak-key``, naming the owner.
    """
    keys = [advertisement.share_key, *(nth(advertisement.mask_keys, slot) for slot in range(session.secret_rounds))]
    kdf.agree_with_each(os.urandom(KEY_SIZE), [(key, owner) for key in keys])
