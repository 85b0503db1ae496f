"""The hash of a list as the root of a tree (RFC 9162, section 2.1.1).

Knows hashes. Knows nothing of what is listed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"


def leaf_hash(data: bytes) -> bytes:
    """The hash of one item, 32 bytes. No item has the hash of a part of the tree."""
    return hashlib.sha256(_LEAF + data).digest()


def tree_hash(leaves: Iterable[bytes]) -> bytes:
    """The Merkle Tree Hash (MTH) of items given by their `leaf_hash`, 32 bytes. Keeps one hash for each level."""
    # Roots of whole subtrees, the largest first, each with its number of leaves.
    subtrees: list[tuple[int, bytes]] = []
    for leaf in leaves:
        size, root = 1, leaf
        while subtrees and subtrees[-1][0] == size:
            size, root = 2 * size, _node_hash(subtrees.pop()[1], root)
        subtrees.append((size, root))
    if not subtrees:
        return hashlib.sha256(b"").digest()
    _, root = subtrees.pop()
    while subtrees:
        root = _node_hash(subtrees.pop()[1], root)
    return root


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()
