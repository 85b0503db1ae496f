"""How the coordinator removes surplus noise from a sum: it rebuilds the seeds, draws the noise again, and subtracts it.

Knows the shares of noise seeds that survivors revealed, commitments, and what draws noise. Knows no messages or states.
Which components are removed follows from the number of survivors: seeds of the others are never revealed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from secagg.encoding.ring import RingVector
from secagg.masking import kdf, shamir
from secagg.masking.messages import nth
from secagg.masking.neighbours import Advertisements
from secagg.masking.noise import NoiseExpansion
from secagg.masking.rebuilding import lowest, wrong_dealing
from secagg.masking.round_tags import without_components
from secagg.masking.session import Session, Settled


@dataclass
class Removal:
    """One round's noise that is removed.

    Attributes:
        settled: what sum it comes off.
        components: which of everybody's, ascending.
    """

    session: Session
    settled: Settled
    roster: Advertisements
    noise: NoiseExpansion

    def __post_init__(self) -> None:
        self.components = self.session.removed_components(len(self.settled.survivors.numbers))
        self._shares: dict[tuple[int, int], dict[int, bytes]] = {}

    def keep(self, responder: int, owners: Collection[int], shares: bytes) -> None:
        """Take one hospital's shares, component by component, of the seeds of ``owners``."""
        for index, (component, owner) in enumerate(product(self.components, owners)):
            self._shares.setdefault((owner, component), {})[responder] = nth(shares, index)

    def take_off(self, total: RingVector, tags: Sequence[int]) -> int:
        """Subtract the noise of every survivor, in place, one component at a time; give the tag of what is left.

        Args:
            tags: of the sum with all noise, then of every component of it; unmasked.

        Raises:
            RemoteProtocolError: ``wrong-dealing``, naming the dealer whose shares do not give what it committed to.
            ValueError: if what draws noise gives another vector than one of the session's.
        """
        seeds = {
            (owner, component): self._seed(owner, component)
            for owner, component in product(self.settled.survivors.numbers, self.components)
        }
        for (owner, component), seed in seeds.items():
            noise = self.noise(kdf.noise_key(seed, self.session, self.settled.round, owner, component), component)
            if noise.shape != total.shape or noise.dtype != total.dtype:
                raise ValueError(f"noise of {noise.shape} {noise.dtype} was drawn for {total.shape} {total.dtype}")
            np.subtract(total, noise, out=total)
        pads = [kdf.noise_tag_pad(seed, self.session, self.settled.round, *whose) for whose, seed in seeds.items()]
        return without_components(tags, self.session, self.components, pads)

    def _seed(self, owner: int, component: int) -> bytes:
        seed = shamir.reconstruct(lowest(self._shares[owner, component], self.session.share_threshold))
        session, number = self.session, self.settled.round
        committed = nth(self.roster[owner].seed_commitments, session.seed_place(number, component))
        if kdf.noise_seed_commitment(seed, session, number, owner, component) != committed:
            raise wrong_dealing(session, owner)
        return seed
