"""Whether a hospital's logs are those it had: its latch remembers how far each had come.

Knows latch, ledger and egress log as files that go on. Written in this order: the log, then the latch, in one
transaction with the round that is masked, and only then does anything of the round leave. A kill between the two leaves
a log that is ahead of the latch, which is fine; one that is behind was rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dp.ledger import Account, Entry, Ledger
from dp.ledger.account import patients_folder
from dp.ledger.entries import LEDGER
from dp.ledger.export import LedgerExport, continuation
from secagg.egress import EGRESS, EgressEntry, EgressLog
from secagg.errors import InputError, TamperingError
from secagg.identity import Identity
from secagg.latch import Latch, read_logs
from secagg.signed_log import FIRST_PREVIOUS, EntryT, LogKind, LogPlace, SignedLog, read_signed
from training.hospital_folder import HospitalFolder
from training.lost_ledger import require_ledger_kept

_NOWHERE = LogPlace(0, FIRST_PREVIOUS)


class HospitalLogs:
    """The logs that one latch looks after.

    Raises:
        TamperingError: ``ledger-restored``, ``egress-restored``, if one does not go on from where it was.
    """

    def __init__(self, latch: Latch, ledger: Ledger, egress: EgressLog) -> None:
        self._latch = latch
        self._logs: dict[str, SignedLog[Any]] = {LEDGER.reason: ledger, EGRESS.reason: egress}
        noted = latch.logs()
        for name, log in self._logs.items():
            log.require_reached(noted.get(name, _NOWHERE))
        self.note()

    @property
    def places(self) -> dict[str, LogPlace]:
        """How far they have come, by name: for the latch to remember with the next vector that it lets leave."""
        return {name: log.place for name, log in self._logs.items()}

    def note(self) -> None:
        """Remember how far they have come. What was written before this can no more be taken back unseen.

        Raises:
            InputError: ``unwritable``.
        """
        if self.places != self._latch.logs():
            self._latch.record_logs(self.places)


@contextmanager
def open_site_ledger(folder: HospitalFolder, identity: Identity) -> Iterator[Ledger]:
    """A site's ledger, for an officer to write in while the hospital does not run; its latch remembers how far it came.

    Raises:
        InputError: ``no-ledger``, ``state-in-use``, ``unwritable``.
        TamperingError: ``ledger-restored``, and if anything was altered.
    """
    if not folder.latch.exists() and not folder.ledger.exists():
        raise _no_ledger(folder.ledger)
    with _opened(folder, identity) as (latch, ledger, egress):
        require_ledger_kept(folder, identity.public_key, latch.logs(), ledger.entries)
        logs = HospitalLogs(latch, ledger, egress)
        yield ledger
        logs.note()


@contextmanager
def open_site_ledger_to_import(folder: HospitalFolder, identity: Identity, export: LedgerExport) -> Iterator[Ledger]:
    """The same, to take over what ``export`` says. A new site gets its ledger so, before its first run.

    A ledger that was rolled back, or is lost, has to be mended first: only an export that leads it on to where it was
    is let in, since after anything else its own entries would no longer follow one another.

    Raises:
        InputError: ``state-in-use``, ``unwritable``.
        TamperingError: ``ledger-restored``, and if anything was altered.
    """
    with _opened(folder, identity) as (latch, ledger, egress):
        noted = latch.logs()
        lacking = continuation(export, identity.public_key, ledger.entries)
        known = (*ledger.entries, *(item.entry for item in lacking))
        _require_led_on(known, noted.get(LEDGER.reason, _NOWHERE), folder.ledger)
        require_ledger_kept(folder, identity.public_key, noted, known)
        yield ledger
        HospitalLogs(latch, ledger, egress).note()


def _require_led_on(known: Sequence[Entry], noted: LogPlace, path: Path) -> None:
    if LEDGER.place(known[: noted.entries]) != noted:
        raise TamperingError(
            "ledger-restored",
            f"The ledger {path} lacks the entry {noted.entries} that was seen in it, and the export does not lead on "
            "from its own entries to there: nothing was written.",
            culprit=str(path),
            remedy="Put the newest ledger back, or import a later export of the whole of it, made without --charter.",
        )


@contextmanager
def _opened(folder: HospitalFolder, identity: Identity) -> Iterator[tuple[Latch, Ledger, EgressLog]]:
    with ExitStack() as opened:
        yield (
            opened.enter_context(Latch(folder.latch)),
            opened.enter_context(Ledger(folder.ledger, identity)),
            opened.enter_context(EgressLog(folder.egress, identity)),
        )


def read_site_ledger(folder: HospitalFolder, public_key: bytes) -> tuple[Sequence[Entry], Account]:
    """A site's ledger, verified, also against the latch where there is one; nothing is locked.

    Raises:
        InputError: ``no-ledger``, ``unreadable``.
        TamperingError: ``ledger-restored``, ``ledger-damaged``, ``ledger-altered``, ``patients-altered``.
    """
    if not folder.ledger.exists():
        require_ledger_kept(folder, public_key, read_logs(folder.latch), ())
    entries = _entries(read_signed_log(folder.ledger, folder.latch, public_key, LEDGER))
    require_ledger_kept(folder, public_key, read_logs(folder.latch), entries)
    return entries, Account.load(entries, patients_folder(folder.ledger))


def read_egress_log(folder: HospitalFolder, public_key: bytes) -> tuple[EgressEntry, ...]:
    """The egress log, verified, also against the latch where there is one; nothing is locked.

    Raises:
        InputError: ``no-egress-log``, ``unreadable``.
        TamperingError: ``egress-restored``, ``egress-damaged``, ``egress-altered``.
    """
    return _entries(read_signed_log(folder.egress, folder.latch, public_key, EGRESS))


def latch_knows(folder: HospitalFolder, kind: LogKind[EntryT]) -> bool:
    """Whether the latch in a folder remembers how far a log had come: if not, it cannot show that its end was cut off.

    Raises:
        SecaggError: if the latch cannot be read.
    """
    return kind.reason in read_logs(folder.latch)


def read_signed_log(
    path: Path, latch: Path, public_key: bytes, kind: LogKind[EntryT]
) -> tuple[tuple[EntryT, bytes], ...]:
    """One of a hospital's logs with each entry's signature, verified, also against the latch; nothing is locked.

    Raises:
        InputError: ``no-ledger``, ``no-egress-log``, ``unreadable``.
        TamperingError: ``…-restored``, ``…-damaged``, ``…-altered``.
    """
    # The latch first: whoever writes meanwhile only adds to the log.
    noted = read_logs(latch).get(kind.reason, _NOWHERE)
    if not path.exists():
        kind.require_reached(noted, (), path)
        raise _no_log(path, kind)
    signed = read_signed(path, public_key, kind)
    kind.require_reached(noted, _entries(signed), path)
    return signed


def require_noted(head: str, entries: Sequence[Entry], path: Path) -> None:
    """Refuse a ledger, or an export of one, that has no entry with this hash, which somebody noted.

    Raises:
        TamperingError: ``ledger-restored``.
    """
    if head not in {FIRST_PREVIOUS, *(LEDGER.chain_hash(entry.body()) for entry in entries)}:
        raise LEDGER.restored(path, f"has no entry with the hash {head[:16]}, which was noted")


def _entries(signed: tuple[tuple[EntryT, bytes], ...]) -> tuple[EntryT, ...]:
    return tuple(entry for entry, _ in signed)


def _no_egress_log(path: Path) -> InputError:
    return InputError(
        "no-egress-log",
        f"There is no egress log at {path}.",
        culprit=str(path),
        remedy="Give a hospital's folder; it has an egress log once it has taken part in a run.",
    )


def require_hospital(folder: HospitalFolder, path: Path, kind: LogKind[EntryT]) -> None:
    """Refuse a folder that no hospital was ever in: that of a run, say, in which hospitals have folders of their own.

    Args:
        path: of the log of this kind that somebody is looking for there.

    Raises:
        InputError: ``no-ledger``, ``no-egress-log``.
    """
    try:
        found = any(file.exists() for file in (folder.identity, folder.latch, path))
    except OSError:
        # Why it cannot be looked into is told by whoever reads it.
        return
    if not found:
        raise _no_log(path, kind)


def _no_log(path: Path, kind: LogKind[EntryT]) -> InputError:
    return _no_ledger(path) if kind.reason == LEDGER.reason else _no_egress_log(path)


def _no_ledger(path: Path) -> InputError:
    return InputError(
        "no-ledger",
        f"There is no ledger at {path}.",
        culprit=str(path),
        remedy="Give a hospital's folder; it has a ledger once it has taken part in a run, or `secagg budget import` "
        "has put in what an earlier one says.",
    )
