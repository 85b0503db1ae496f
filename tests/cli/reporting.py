"""Reports of a finished run for tests, and the ways in which its records are tampered with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from dp.ledger.entries import LEDGER
from secagg.charter.folder import read_verified
from secagg.identity import Identity
from secagg.log_excerpt import take_excerpt
from secagg.release.checkpoints import CHECKPOINTS_FILE, checkpoints_statement, read_checkpoints
from secagg.release.dsse import assemble, attest
from secagg.transcript import TranscriptWriter
from secagg.transcript.files import checkpoint_files, read_events
from tests.support.shown_records import written_anew
from tests.support.transcripts import with_a_sum_taken_away
from training.hospital_folder import HospitalFolder
from training.noise import noise_expansion
from training.reporting.computing import report_of
from training.reporting.evidence import SignedEvidence, _signed_bytes, gather_for_others, gather_site
from training.reporting.integrity import Integrity, check_site
from training.reporting.records import Sources, gather_records
from training.reporting.report import Report
from training.reporting.sites import read_sites

MEMBERS = ("h1", "h2", "h3", "h4")


def site_report(run: Path, member: str = "h1", release: bool = True):
    """What the officer of one hospital is told."""
    charter = read_verified(run / "charter")
    sources = Sources(run / "release" if release else None)
    sites = read_sites([run / "hospitals" / member], charter, sources.release)
    return report_of(charter, gather_records(charter, sites, sources))


def hiding(run, folder, name, hidden):
    """What a hospital exports that has hashes in the place of some entries of its log, which is valid all the same."""

    def changes(evidence, _identity):
        signed = [(item.entry, item.signature) for item in evidence.egress.shown]
        return {"egress": take_excerpt(signed, lambda entry: not hidden(entry))}

    return _exported_by_a_liar(run, folder, name, changes)


def with_other_entries(run, folder, name, change):
    """What a hospital exports that wrote other entries into its ledger, and signed them."""

    def changes(evidence, identity):
        return {"ledger": written_anew(map(change, evidence.ledger.entries), LEDGER, identity)}

    return _exported_by_a_liar(run, folder, name, changes)


def _exported_by_a_liar(run, folder, name, changes):
    charter, home = read_verified(run / "charter"), HospitalFolder(run / "hospitals" / name)
    identity = Identity.load(home.identity)
    evidence = gather_for_others(home, charter, identity).evidence
    evidence = replace(evidence, **changes(evidence, identity))
    path = folder / f"{name}.json"
    path.write_bytes(SignedEvidence(evidence, identity.sign(_signed_bytes(evidence))).to_json())
    return path


def resigned(run, transcript, signers, sites=None):
    """The checkpoints of a run about another transcript, or of fewer sites, signed by some."""
    charter = read_verified(run / "charter")
    said = read_checkpoints(run / "release", charter)
    statement = checkpoints_statement(charter, sites or said.by_name.values(), transcript(said.transcript))
    identities = [Identity.load(run / "hospitals" / name / "identity.pem") for name in signers]
    signed = assemble(statement, [attest(statement, identity) for identity in identities])
    (run / "release" / CHECKPOINTS_FILE).write_bytes(signed.to_json())


def rewrite(run, number, **options):
    """The coordinator writes that a round gave no sum, and has the hospitals sign for that transcript."""
    folder, charter = run / "coordinator/transcript", read_verified(run / "charter")
    (path,) = folder.glob("epoch-000001.transcript")
    expansion = noise_expansion(charter.charter)
    written = with_a_sum_taken_away(list(read_events(path, 1 << 20)), charter, number, expansion, **options)
    path.unlink()
    write = TranscriptWriter(folder, 1)
    for event in written:
        write(event)
    resigned(run, lambda files: checkpoint_files(folder), ("h1", "h2", "h3", "h4"))


class Officer:
    """Looks at one hospital's logs again and again, as a report does, and knows charter and checkpoints by heart."""

    def __init__(self, run: Path, member: str = "h1") -> None:
        self._charter = read_verified(run / "charter")
        self._folder = HospitalFolder(run / "hospitals" / member)
        self._identity = Identity.load(self._folder.identity)
        self.checkpoints = read_checkpoints(run / "release", self._charter)
        self.own = self.checkpoints.by_name[member]

    def look(self, checkpoints: bool = True) -> Integrity:
        """What is found now; without checkpoints, what a site that has key and latch could hide."""
        integrity = Integrity()
        evidence = gather_site(self._folder, self._charter, self._identity, self.checkpoints).evidence
        check_site(evidence, self._charter, self.checkpoints if checkpoints else None, integrity)
        return integrity


def reasons(report: Report | Integrity) -> set[str]:
    return {finding.reason for finding in report.findings}


@contextmanager
def restored(*paths: Path) -> Iterator[None]:
    """Whatever is done in here to these files is undone; what SQLite leaves beside them is removed."""
    before = {path: path.read_bytes() for path in paths}
    try:
        yield
    finally:
        for path, data in before.items():
            path.write_bytes(data)
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


Rows = list[tuple[int, bytes, bytes]]
Tampering = Callable[[Rows, int], Rows]


def numbered(pairs: list[tuple[bytes, bytes]]) -> Rows:
    return [(number, *pair) for number, pair in enumerate(pairs, start=1)]


def pairs_of(entries: Rows) -> list[tuple[bytes, bytes]]:
    return [(body, signature) for _, body, signature in entries]


def alter_body(entries: Rows, at: int) -> Rows:
    sequence, body, signature = entries[at]
    return [*entries[:at], (sequence, flipped(body, (7 * at) % len(body)), signature), *entries[at + 1 :]]


def alter_signature(entries: Rows, at: int) -> Rows:
    sequence, body, signature = entries[at]
    return [*entries[:at], (sequence, body, flipped(signature, (7 * at) % 64)), *entries[at + 1 :]]


def remove(entries: Rows, at: int) -> Rows:
    pairs = pairs_of(entries)
    return numbered(pairs[:at] + pairs[at + 1 :])


def reorder(entries: Rows, at: int) -> Rows:
    pairs = pairs_of(entries)
    other = (at + 1) % len(pairs)
    pairs[at], pairs[other] = pairs[other], pairs[at]
    return numbered(pairs)


def duplicate(entries: Rows, at: int) -> Rows:
    pairs = pairs_of(entries)
    return numbered(pairs[: at + 1] + pairs[at:])


def append_with_another_key(entries: Rows, at: int) -> Rows:
    """After each entry, one that is the next but for its key."""
    _, body, _ = entries[at]
    forged = (body, Identity.generate().sign(body))
    return numbered([*pairs_of(entries)[: at + 1], forged])


TAMPERINGS: tuple[Tampering, ...] = (
    alter_body,
    alter_signature,
    remove,
    reorder,
    duplicate,
    append_with_another_key,
)
