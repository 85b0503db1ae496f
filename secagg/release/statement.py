"""What is said about a released model: an in-toto Statement (v1) with our own predicate.

Knows the statement's fields and bytes. Every hospital makes it by itself from what it saw; because its bytes are
canonical, hospitals that saw the same sign the same.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Literal

import msgspec

from secagg.charter.names import Name
from secagg.charter.sections import PrivacyMode
from secagg.json_documents import MALFORMED
from secagg.release.unusable import unusable
from secagg.signed_log import Sha256

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "tag:secagg,2026:release/v1"
MODEL_FILE: Final = "model.safetensors"


class Contributor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A hospital whose update is in at least one sum, and in how many."""

    name: Name
    sums: Annotated[int, msgspec.Meta(ge=1)]


class PrivacyClaim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What differential privacy the model has towards each patient; ``epsilon`` is None where it has none.

    Attributes:
        unit: a patient is what the charter's task counts as one, which may be a row.
    """

    mode: PrivacyMode
    unit: Literal["patient"]
    epsilon: float | None
    delta: float | None


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The predicate.

    Attributes:
        charter: hash of the charter, hexadecimal.
        model_digest: of the parameters, the digest that the last masks would have been bound to.
        initial_model_digest: the one the charter names.
        sums: how many sums were applied.
        rounds: how many rounds were run for them; more than ``sums`` if some had too few survivors.
    """

    charter: Sha256
    charter_name: Name
    model_digest: Sha256
    initial_model_digest: Sha256
    sums: Annotated[int, msgspec.Meta(ge=0)]
    rounds: Annotated[int, msgspec.Meta(ge=0)]
    contributors: tuple[Contributor, ...]
    privacy: PrivacyClaim


class _Digest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sha256: Sha256


class _Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Literal["model.safetensors"]
    digest: _Digest


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"type": "_type"}):
    """The in-toto envelope around the predicate."""

    type: Literal["https://in-toto.io/Statement/v1"]
    subject: tuple[_Subject]
    predicateType: Literal["tag:secagg,2026:release/v1"]  # noqa: N815 - in-toto's name
    predicate: Release

    @property
    def model_sha256(self) -> str:
        """SHA-256 of the model file, hexadecimal."""
        return self.subject[0].digest.sha256


def statement_bytes(model_file: bytes, release: Release) -> bytes:
    """The canonical bytes of the statement about ``model_file``: JSON, sorted keys, no white space."""
    subject = _Subject("model.safetensors", _Digest(hashlib.sha256(model_file).hexdigest()))
    statement = Statement(STATEMENT_TYPE, (subject,), PREDICATE_TYPE, release)
    return msgspec.json.encode(statement, order="sorted")


def read_statement(data: bytes, source: str = "The release") -> Statement:
    """Parse a statement.

    Args:
        source: the file, for the error.

    Raises:
        TamperingError: ``malformed-statement``.
    """
    try:
        return msgspec.json.decode(data, type=Statement)
    except MALFORMED as error:
        what = f"{source} holds no statement that can be read: {error}."
        raise unusable("malformed-statement", what, source) from error
