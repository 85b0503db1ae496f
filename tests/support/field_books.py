"""What must hold in the books of a consortium in the field, whatever happened to its sites."""

from __future__ import annotations

from collections import Counter

from dp.ledger import Kind
from dp.ledger.entries import LEDGER
from secagg.egress import Direction, EgressEntry, read_egress
from secagg.release import verify_release
from secagg.signed_log import read_log
from secagg.transcript import HospitalRecord, audit_folder, compare, lacks_the_end
from tests.support.field import Field
from training.coordinator import TRANSCRIPT
from training.noise import noise_expansion


def sent_by(field: Field, number: int) -> list[EgressEntry]:
    """What a hospital's own log says that it sent."""
    return [entry for entry in _entries(field, number) if entry.direction is Direction.SENT]


def masked_rounds(field: Field, number: int) -> list[int]:
    """Rounds in which a hospital's masked vector may have left."""
    return [entry.round for entry in sent_by(field, number) if entry.stage == "MASKED"]


def charged_rounds(field: Field, number: int) -> list[int]:
    """Rounds that a hospital's ledger has charged."""
    ledger = field.site(number).folder.ledger
    if not ledger.exists():
        return []
    return [entry.round for entry in read_log(ledger, _key(field, number), LEDGER) if entry.kind is Kind.CHARGE]


def assert_nothing_left_twice_or_uncharged(field: Field, private: bool = True) -> None:
    """One masked vector and one set of shares a round at most, and no vector that the ledger does not know."""
    for number in field.hospitals:
        stages = Counter((entry.stage, entry.epoch, entry.round) for entry in sent_by(field, number))
        for (stage, epoch, round_number), times in stages.items():
            if stage in ("MASKED", "REVEAL"):
                assert times == 1, f"hospital {number} sent {stage} {times} times in round {round_number} of {epoch}"
        if private:
            assert set(masked_rounds(field, number)) <= set(charged_rounds(field, number))


def assert_transcript_fits(field: Field) -> None:
    """Every sum is what the messages add up to, and every hospital's own log agrees."""
    expansion = noise_expansion(field.charter.charter)
    audit = audit_folder(field.coordinator.path / "coordinator" / TRANSCRIPT, field.charter, expansion, field.hospitals)
    records = [_record(field, number) for number in field.hospitals]
    findings = [*audit.findings, *(finding for record in records for finding in compare(audit.epochs, record))]
    assert findings == []
    assert not any(lacks_the_end(audit.epochs, record) for record in records)


def released_digest(field: Field, *numbers: int) -> str:
    """The digest of the model that these hospitals (all if none is named) released, each in its own folder."""
    digests = {
        verify_release(field.site(number).release).statement.model_sha256 for number in numbers or field.hospitals
    }
    assert len(digests) == 1
    return digests.pop()


def _entries(field: Field, number: int) -> list[EgressEntry]:
    log = field.site(number).folder.egress
    return list(read_egress(log, _key(field, number))) if log.exists() else []


def _record(field: Field, number: int) -> HospitalRecord:
    return HospitalRecord.read(field.charter.charter.member(number).name, field.charter, _entries(field, number))


def _key(field: Field, number: int) -> bytes:
    return field.charter.charter.member(number).public_key
