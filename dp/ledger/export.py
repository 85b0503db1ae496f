"""A ledger for others: one signed JSON document with its entries, for an auditor or for another ledger of the site.

Knows the document, how it is verified, and which of its entries another ledger has to take over. Holds names of data
sets and no patients' digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from dp.ledger.entries import LEDGER, Entry, Kind
from secagg.errors import InputError, TamperingError
from secagg.files import read_bounded
from secagg.identity import PublicKey, Signature, is_valid_signature
from secagg.json_documents import MALFORMED, json_for_people
from secagg.signed_log import FIRST_PREVIOUS, Sha256, SignedEntry, Signer, read_signed

_LARGEST_FILE: Final = 1 << 28
_LABEL: Final = b"secagg ledger export 1\n"


class DataSetRun(NamedTuple):
    """One run of an exported ledger: the names of data set and charter."""

    data_set: str
    run: str


class LedgerExport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a site says its ledger holds.

    Attributes:
        public_key: the site's, which signed every entry.
        charter: where only the entries of one charter are in it, that charter's hash.
        length, head: of the whole ledger.
    """

    format: Literal["secagg ledger 1"] = "secagg ledger 1"
    public_key: PublicKey
    charter: Sha256 | None
    length: Annotated[int, msgspec.Meta(ge=0)]
    head: Sha256
    entries: tuple[SignedEntry[Entry], ...]

    @property
    def is_part(self) -> bool:
        """Whether entries of other charters are left out, so that not the whole chain can be checked."""
        return self.charter is not None and len(self.entries) < self.length


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ledger: LedgerExport
    signature: Signature


def export_ledger(path: Path, signer: Signer, charter: str | None = None) -> bytes:
    """The document of the ledger at ``path``, or of its entries of one charter.

    Raises:
        InputError: ``unreadable``, ``no-such-run``.
        TamperingError: ``ledger-damaged``, ``ledger-altered``.
    """
    signed = read_signed(path, signer.public_key, LEDGER)
    entries = tuple(SignedEntry(*pair) for pair in signed if charter in (None, pair[0].run))
    if charter is not None and not entries:
        raise InputError(
            "no-such-run",
            f"The ledger {path} has no entry of the charter {charter}.",
            culprit=charter,
            remedy="`secagg budget show` lists the charters.",
        )
    whole = [entry for entry, _ in signed]
    export = LedgerExport(
        public_key=signer.public_key, charter=charter, length=len(whole), head=LEDGER.head(whole), entries=entries
    )
    document = _Document(export, signer.sign(_signed_bytes(export)))
    return json_for_people(document, "sorted")


def read_export(path: Path, public_key: bytes) -> LedgerExport:
    """Verify a document: its signature, each entry's, and that they follow one another.

    Of a whole ledger the chain is checked from its first entry to its head, also where all of it is one charter's. Of a
    part it is checked wherever two entries are next to one another, and its end; that there are no others of the
    charter, and a head that is not in it, are the site's word.

    Raises:
        InputError: ``unreadable``, ``file-too-large``, ``not-an-export``.
        TamperingError: ``export-altered``.
    """
    try:
        document = msgspec.json.decode(read_bounded(path, _LARGEST_FILE), type=_Document)
    except MALFORMED as error:
        raise InputError(
            "not-an-export",
            f"{path} is not an exported ledger: {error}.",
            culprit=str(path),
            remedy="Make one with `secagg budget export`.",
        ) from error
    export = document.ledger
    if export.public_key != public_key:
        raise _altered(path, "it names another key than the given one")
    signed = ((LEDGER.chain_hash(item.entry.body()), item.signature) for item in export.entries)
    if not (
        is_valid_signature(public_key, document.signature, _signed_bytes(export))
        and LEDGER.first_unsigned(signed, public_key) is None
    ):
        raise _altered(path, "a signature in it is not that of the given key over what it says")
    why = _misfit(export)
    if why:
        raise _altered(path, why)
    return export


