"""The protocol's document says what the code does, where that can be compared."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import pytest
from msgspec.structs import fields

from docs import generate as document
from secagg.charter.encryption import terms_of
from secagg.charter.sections import ENCRYPTED_SCHEMES
from secagg.encoding.ring import Ring
from secagg.homomorphic.form import form_of
from secagg.homomorphic.parameters import (
    ALLOWED,
    SECURE_MODULUS_BITS,
    approximate_plain_bits,
    encryption_noise_bound,
    exact_plain_bits,
    noise_bound,
)
from secagg.log_excerpt import LogCheckpoint
from secagg.masking import messages as masking_messages
from secagg.masking.limits import payload_limit
from secagg.release import Contributor, PrivacyClaim
from secagg.release import Release as ReleasePredicate
from secagg.release.checkpoints import Checkpoints, SiteCheckpoint
from secagg.transcript.files import FileCheckpoint
from secagg.wire import Stage
from secagg.wire.envelope import Header
from tests.vectors import generate
from training.messages import (
    AskSnapshot,
    Attest,
    Checkpoint,
    Conclude,
    Cosign,
    Cosigned,
    Endorsed,
    Query,
    Release,
    Snapshot,
    Status,
    Witness,
)

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "protocol.md").read_text(encoding="utf-8")
POLICY = (REPOSITORY / "docs" / "policy.md").read_text(encoding="utf-8")
ENCRYPTION = (REPOSITORY / "docs" / "encryption.md").read_text(encoding="utf-8")
MODULES = [
    *(REPOSITORY / "secagg" / "masking").glob("*.py"),
    *(REPOSITORY / "secagg" / "wire").glob("*.py"),
    REPOSITORY / "secagg" / "latch.py",
    REPOSITORY / "secagg" / "encoding" / "packing.py",
]


def raised_reasons(module: Path) -> set[str]:
    """The first argument, where it is a literal, of everything called like an error, or where too few answered."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func)
            if re.search(r"(Error|_too_few)$", called) and isinstance(node.args[0].value, str):
                found.add(node.args[0].value)
    return {reason for reason in found if re.fullmatch(r"[a-z]+(-[a-z]+)*", reason)}


def documented_reasons() -> set[str]:
    table = DOCUMENT.split("## Reasons")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE))


def test_every_reason_that_the_protocol_gives_is_in_the_table():
    raised = set().union(*(raised_reasons(module) for module in MODULES))
    assert len(raised) > 30
    assert raised - documented_reasons() == set()


def test_every_reason_in_the_table_is_one_that_the_protocol_gives():
    raised = set().union(*(raised_reasons(module) for module in MODULES))
    elsewhere = {"unwritable", "state-in-use", "unknown-member"}
    assert documented_reasons() - raised - elsewhere == set()


def test_the_diagrams_are_those_of_the_tables():
    assert document.refreshed(DOCUMENT) == DOCUMENT, "run python -m docs.generate"
    for lines in document.diagrams().values():
        assert f"```mermaid\n{lines}\n```\n" in DOCUMENT


def test_generating_again_mends_a_diagram_and_leaves_the_rest():
    stale = DOCUMENT.replace("idle --> advertised: OPEN\n", "").replace("(give", "(gave")
    assert stale != DOCUMENT
    assert document.refreshed(stale) == DOCUMENT.replace("(give", "(gave")


def test_a_document_without_a_place_for_a_diagram_is_refused():
    with pytest.raises(ValueError, match="client"):
        document.refreshed(DOCUMENT.replace("<!-- client -->", ""))


@pytest.mark.parametrize("stage", Stage, ids=lambda stage: stage.name)
def test_every_stage_is_listed_with_its_number_and_its_sender(stage):
    sender = "coordinator" if stage.sent_by_coordinator else "hospital"
    assert f"| {stage.value} | {stage.name} | {sender} |" in DOCUMENT


def fields_of(payload: type) -> list[str]:
    return list(payload.__struct_fields__)


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage <= Stage.REFUSAL], ids=lambda stage: stage.name)
def test_every_payload_of_the_protocol_is_listed_field_by_field_in_order(stage):
    (row,) = re.findall(rf"^\| {stage.name} \| (.*: (?:int|str|bin|array).*) \|$", DOCUMENT, re.MULTILINE)
    assert re.findall(r"(\w+): (?:int|str|bin|array)", row) == fields_of(getattr(masking_messages, stage.name.title()))


