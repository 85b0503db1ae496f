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
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from secagg.errors import InputError
from secagg.files import PRIVATE, create_atomically, read_bounded, remove_leftovers, sync, unwritable, write_atomically
from secagg.identity import ENCRYPTED

KEY_FILE: Final = "root-ca.key"
CERTIFICATE_FILE: Final = "root-ca.pem"
# The certificate, until its key is there: who is killed in between has half of a pair, which nobody takes for lost.
_PENDING: Final = "root-ca.pem.new"
_LARGEST: Final = 64 * 1024
_ANEW: Final = "move it away and provision again: every party then needs a new kit."


@dataclass(frozen=True)
class Authority:
    """A root certificate and its key."""

    certificate: x509.Certificate
    key: RSAPrivateKey = field(repr=False)

    def certificate_pem(self) -> bytes:
        """The certificate as every kit has it."""
        return self.certificate.public_bytes(Encoding.PEM)


def holds_authority(state: Path) -> bool:
    """Whether there is an authority in ``state``, whole or not: what is provisioned again has the same."""
    return (state / KEY_FILE).exists() or (state / CERTIFICATE_FILE).exists()


def save_authority(authority: Authority, state: Path, passphrase: bytes | None) -> None:
    """Write a new authority into ``state``, the key 0600, encrypted if a passphrase is given.

    Cut off anywhere, there is none in ``state``, or one that `load_authority` gives. For who alone writes there.

    Raises:
        InputError: ``exists``, ``unwritable``.
    """
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    pem = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (_PENDING, KEY_FILE):
        remove_leftovers(state / name)
    write_atomically(state / _PENDING, authority.certificate_pem())
    create_atomically(state / KEY_FILE, pem, PRIVATE)
    _complete(state)


def load_authority(state: Path, passphrase: bytes | None) -> Authority:
    """The authority in ``state``.

    Raises:
        InputError: ``unreadable``, ``wrong-passphrase``, ``bad-authority`` if it is none, ``unwritable``.
    """
    if not (state / KEY_FILE).exists():
        raise _bad(state)
    if not (state / CERTIFICATE_FILE).exists():
        _complete(state)
    try:
        certificate = x509.load_pem_x509_certificate(read_bounded(state / CERTIFICATE_FILE, _LARGEST))
    except ValueError as error:
        raise _bad(state) from error
    key = _read_key(state, passphrase)
    if not isinstance(key, RSAPrivateKey) or key.public_key() != certificate.public_key():
        raise _bad(state)
    return Authority(certificate, key)


def _complete(state: Path) -> None:
    """Give the certificate its name, with its key there."""
    try:
        (state / _PENDING).rename(state / CERTIFICATE_FILE)
        sync(state)
    except FileNotFoundError as error:
        raise _bad(state) from error
    except OSError as error:
        raise unwritable(state / CERTIFICATE_FILE, error) from error


def _read_key(state: Path, passphrase: bytes | None) -> PrivateKeyTypes:
    pem = read_bounded(state / KEY_FILE, _LARGEST)
    try:
        return load_pem_private_key(pem, passphrase)
    except TypeError as error:
        raise (_not_encrypted(state) if passphrase else _locked(state)) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise (_not_opened(state) if passphrase and ENCRYPTED in pem else _bad(state)) from error


def _locked(state: Path) -> InputError:
    return _wrong_passphrase(state, "needs a passphrase", "Give the file that holds it with --passphrase-file.")


def _not_encrypted(state: Path) -> InputError:
    return _wrong_passphrase(state, "is not encrypted, but a passphrase was given", "Leave the passphrase out.")


def _not_opened(state: Path) -> InputError:
    remedy = f"Give the passphrase that the authority was made with; nothing else opens it. Without it, {_ANEW}"
    return _wrong_passphrase(state, "cannot be opened with this passphrase", remedy)


def _wrong_passphrase(state: Path, what: str, remedy: str) -> InputError:
    path = state / KEY_FILE
    return InputError("wrong-passphrase", f"{path} {what}.", culprit=str(path), remedy=remedy)


def _bad(state: Path) -> InputError:
    return InputError(
        "bad-authority",
        f"{state} does not hold a certificate authority.",
        culprit=str(state),
        remedy=f"Restore the folder as it was. Without a copy, {_ANEW}",
    )
