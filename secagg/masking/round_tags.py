"""The tags of one round: those that a hospital sends, and that of a sum from which noise may have been removed.

Knows vectors, components of noise, what hides their tags, and the key of an epoch's tags. What one tag is worth is in
`secagg.masking.tags`.

The coordinator removes components j > L of everybody's noise, and hospitals check what is left. So a hospital
sends a tag of its vector, ``T_0 = r_i + <a, x_i>``, and one of each component e_j that is in it,
``T_j = r_(i,j) + <a, e_j>``: with the same a, so that ``T_0 - sum of T_j over j > L`` is the tag of the vector without
them; and each with an offset of its own, from a keystream of its own. To T_j it adds a pad, which follows from the seed
of e_j, and is removed where e_j is.

Noise that stays is hidden also from who has the key of the tags, as every hospital that colludes has. It knows a and
the r_(i,j), and without pads the sum of T_j would give it ``<a, sum of e_j>``: where a model is small, that is all of
the noise. The pads of honest hospitals are uniform, and unknown where their seeds are not revealed: for j <= L. For
j > L the e_j are known in any case, and T_0 less their tags is the tag of the sum that all see.

The coordinator learns e_j for j > L and the sum of T_j, and must not learn anything of a. It does not: the sum of the
r_(i,j) is uniform, unknown to it and in no other tag, and hides ``<a, sum of e_j>`` as the sum of the r_i hides that of
the vectors. All the tags that it sees together are independent of a.

Hospitals know how many survive, and so which offsets belong in the check. A sum from which other components were taken,
other noise than was added, or none, differs from the true one by some d that the coordinator may know. Whatever it says
is the tag, it passes only if it has guessed ``<a, d>``: that is what any forged sum takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from secagg.encoding.ring import RingVector
from secagg.masking import kdf, tags
from secagg.masking.session import Session


def own_tags(
    vectors: Sequence[RingVector], session: Session, epoch_tag_key: bytes, round_number: int, model: bytes, owner: int
) -> list[int]:
    """T_0 to T_J of one hospital, modulo 2^w: of its vector, then of each component of noise in it.

    Args:
        vectors: ring elements, shape (session.length,) each.
    """
    ring = session.ring
    key = kdf.round_tag_key(epoch_tag_key, session, round_number, model)
    keys = [key] + [
        kdf.noise_tag_key(epoch_tag_key, session, round_number, model, component)
        for component in range(1, len(vectors))
    ]
    return [
        (tags.offset(ring, own, [owner]) + product) % _modulus(session)
        for own, product in zip(keys, tags.products(vectors, ring, key), strict=True)
    ]


def round_tag(
    vector: RingVector,
    session: Session,
    epoch_tag_key: bytes,
    round_number: int,
    model: bytes,
    contributors: Iterable[int],
) -> int:
    """The tag of the sum over ``contributors`` in one round on one model, without the noise that is removed."""
    named, ring = tuple(contributors), session.ring
    key = kdf.round_tag_key(epoch_tag_key, session, round_number, model)
    total = tags.tag(vector, ring, key, named)
    for component in session.removed_components(len(named)):
        key = kdf.noise_tag_key(epoch_tag_key, session, round_number, model, component)
        total -= tags.offset(ring, key, named)
    return total % _modulus(session)


def pad_components(tags: Sequence[int], session: Session, pads: Sequence[int]) -> list[int]:
    """A hospital's T_0 to T_J, those of components each with its pad."""
    own, *components = tags
    return [own] + [(tag + pad) % _modulus(session) for tag, pad in zip(components, pads, strict=True)]


def without_components(tags: Sequence[int], session: Session, components: Iterable[int], pads: Iterable[int]) -> int:
    """A sum's tag, of which the tags of ``components`` are taken away.

    Args:
        tags: of the sum with all noise, then of every component of it; unmasked, but padded.
        pads: of these components, of every hospital in the sum.
    """
    return (tags[0] - sum(tags[component] for component in components) + sum(pads)) % _modulus(session)


def _modulus(session: Session) -> int:
    return 1 << 8 * session.tag_size