AROUND = {Stage.STATUS: Status, Stage.CONCLUDE: Conclude, Stage.ATTEST: Attest, Stage.RELEASE: Release}
AROUND |= {Stage.QUERY: Query, Stage.MISSED_SUM: masking_messages.Sum, Stage.ENDORSED: Endorsed}
AROUND |= {Stage.ASK_SNAPSHOT: AskSnapshot, Stage.SNAPSHOT: Snapshot, Stage.CHECKPOINT: Checkpoint}
AROUND |= {Stage.WITNESS: Witness, Stage.COSIGN: Cosign, Stage.COSIGNED: Cosigned}


@pytest.mark.parametrize("stage", AROUND, ids=lambda stage: stage.name)
def test_every_payload_around_the_protocol_is_listed_field_by_field_in_order(stage):
    (row,) = re.findall(rf"^\| {stage.value} \| {stage.name} \|.*\| ([^|]*) \|$", DOCUMENT, re.MULTILINE)
    assert re.findall(r"(\w+): (?:int|str|bin|array|bool)", row) == fields_of(AROUND[stage])


STATED = [ReleasePredicate, Contributor, PrivacyClaim, Checkpoints, SiteCheckpoint, LogCheckpoint, FileCheckpoint]


@pytest.mark.parametrize("stated", STATED, ids=lambda stated: stated.__name__)
def test_every_field_of_the_statements_is_shown(stated):
    shown = DOCUMENT.split("### The statements")[1].split("\n### ")[0]
    assert [field.encode_name for field in fields(stated) if f'"{field.encode_name}": ' not in shown] == []


@pytest.mark.parametrize("field", Header.__struct_fields__)
def test_every_field_of_the_header_is_listed_at_its_place(field):
    assert f"| {Header.__struct_fields__.index(field)} | {field} |" in DOCUMENT


@pytest.mark.parametrize(
    ("charter", "n", "rounds", "noise"),
    [(generate.make_charter, 4, 2, 0), (generate.make_noise_charter, 5, 3, 2)],
    ids=["without noise", "with noise"],
)
def test_the_size_bounds_are_those_of_the_document(charter, n, rounds, noise):
    session = generate.make_session(charter())
    vector = session.vector_bytes
    advertise, deal = 32 * (2 + noise) * rounds + 128, 64 * (2 + noise) * rounds + 152
    assert {stage: payload_limit(session, stage) for stage in Stage if stage <= Stage.REFUSAL} == {
        Stage.OPEN: 4096,
        Stage.ADVERTISE: advertise,
        Stage.ROSTER: n * (advertise + 515) + 8,
        Stage.DEAL: deal,
        Stage.DEALS: n * (deal + 512),
        Stage.BEGIN: 4096,
        Stage.MASKED: vector + 16 * noise + 128,
        Stage.PROPOSE: 5 * n + 64,
        Stage.AGREE: 4096,
        Stage.UNMASK: 83 * n + 96,
        Stage.REVEAL: 32 * (1 + noise) * n + 144,
        Stage.SUM: vector + 5 * n + 128,
        Stage.ABORT: 4096,
        Stage.REFUSAL: 4096,
    }


# --- The encrypted schemes -----------------------------------------------------------------------------------

ENCRYPTED = {
    "ACKNOWLEDGE": masking_messages.Acknowledge,
    "REVEAL": masking_messages.SealedReveal,
    "SUM": masking_messages.EncryptedSum,
}
# The order of the fields that a sentence below the table gives.
NESTED = {"contribution": masking_messages.Contribution, "reveal": masking_messages.ResponderReveal}


@pytest.mark.parametrize("name", ENCRYPTED)
def test_every_payload_of_the_encrypted_schemes_is_listed_field_by_field_in_order(name):
    (row,) = re.findall(rf"^\| {name} \| (.*: (?:int|str|bin|array).*) \|$", ENCRYPTION, re.MULTILINE)
    assert re.findall(r"(\w+): (?:int|str|bin|array)", row) == fields_of(ENCRYPTED[name])


