"""The model that belongs to all: a statement about it, signed by every hospital that contributed."""

from secagg.release.dsse import SignedStatement, attest, read_envelope, verify_signatures
from secagg.release.folder import VerifiedRelease, verify_release
from secagg.release.statement import Contributor, PrivacyClaim, Release

__all__ = [
    "Contributor",
    "PrivacyClaim",
    "Release",
    "SignedStatement",
    "VerifiedRelease",
    "attest",
    "read_envelope",
    "verify_release",
    "verify_signatures",
]
