"""How fast this machine does what the protocol is made of, vectors aside: each operation measured for a moment.

Knows single operations, as the protocol's own functions do them. How often a party does each is in
`training.costs.times`.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from secagg.identity import is_valid_signature
from secagg.labels import DIGEST_SIZE
from secagg.latch import Latch, Sighting
from secagg.masking import kdf, shamir
from secagg.masking.dealing import HeldShares, Route, open_deal, seal_deal
from secagg.masking.kdf import Secret
from secagg.masking.messages import KEY_SIZE, Advertise, Agree, Begin, Deal
from secagg.masking.session import Survivors
from secagg.masking.shamir import SHARE_SIZE
from secagg.wire import Stage, open_envelope
from secagg.wire.envelope import decode
from training.costs.sample import Sample
from training.costs.stopwatch import seconds

_FEW: Final = 5
# What is done hundreds of times on end.
_SERIES: Final = 25
_TURNS: Final = 15
_MANY: Final = 1000
_LIMIT: Final = 1 << 16


@dataclass(frozen=True)
class Rates:
    """CPU seconds of one operation.

    Attributes:
        key: a public key of a private one, which is also what it takes to load a private key.
        agreement: of a loaded key with one more.
        expansion: a key of a secret in its context.
        digest: of a share, compared with what was signed.
        sealing: a hospital's message, signed.
        opening: a hospital's message, its signature checked.
        reading: a message of the coordinator.
        verification: a signature of which the message is known.
        record: a write to the latch, all the way to the disk.
        sighting: in such a write, each hospital that was seen.
        survivor: each hospital of a survivor set that is checked.
        member: each hospital among which those are looked for who have not answered.
    """

    key: float
    agreement: float
    expansion: float
    digest: float
    sealing: float
    opening: float
    reading: float
    verification: float
    record: float
    sighting: float
    survivor: float
    member: float

    @classmethod
    def measured(cls) -> Rates:
        """Those of this machine."""
        sample, private, share = Sample(), os.urandom(KEY_SIZE), bytes(SHARE_SIZE)
        session, hospital, model = sample.session, sample.hospital(1), bytes(DIGEST_SIZE)
        publics = [(kdf.public_key(os.urandom(KEY_SIZE)), "") for _ in range(_FEW)]
        agree, begin = Agree(bytes(DIGEST_SIZE)), sample.coordinator.seal(Stage.BEGIN, Begin(1), round=1)
        sealed = hospital.seal(Stage.AGREE, agree, round=1)
        identity, signature = sample.identities[0], sample.identities[0].sign(sealed)
        named, everybody = tuple(range(1, _MANY + 1)), frozenset(range(1, _MANY + 1))
        with (
            tempfile.TemporaryDirectory() as folder,
            Latch(Path(folder) / "few") as few,
            Latch(Path(folder) / "many") as many,
        ):
            writes, of_many = _Writes(few), _Writes(many)
            # A write waits for the disk, and what comes after it finds nothing in the caches: it is as a message comes.
            keys, masked, agreements, revealed, expansions, digests, seen, openings, many_seen, *rest = seconds(
                lambda: [kdf.public_key(private) for _ in range(_FEW)],
                writes.masked,
                lambda: kdf.agree_with_each(private, publics),
                writes.revealed,
                lambda: [kdf.pairwise_mask_key(private, session, 1, model, (1, i)) for i in range(_SERIES)],
                lambda: [kdf.share_digest(share, session, 1, Secret.MASK_KEY, 1, i) for i in range(_SERIES)],
                writes.seen,
                lambda: [decode(open_envelope(sealed, session.charter, _LIMIT).payload, Agree) for _ in range(_FEW)],
                of_many.many_seen,
                lambda: [is_valid_signature(identity.public_key, signature, sealed) for _ in range(_FEW)],
                lambda: hospital.seal(Stage.AGREE, agree, round=1),
                lambda: decode(open_envelope(begin, session.charter, _LIMIT).payload, Begin),
                lambda: Survivors.check(named, session, everybody).digest(),
                lambda: everybody - frozenset(number for number in named),
                turns=_TURNS,
            )
        verifications, sealing, reading, survivors, members = rest
        record = (masked + revealed + seen) / 3
        return cls(
            key=keys / _FEW,
            agreement=max(agreements - keys / _FEW, 0) / _FEW,
            expansion=expansions / _SERIES,
            digest=digests / _SERIES,
            sealing=sealing,
            opening=openings / _FEW,
            reading=reading,
            verification=verifications / _FEW,
            record=record,
            sighting=max(many_seen - record, 0) / _MANY,
            survivor=survivors / _MANY,
            member=members / _MANY,
        )


@lru_cache(maxsize=1)
def measured_rates() -> Rates:
    """Those of this machine, measured once."""
    return Rates.measured()


class _Writes:
    """Writes to a latch that change something each time, as those of rounds do."""

    def __init__(self, latch: Latch) -> None:
        self._latch = latch
        self._charter = bytes(DIGEST_SIZE)
        self._round = 0
        latch.record_epoch(self._charter, 1)

    def masked(self) -> None:
        self._round += 1
        self._latch.record_masked(self._charter, 1, self._round)

    def revealed(self) -> None:
        occasion = self._round.to_bytes(DIGEST_SIZE, "big")
        self._latch.record_revealed(self._charter, 1, self._round, [1, 2, 3], occasion)

    def seen(self) -> None:
        self._latch.record_seen(self._charter, {1: Sighting(1, self._round)})

    def many_seen(self) -> None:
        self._round += 1
        self._latch.record_seen(self._charter, {number: Sighting(1, self._round) for number in range(1, _MANY + 1)})


@lru_cache(maxsize=16)
def sharing_time(threshold: int, holders: int) -> float:
    """Seconds to share one secret."""
    points = range(1, holders + 1)
    return seconds(lambda: shamir.share(bytes(SHARE_SIZE), threshold, points, os.urandom))[0]


@lru_cache(maxsize=16)
def rebuilding_time(threshold: int) -> float:
    """Seconds to rebuild one secret, of the same holders as the one before."""
    shares = {number: bytes(SHARE_SIZE) for number in range(1, threshold + 1)}
    return seconds(lambda: shamir.reconstruct(shares))[0]


@lru_cache(maxsize=16)
def basis_time(threshold: int) -> float:
    """Seconds that it takes longer, of other holders."""
    points = tuple(range(1, threshold + 1))
    return seconds(lambda: shamir.lagrange_weights(points))[0]


@dataclass(frozen=True)
class DealTimes:
    """Seconds to seal what one hospital deals to one other, in its message; and to open it and check it."""

    sealed: float
    opened: float


@lru_cache(maxsize=16)
def deal_times(secrets: int) -> DealTimes:
    """Of deals with a share of each of so many secrets."""
    rounds = secrets // 2
    sample = Sample(rounds=max(rounds, 1))
    route, agreed = Route(sample.session, bytes(DIGEST_SIZE), 1, 2), os.urandom(KEY_SIZE)
    held = HeldShares(((bytes(SHARE_SIZE),) * 2,) * rounds, bytes(SHARE_SIZE))
    commitment = kdf.tag_contribution_commitment(held.tag_contribution, sample.session, 1)
    advertised = Advertise(bytes(KEY_SIZE), b"", b"", commitment, [])
    hospital = sample.hospital(1)

    def seal() -> bytes:
        return hospital.seal(Stage.DEAL, seal_deal(route, held, agreed), recipient=2)

    message = seal()

    def opened() -> None:
        envelope = open_envelope(message, sample.session.charter, _LIMIT + len(message))
        open_deal(route, decode(envelope.payload, Deal), agreed, advertised, 2 * rounds)

    return DealTimes(*seconds(seal, opened))