@pytest.mark.parametrize("name", NESTED)
def test_every_array_within_an_encrypted_sum_is_described_in_order(name):
    (told,) = re.findall(rf"[Aa] {name}\s+is the array of ([^.;]*)", ENCRYPTION)
    assert re.findall(r"(\w+) \((?:int|bin)", told) == fields_of(NESTED[name])


def test_the_size_bounds_of_the_encrypted_schemes_are_those_of_the_document():
    for scheme in sorted(ENCRYPTED_SCHEMES):
        session = generate.make_session(generate.make_charter(scheme))
        n, rounds = 4, session.secret_rounds
        reveals = 32 * n * n + 32 * n if scheme == "double-lock" else 0
        assert payload_limit(session, Stage.ACKNOWLEDGE) == 2**20 + 48
        assert payload_limit(session, Stage.ADVERTISE) == 64 * rounds + 128
        assert payload_limit(session, Stage.DEAL) == 128 * rounds + 152
        assert payload_limit(session, Stage.MASKED) == session.form.fresh_size + 128
        assert payload_limit(session, Stage.REVEAL) == 32 * n + 144
        assert payload_limit(session, Stage.SUM) == session.form.sum_size + 117 * n + reveals + 128
    assert "| SUM, `ckks` and `bfv` | sum + 117·n + 128 |" in ENCRYPTION
    assert "| SUM, `double-lock` | sum + 32·n² + 149·n + 128 |" in ENCRYPTION


def test_the_parameter_sets_are_those_of_the_document():
    rows = re.findall(r"^\| `(\S+)` \| (\d+) \| (\d+), (\d+) bits \| (\d+) bits \|$", ENCRYPTION, re.MULTILINE)
    assert {name: tuple(map(int, numbers)) for name, *numbers in rows} == {
        name: (chosen.degree, chosen.modulus, chosen.modulus_bits, SECURE_MODULUS_BITS[chosen.degree])
        for name, chosen in ALLOWED.items()
    }


def labels_in(source: str) -> set[str]:
    """What is given to ``context``, ``label`` or ``digest`` as the purpose, in code or in a document."""
    return set(re.findall(r"\b(?:context|label|digest)\(\"([a-z ]+)\"", source))


def test_every_label_is_in_the_code_and_in_a_document():
    code = "".join(module.read_text(encoding="utf-8") for module in (REPOSITORY / "secagg").rglob("*.py"))
    assert labels_in(ENCRYPTION + POLICY) - labels_in(code) == set()
    assert labels_in(code) - labels_in(ENCRYPTION) - labels_in(DOCUMENT) - labels_in(POLICY) == set()


def test_the_bound_in_the_document_is_the_one_in_the_code():
    for hospitals, coefficients in ((3, 4096), (100, 2_004_096), (1000, 2_004_096), (1, 1)):
        exponent = math.log(2 * coefficients) + 40 * math.log(2)
        bound = min(math.ceil(math.sqrt(21 * hospitals * exponent)), 21 * hospitals) + math.ceil(hospitals / 2)
        assert noise_bound(hospitals, coefficients) == bound
        assert encryption_noise_bound(hospitals, coefficients) == bound - math.ceil(hospitals / 2)
    for told in ("50 for up to about 190 hospitals and 48 for", "49 for 100 hospitals and 48 for"):
        assert f"{told}\n1,000, at a million parameters" in ENCRYPTION
    small = ALLOWED["n4096-q60"]
    assert [exact_plain_bits(small, n, 2_004_096) for n in (190, 192, 1000)] == [50, 49, 48]
    assert [approximate_plain_bits(small, n, 2_004_096) for n in (100, 1000)] == [49, 48]


def test_the_margin_of_ckks_in_the_document_is_the_one_in_the_code():
    assert "100 hospitals B' is 296, where 1,024 would do harm; with 1,000 it is 935" in ENCRYPTION
    for hospitals, bound in ((100, 296), (1000, 935)):
        found = terms_of(form_of("ckks", "n8192-q60", Ring(24), 1_000_000, hospitals))
        assert (found.deviation, found.room) == (bound, 1024)
