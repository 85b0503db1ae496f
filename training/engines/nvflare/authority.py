"""The consortium's certificate authority, in a folder of the member who provisions. Its key is in no kit.

Whoever has this key can make certificates for anybody, and so take part in what NVFlare carries: not in what is in it,
which hospitals sign and encrypt with keys of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from secagg.errors import InputError
from secagg.files import PRIVATE, create_atomically, read_bounded

KEY_FILE: Final = "root-ca.key"
CERTIFICATE_FILE: Final = "root-ca.pem"
_LARGEST: Final = 64 * 1024


@dataclass(frozen=True)
class Authority:
    """A root certificate and its key."""

    certificate: x509.Certificate
    key: RSAPrivateKey = field(repr=False)

    def certificate_pem(self) -> bytes:
        """The certificate as every kit has it."""
        return self.certificate.public_bytes(Encoding.PEM)


def holds_authority(state: Path) -> bool:
    """Whether there is an authority in ``state``: what is provisioned again has the same."""
    return (state / KEY_FILE).exists()


def save_authority(authority: Authority, state: Path, passphrase: bytes | None) -> None:
    """Write a new authority into ``state``, the key 0600, encrypted if a passphrase is given.

    Raises:
        InputError: ``exists``, ``unwritable``.
    """
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    create_atomically(state / CERTIFICATE_FILE, authority.certificate_pem())
    pem = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    create_atomically(state / KEY_FILE, pem, PRIVATE)


def load_authority(state: Path, passphrase: bytes | None) -> Authority:
    """The authority in ``state``.

    Raises:
        InputError: ``unreadable``, ``bad-authority`` if it is none, or the passphrase does not open it.
    """
    try:
        certificate = x509.load_pem_x509_certificate(read_bounded(state / CERTIFICATE_FILE, _LARGEST))
        key = load_pem_private_key(read_bounded(state / KEY_FILE, _LARGEST), passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad(state) from error
    if not isinstance(key, RSAPrivateKey) or key.public_key() != certificate.public_key():
        raise _bad(state)
    return Authority(certificate, key)


def _bad(state: Path) -> InputError:
    return InputError(
        "bad-authority",
        f"{state} does not hold a certificate authority that can be opened.",
        culprit=str(state),
        remedy="Give the passphrase of its key, or restore the folder as it was.",
    )
