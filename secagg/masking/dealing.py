"""A hospital's secrets of one epoch, and how their shares reach its peers.

Knows key generation, sharing and sealing. Knows nothing of states: `secagg.masking.client` decides when.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secagg.errors import RemoteProtocolError
from secagg.latch import NEVER_SEEN, SIGHTING_SIZE, Sighting
from secagg.masking import kdf, shamir
from secagg.masking.kdf import Secret
from secagg.masking.limits import check_deal_sizes
from secagg.masking.messages import CONTRIBUTION_SIZE, KEY_SIZE, Advertise, Deal, nth
from secagg.masking.neighbours import draw_holders
from secagg.masking.remedies import COORDINATOR_LIES
from secagg.masking.session import Session
from secagg.masking.shamir import SHARE_SIZE, Randomness

# Each sealing key is derived for one message, so no nonce repeats under it.
_NONCE = bytes(12)


class EpochSecrets:
    """One hospital's secrets of an epoch: a share key, for each round a mask key, a self-mask seed and J noise seeds,
    and its contribution to the tag key.

    They live in memory only. A round's secrets are forgotten once it is over.
    """

    def __init__(self, session: Session, owner: int, randomness: Randomness) -> None:
        self.share_key = randomness(KEY_SIZE)
        self.mask_keys: list[bytes | None] = [shamir.random_secret(randomness) for _ in range(session.secret_rounds)]
        self.self_mask_seeds: list[bytes | None] = [
            shamir.random_secret(randomness) for _ in range(session.secret_rounds)
        ]
        self.noise_seeds: list[tuple[bytes, ...]] = [
            tuple(shamir.random_secret(randomness) for _ in range(session.noise_components))
            for _ in range(session.secret_rounds)
        ]
        self.tag_contribution = randomness(CONTRIBUTION_SIZE)
        self.holders = draw_holders(session, owner, randomness)
        self._session = session
        self._owner = owner

    def advertisement(self) -> Advertise:
        """The public side: keys and commitments."""
        return Advertise(
            kdf.public_key(self.share_key),
            b"".join(kdf.public_key(key) for key in self.mask_keys if key),
            b"".join(
                commitment
                for slot, seed in enumerate(self.self_mask_seeds)
                if seed
                for commitment in self._commitments(self._session.first_round + slot, seed, self.noise_seeds[slot])
            ),
            kdf.tag_contribution_commitment(self.tag_contribution, self._session, self._owner),
            self.holders,
        )

    def _commitments(self, round_number: int, seed: bytes, noise_seeds: tuple[bytes, ...]) -> list[bytes]:
        return [kdf.self_mask_commitment(seed, self._session, round_number, self._owner)] + [
            kdf.noise_seed_commitment(noise_seed, self._session, round_number, self._owner, component)
            for component, noise_seed in enumerate(noise_seeds, 1)
        ]

    def of_round(self, slot: int) -> tuple[bytes, ...]:
        """The secrets of one round, in the order of `secrets_of`; empty in the place of one that was forgotten."""
        return (self.self_mask_seeds[slot] or b"", self.mask_keys[slot] or b"", *self.noise_seeds[slot])

    def forget(self, slots: range) -> None:
        """Drop the secrets of rounds that are over."""
        for slot in slots[: len(self.mask_keys)]:
            self.mask_keys[slot] = self.self_mask_seeds[slot] = None
            self.noise_seeds[slot] = ()

    def __repr__(self) -> str:
        return f"EpochSecrets(epoch={self._session.epoch})"


@dataclass(frozen=True, repr=False)
class HeldShares:
    """What one dealer gave one recipient.

    Attributes:
        self_mask, mask_key: a share for each round, 32 bytes each; none if the recipient holds no shares of the dealer.
        noise: for each round a share of each noise seed, 32 bytes each.
        tag_contribution: the dealer's part of the tag key, 32 bytes.
        sighting: when the dealer saw the recipient take part before this epoch.
    """

    self_mask: tuple[bytes, ...]
    mask_key: tuple[bytes, ...]
    noise: tuple[tuple[bytes, ...], ...]
    tag_contribution: bytes
    sighting: Sighting = NEVER_SEEN

    def joined(self) -> bytes:
        """All shares, round by round, in the order of `secrets_of`; then the contribution; then the sighting."""
        shares = b"".join(share for shares in self._rounds() for share in shares)
        return shares + self.tag_contribution + self.sighting.pack()

    @classmethod
    def split(cls, data: bytes, secrets: int) -> HeldShares:
        """The inverse of `joined`, where ``secrets`` secrets are shared for each round."""
        end = len(data) - CONTRIBUTION_SIZE - SIGHTING_SIZE
        parts = [data[start : start + SHARE_SIZE] for start in range(0, end, SHARE_SIZE)]
        contribution = data[end : end + CONTRIBUTION_SIZE]
        sighting = Sighting.unpack(data[-SIGHTING_SIZE:])
        noise = tuple(tuple(parts[start + 2 : start + secrets]) for start in range(0, len(parts), secrets))
        return cls(tuple(parts[0::secrets]), tuple(parts[1::secrets]), noise, contribution, sighting)

    def digests(self, session: Session, dealer: int, recipient: int) -> bytes:
        """The share digests, in the order of `joined`."""
        kinds = secrets_of(session)
        return b"".join(
            kdf.share_digest(share, session, session.first_round + slot, secret, dealer, recipient, component)
            for slot, shares in enumerate(self._rounds())
            for (secret, component), share in zip(kinds, shares, strict=True)
        )

    def _rounds(self) -> Iterator[tuple[bytes, ...]]:
        for self_mask, mask_key, noise in zip(self.self_mask, self.mask_key, self.noise, strict=True):
            yield (self_mask, mask_key, *noise)


def secrets_of(session: Session) -> list[tuple[Secret, int]]:
    """The secrets that are shared for each round, in the order of a deal: (kind, component), or (kind, 0) where there
    are no components.
    """
    noise = [(Secret.NOISE_SEED, component) for component in range(1, session.noise_components + 1)]
    return [(Secret.SELF_MASK_SEED, 0), (Secret.MASK_KEY, 0), *noise]


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
        [shamir.share(secret, session.share_threshold, members, randomness) for secret in secrets.of_round(slot)]
        for slot in range(session.secret_rounds)
    ]
    return {
        member: HeldShares(
            tuple(columns[0][index] for columns in rounds),
            tuple(columns[1][index] for columns in rounds),
            tuple(tuple(column[index] for column in columns[2:]) for columns in rounds),
            secrets.tag_contribution,
        )
        for index, member in enumerate(members)
    }


def tag_part(secrets: EpochSecrets) -> HeldShares:
    """The deal for a recipient that holds no shares: the dealer's contribution to the tag key alone."""
    return HeldShares((), (), (), secrets.tag_contribution)


@dataclass(frozen=True)
class Route:
    """From whom to whom shares travel, and under which roster."""

    session: Session
    roster_digest: bytes
    dealer: int
    recipient: int

    def sealing_key(self, agreed: bytes) -> AESGCM:
        """The AES-256-GCM key that seals a deal on this route.

        Args:
            agreed: the X25519 secret of the dealer's and the recipient's share keys, 32 bytes.
        """
        return AESGCM(kdf.share_sealing_key(agreed, self.session, self.roster_digest, self.dealer, self.recipient))


def seal_deal(route: Route, shares: HeldShares, agreed: bytes) -> Deal:
    """The shares of ``route.dealer`` for ``route.recipient``, sealed and committed to.

    Args:
        agreed: see `Route.sealing_key`.
    """
    digests = shares.digests(route.session, route.dealer, route.recipient)
    sealed = route.sealing_key(agreed).encrypt(_NONCE, shares.joined(), digests)
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
        plain = route.sealing_key(agreed).decrypt(_NONCE, deal.sealed_shares, deal.share_digests)
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