def continuation(export: LedgerExport, public_key: bytes, entries: Sequence[Entry]) -> tuple[SignedEntry[Entry], ...]:
    """What a ledger with ``entries`` lacks of a longer copy of itself; nothing if the document is of another."""
    if export.charter is not None or export.public_key != public_key:
        return ()
    same = [item.entry for item in export.entries[: len(entries)]] == list(entries)
    return export.entries[len(entries) :] if same else ()


def foreign_spending(export: LedgerExport) -> tuple[Entry, ...]:
    """What another ledger has to take over, each entry with its origin: rounds that released something, protected or
    not, and the reservations of runs that are not over.
    """
    still_open = open_runs(export)
    return tuple(
        replace(item.entry, origin=item.entry.origin or LEDGER.chain_hash(item.entry.body()))
        for item in export.entries
        if item.entry.kind in (Kind.CHARGE, Kind.UNPROTECTED)
        or (item.entry.kind is Kind.RESERVE and (item.entry.origin or run_of(item.entry) in still_open))
    )


def open_runs(export: LedgerExport) -> frozenset[DataSetRun]:
    """The exporting ledger's own runs that it does not say are over."""
    over: dict[DataSetRun, bool] = {}
    for item in export.entries:
        entry = item.entry
        if entry.kind is not Kind.COMMIT and entry.origin is None:
            over[run_of(entry)] = entry.kind in (Kind.CLOSE, Kind.RELEASE)
    return frozenset(run for run, is_over in over.items() if not is_over)


def runs_that_went_on(export: LedgerExport, entries: Sequence[Entry]) -> frozenset[DataSetRun]:
    """The exporting ledger's own runs that are open in it and of which it has entries that are not in ``entries``."""
    known = {LEDGER.chain_hash(entry.body()) for entry in entries}
    own = (item.entry for item in export.entries if item.entry.origin is None)
    new = frozenset(run_of(entry) for entry in own if LEDGER.chain_hash(entry.body()) not in known)
    return new & open_runs(export)


def run_of(entry: Entry) -> DataSetRun:
    """What the entry is about."""
    return DataSetRun(entry.data_set, entry.run)


def _misfit(export: LedgerExport) -> str | None:
    """Why the entries are not what the document says that they are; None if they are."""
    entries = [item.entry for item in export.entries]
    if export.charter is not None and any(entry.run != export.charter for entry in entries):
        return "it holds entries of another charter than its own"
    if export.is_part:
        return _misplaced(entries, export)
    previous = FIRST_PREVIOUS
    for number, entry in enumerate(entries, start=1):
        if (entry.sequence, entry.previous) != (number, previous):
            return f"entry {number} does not follow the one before it"
        previous = LEDGER.chain_hash(entry.body())
    return None if (len(entries), previous) == (export.length, export.head) else "entries at its end are missing"


def _misplaced(entries: Sequence[Entry], export: LedgerExport) -> str | None:
    """Why a part cannot be one of a ledger so long that ends so; None if it can."""
    number, digest = 0, FIRST_PREVIOUS
    for entry in entries:
        if entry.sequence <= number or (entry.sequence == number + 1 and entry.previous != digest):
            return f"entry {entry.sequence} does not follow the one before it"
        number, digest = entry.sequence, LEDGER.chain_hash(entry.body())
    if number > export.length or (number == export.length and digest != export.head):
        return "its entries go on where it says that the ledger ends"
    return None


def _signed_bytes(export: LedgerExport) -> bytes:
    return _LABEL + hashlib.sha256(_LABEL + msgspec.json.encode(export, order="sorted")).digest()


def _altered(path: Path, why: str) -> TamperingError:
    return TamperingError(
        "export-altered",
        f"The exported ledger {path} was altered, or is of another site: {why}.",
        culprit=str(path),
        remedy="Compare the public key with the site's, and ask the site for a new export.",
    )
