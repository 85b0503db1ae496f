"""A log for others: some of its entries with their signatures, the hashes of the rest, and the root over all.

Knows how an excerpt is made and verified, and how a log is held against a root that was noted when it was shorter. Who
hides an entry cannot hide that there is one, nor show another in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Generic

import msgspec

from secagg.merkle import leaf_hash, tree_hash
from secagg.signed_log import FIRST_PREVIOUS, NOT_SIGNED, EntryT, LogKind, Sha256, SignedEntry


class LogCheckpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a log has come, so that each beginning of it can be told from every other.

    Attributes:
        entries: how many there are.
        root: the tree hash (RFC 9162) of their bodies, hexadecimal.
    """

    entries: Annotated[int, msgspec.Meta(ge=0)]
    root: Sha256


class LogExcerpt(msgspec.Struct, Generic[EntryT], frozen=True, forbid_unknown_fields=True):
    """What a site shows of a log.

    Attributes:
        checkpoint: of the whole log.
        shown: in order.
        hidden: the leaf hashes of all other entries, in order, hexadecimal.
    """

    checkpoint: LogCheckpoint
    shown: tuple[SignedEntry[EntryT], ...]
    hidden: tuple[Sha256, ...]

    @property
    def entries(self) -> tuple[EntryT, ...]:
        """The entries that are shown, not verified."""
        return tuple(item.entry for item in self.shown)


def checkpoint_of(entries: Sequence[EntryT]) -> LogCheckpoint:
    """The checkpoint of a log that has these entries and no more."""
    return LogCheckpoint(len(entries), tree_hash(leaf_hash(entry.body()) for entry in entries).hex())


def take_excerpt(signed: Sequence[tuple[EntryT, bytes]], is_shown: Callable[[EntryT], bool]) -> LogExcerpt[EntryT]:
    """The excerpt that shows the entries for which ``is_shown`` is true, and the hashes of the others.

    Args:
        signed: all entries of the log, verified, with their signatures.
    """
    return LogExcerpt(
        checkpoint_of([entry for entry, _ in signed]),
        tuple(SignedEntry(entry, signature) for entry, signature in signed if is_shown(entry)),
        tuple(leaf_hash(entry.body()).hex() for entry, _ in signed if not is_shown(entry)),
    )


def verify_excerpt(excerpt: LogExcerpt[EntryT], public_key: bytes, kind: LogKind[EntryT], source: Path) -> None:
    """Check that what is shown is signed, in its place, and with what is hidden gives the root.

    Args:
        source: the file, for the error.

    Raises:
        TamperingError: ``…-altered``, naming the first entry that does not fit.
    """
    hashes = [kind.chain_hash(entry.body()) for entry in excerpt.entries]
    signatures = (item.signature for item in excerpt.shown)
    unsigned = kind.first_unsigned(zip(hashes, signatures, strict=True), public_key)
    if unsigned is not None:
        raise kind.altered(source, excerpt.shown[unsigned].entry.sequence, NOT_SIGNED)
    before: EntryT | None = None
    for entry, previous in zip(excerpt.entries, [FIRST_PREVIOUS, *hashes], strict=False):
        follows = before is not None and entry.sequence == before.sequence + 1
        if before is not None and entry.sequence <= before.sequence:
            raise kind.altered(source, entry.sequence, "it is not in its place")
        if before is not None and follows and entry.previous != previous:
            raise kind.altered(source, entry.sequence, "it does not follow the entry before it")
        before = entry
    if before is not None and before.sequence > excerpt.checkpoint.entries:
        raise kind.altered(source, before.sequence, "it stands beyond the end of the log")
    if len(excerpt.shown) + len(excerpt.hidden) != excerpt.checkpoint.entries:
        raise kind.altered(source, len(excerpt.shown), "entries are missing, or there are more than the log has")
    if root_of(excerpt, excerpt.checkpoint.entries) != excerpt.checkpoint.root:
        raise kind.altered(source, excerpt.checkpoint.entries, "with the others it does not give the log's root")


def require_grown_from(noted: LogCheckpoint, excerpt: LogExcerpt[EntryT], kind: LogKind[EntryT], source: Path) -> None:
    """Refuse a log that does not go on from a checkpoint of it.

    Raises:
        TamperingError: ``…-restored``.
    """
    if noted.entries > excerpt.checkpoint.entries:
        raise kind.restored(source, f"has {excerpt.checkpoint.entries} entries, and had {noted.entries} once")
    if root_of(excerpt, noted.entries) != noted.root:
        raise kind.restored(source, f"has other first {noted.entries} entries than it had")


def root_of(excerpt: LogExcerpt[EntryT], entries: int) -> str:
    """The tree hash of the first so many entries of the log, hexadecimal."""
    leaves = _leaves(excerpt)
    return tree_hash(leaf for _, leaf in zip(range(entries), leaves, strict=False)).hex()


def _leaves(excerpt: LogExcerpt[EntryT]) -> Iterator[bytes]:
    """Of all entries in order: those that are shown say where they stand, the others fill the places between."""
    hidden = iter(excerpt.hidden)
    number = 1
    for item in excerpt.shown:
        while number < item.entry.sequence:
            leaf = next(hidden, None)
            if leaf is None:
                return
            yield bytes.fromhex(leaf)
            number += 1
        yield leaf_hash(item.entry.body())
        number += 1
    yield from map(bytes.fromhex, hidden)
