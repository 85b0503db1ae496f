"""The release is what its contributors signed, whatever others say."""

from __future__ import annotations

import msgspec
import pytest

from secagg.errors import ProtocolError
from secagg.masking.messages import Refusal
from secagg.release import Contributor, PrivacyClaim, Release
from secagg.release.dsse import attest, read_envelope
from secagg.release.statement import statement_bytes
from secagg.wire import Sealer, Stage
from tests.support.consortium import make_charter, make_identities, sign_by_all
from training.attestations import assemble_release, read_attestations
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


def signed(number: int, statement: bytes) -> dict[int, Attest]:
    return {number: Attest(statement, attest(statement, IDENTITIES[number - 1]).sig)}


def all_but(*left_out: int) -> dict[int, Attest]:
    """The attestations of the contributors."""
    numbers = [number for number in range(1, THRESHOLD + 1) if number not in left_out]
    return {number: attestation for each in numbers for number, attestation in signed(each, TRUE).items()}


CONTRIBUTORS = all_but()


def reason(attestations: dict[int, Attest]) -> str:
    with pytest.raises(ProtocolError) as caught:
        assemble_release(CHARTER, attestations, [])
    return caught.value.reason


def test_what_all_contributors_signed_is_the_release():
    release = read_envelope(assemble_release(CHARTER, CONTRIBUTORS, []))
    assert release.payload == TRUE
    assert len(release.signatures) == THRESHOLD


@pytest.mark.parametrize("statement", [ANOTHER, b"no statement at all"], ids=["another model", "nonsense"])
def test_a_member_that_contributed_to_nothing_cannot_dispute_it(statement):
    release = read_envelope(assemble_release(CHARTER, signed(MEMBERS, statement) | CONTRIBUTORS, []))
    assert release.payload == TRUE


def test_a_statement_that_names_its_one_signer_as_the_one_contributor_is_no_release():
    own = msgspec.structs.replace(RELEASE, contributors=(Contributor(f"h{MEMBERS}", 1),))
    alone = signed(MEMBERS, statement_bytes(b"its own model", own))
    assert read_envelope(assemble_release(CHARTER, alone | CONTRIBUTORS, [])).payload == TRUE
    assert reason(alone) == "release-incomplete"


def test_a_contributor_that_attests_to_something_else_does_dispute_it():
    with pytest.raises(ProtocolError) as caught:
        assemble_release(CHARTER, signed(1, ANOTHER) | all_but(1), [])
    assert caught.value.reason == "release-disputed"
    assert "2 different releases: h2, h3, h4 to one, h1 to another." in caught.value.message


def test_without_a_contributors_signature_there_is_none():
    assert reason(all_but(1)) == "release-incomplete"
    assert reason({}) == "release-incomplete"


# What is told of refusals


def refused(number: int, message: str) -> tuple[int, bytes]:
    sealer = Sealer(CHARTER, number, IDENTITIES[number - 1], 0)
    return number, sealer.seal(Stage.REFUSAL, Refusal("no", message))


def told(inbox: list[tuple[int, bytes]]) -> str:
    with pytest.raises(ProtocolError) as caught:
        assemble_release(CHARTER, *read_attestations(CHARTER, inbox))
    return caught.value.message


def test_of_one_that_refuses_thousands_of_times_the_last_is_told():
    message = told([refused(1, f"{count} {'no ' * 300}") for count in range(1000)])
    assert "h1: 999 no" in message
    assert len(message) < 500


def test_who_attests_many_times_is_heard_once():
    attestation = Sealer(CHARTER, 1, IDENTITIES[0], 0).seal(Stage.ATTEST, signed(1, TRUE)[1])
    attestations, refusals = read_attestations(CHARTER, [(1, attestation)] * 100)
    assert (attestations, refusals) == (signed(1, TRUE), [])


def test_those_who_refuse_alike_are_told_together_and_no_more_than_three_that_differ():
    message = told(
        [refused(1, "first"), refused(2, "second"), refused(3, "first"), refused(4, "third"), refused(5, "4th")]
    )
    assert message.endswith("h1, h3: first; h2: second; h4: third")
