"""The release is what its contributors signed, whatever others say."""

from __future__ import annotations

import msgspec
import pytest

from secagg.errors import ProtocolError
from secagg.release import Contributor, PrivacyClaim, Release
from secagg.release.dsse import attest, read_envelope
from secagg.release.statement import statement_bytes
from tests.support.consortium import make_charter, make_identities, sign_by_all
from training.attestations import assemble_release
from training.messages import Attest

MEMBERS, THRESHOLD = 5, 4
IDENTITIES = make_identities(MEMBERS)
CHARTER = sign_by_all(make_charter(IDENTITIES, threshold=THRESHOLD), IDENTITIES)
RELEASE = Release(
    charter=CHARTER.digest.hex(),
    charter_name=CHARTER.charter.name,
    model_digest=bytes(32).hex(),
    initial_model_digest=CHARTER.charter.model.digest.hex(),
    sums=1,
    rounds=1,
    contributors=tuple(Contributor(f"h{number}", 1) for number in range(1, THRESHOLD + 1)),
    privacy=PrivacyClaim("none", "patient", None, None),
)
TRUE = statement_bytes(b"the model", RELEASE)
ANOTHER = statement_bytes(b"another model", RELEASE)


def signed(number: int, statement: bytes) -> tuple[int, Attest]:
    return number, Attest(statement, attest(statement, IDENTITIES[number - 1]).sig)


CONTRIBUTORS = [signed(number, TRUE) for number in range(1, THRESHOLD + 1)]


def reason(attestations: list[tuple[int, Attest]]) -> str:
    with pytest.raises(ProtocolError) as caught:
        assemble_release(CHARTER, attestations, [])
    return caught.value.reason


def test_what_all_contributors_signed_is_the_release():
    release = read_envelope(assemble_release(CHARTER, CONTRIBUTORS, []))
    assert release.payload == TRUE
    assert len(release.signatures) == THRESHOLD


@pytest.mark.parametrize("statement", [ANOTHER, b"no statement at all"], ids=["another model", "nonsense"])
def test_a_member_that_contributed_to_nothing_cannot_dispute_it(statement):
    release = read_envelope(assemble_release(CHARTER, [signed(MEMBERS, statement), *CONTRIBUTORS], []))
    assert release.payload == TRUE


def test_a_statement_that_names_its_one_signer_as_the_one_contributor_is_no_release():
    own = msgspec.structs.replace(RELEASE, contributors=(Contributor(f"h{MEMBERS}", 1),))
    alone = signed(MEMBERS, statement_bytes(b"its own model", own))
    assert read_envelope(assemble_release(CHARTER, [alone, *CONTRIBUTORS], [])).payload == TRUE
    assert reason([alone]) == "release-incomplete"


def test_a_contributor_that_attests_to_something_else_does_dispute_it():
    with pytest.raises(ProtocolError) as caught:
        assemble_release(CHARTER, [signed(1, ANOTHER), *CONTRIBUTORS[1:]], [])
    assert caught.value.reason == "release-disputed"
    assert "2 different releases: h2, h3, h4 to one, h1 to another." in caught.value.message


def test_without_a_contributors_signature_there_is_none():
    assert reason(CONTRIBUTORS[1:]) == "release-incomplete"
    assert reason([]) == "release-incomplete"
