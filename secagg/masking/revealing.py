"""What a hospital gives of the shares it holds, for one survivor set and for no other.

Knows shares and member numbers. Whether it may give anything is decided before, in `secagg.masking.client`.
"""

from __future__ import annotations

from collections.abc import Mapping

from secagg.masking.dealing import MASK_KEY, SELF_MASK_SEED, HeldShares
from secagg.masking.messages import Reveal
from secagg.masking.session import Session, Survivors


def shares_for(
    survivors: Survivors, inputs: bytes, held: Mapping[int, HeldShares], session: Session, round_number: int
) -> Reveal:
    """The shares to reveal: of each survivor's self-mask seed, and of its noise seeds that are removed; of each dropped
    participant's mask key. Never both of one hospital.

    Which noise is removed follows from the number of survivors, which this hospital counts itself: the coordinator
    cannot ask for noise that must stay.

    Args:
        inputs: the digest of what the sum follows from, as the coordinator says; signed with the shares.
        held: by owner, the shares that this hospital holds.
    """
    slot = session.slot(round_number)
    remaining = sorted(set(held) & set(survivors.numbers))
    dropped = sorted(set(held) - set(survivors.numbers))
    removed = [MASK_KEY + component for component in session.removed_components(len(survivors.numbers))]
    seeds = [SELF_MASK_SEED, *removed]
    return Reveal(
        survivors.digest(),
        inputs,
        b"".join(held[owner].rounds[slot][seed] for seed in seeds for owner in remaining),
        b"".join(held[owner].rounds[slot][MASK_KEY] for owner in dropped),
    )
