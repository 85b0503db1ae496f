"""Who a hospital is: an Ed25519 key pair (RFC 8032), kept in a PKCS#8 PEM file that only its owner can read.

Knows keys and their files. Knows nothing of charters or messages.
"""

from __future__ import annotations

import base64
import stat
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secagg.errors import InputError
from secagg.files import PRIVATE, create_atomically, read_bounded
from secagg.labels import digest, label

PUBLIC_KEY_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64
# Of Ed25519, raw: for the schemas of whatever carries one.
PublicKey = Annotated[bytes, msgspec.Meta(min_length=PUBLIC_KEY_SIZE, max_length=PUBLIC_KEY_SIZE)]
Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_SIZE, max_length=SIGNATURE_SIZE)]
_LARGEST_PEM = 16 * 1024
ENCRYPTED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_PUT_BACK: Final = (
    "Put back a copy of the key. A new one (`secagg identity new`) is no member of any charter that the old one signed."
)
_FINGERPRINT_CHARACTERS = 20
_FIELD: Final = 2**255 - 19
_ORDER_EIGHT: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# The coordinates y of all points whose order divides 8 (Chalkias, Garillot and Nikolaenko 2020, "Taming the many
# EdDSAs", table 1): of order 1, 2, 4, 8 and 8.
_LOW_ORDER: Final = frozenset({1, _FIELD - 1, 0, _ORDER_EIGHT, _FIELD - _ORDER_EIGHT})


def fingerprint(public_key: bytes) -> str:
    """Twenty characters (100 bits) of a public key's hash, in five groups, to compare over the telephone.

    RFC 4648 base32: capitals and the digits 2 to 7, no 0, 1 or 8.
    """
    text = base64.b32encode(digest("identity fingerprint", public_key)).decode()[:_FINGERPRINT_CHARACTERS]
    return "-".join(text[start : start + 4] for start in range(0, _FINGERPRINT_CHARACTERS, 4))


def is_weak(public_key: bytes) -> bool:
    """Whether a public key (32 bytes, raw) is of low order, or not encoded in the one way that RFC 8032 has (5.1.3).

    Under one of low order anybody can sign, and OpenSSL finds such signatures valid: nobody's identity is one.
    """
    y = int.from_bytes(public_key, "little") % 2**255
    return y >= _FIELD or y in _LOW_ORDER


def is_valid_signature(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` (64 bytes) is ``public_key``'s (32 bytes, raw) over ``message``."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


class Identity:
    """A hospital's signing key. Its repr shows the fingerprint and nothing else."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key: bytes = private_key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Identity:
        """A new identity from the operating system's random numbers."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> Identity:
        """The identity of a 32-byte Ed25519 seed: for recorded test vectors."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def fingerprint(self) -> str:
        """The public key's fingerprint."""
        return fingerprint(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of ``message``."""
        return self._private_key.sign(message)

    def derive_key(self, purpose: str) -> bytes:
        """A 32-byte key for this site's own use, the same every time (HKDF-SHA256, RFC 5869): it is never stored."""
        derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=label(purpose))
        return derivation.derive(self._private_key.private_bytes_raw())

    def save(self, path: Path, passphrase: bytes | None = None) -> None:
        """Write the key to a new file, mode 0600, encrypted if a passphrase is given.

        Raises:
            InputError: ``exists`` if there is a file already (a key that is overwritten is lost), ``unwritable``.
        """
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase:
            encryption = serialization.BestAvailableEncryption(passphrase)
        pem = self._private_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        create_atomically(path, pem, PRIVATE)

    @classmethod
    def load(cls, path: Path, passphrase: bytes | None = None) -> Identity:
        """Read a key file.

        Raises:
            InputError: ``unreadable``, ``key-readable-by-others``, ``wrong-passphrase``, ``not-an-identity``.
        """
        pem = read_bounded(path, _LARGEST_PEM)
        _require_private(path)
        try:
            key = serialization.load_pem_private_key(pem, passphrase)
        except TypeError as error:
            if passphrase is None:
                what = "needs a passphrase"
                remedy = "Give the file that holds it: --passphrase-file, or passphrase_file in a site's hospital.toml."
            else:
                what, remedy = "is not encrypted, but a passphrase was given", "Leave the passphrase out."
            raise InputError("wrong-passphrase", f"{path} {what}.", culprit=str(path), remedy=remedy) from error
        except (ValueError, UnsupportedAlgorithm, InternalError) as error:
            # InternalError: of OpenSSL, for a key that is too short for its own algorithm.
            if passphrase and ENCRYPTED in pem:
                raise InputError(
                    "wrong-passphrase",
                    f"{path} cannot be opened with this passphrase.",
                    culprit=str(path),
                    remedy="Give the passphrase that the key was made with; nothing else opens it.",
                ) from error
            raise InputError(
                "not-an-identity",
                f"{path} is not a PKCS#8 PEM key.",
                culprit=str(path),
                remedy=_PUT_BACK,
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise InputError(
                "not-an-identity",
                f"{path} holds another kind of key than Ed25519.",
                culprit=str(path),
                remedy=_PUT_BACK,
            )
        return cls(key)

    def __repr__(self) -> str:
        return f"Identity({self.fingerprint})"


def _require_private(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise InputError(
            "key-readable-by-others",
            f"{path} can be read by others (mode {mode:04o}).",
            culprit=str(path),
            remedy=f"Run `chmod 600 {path}`, and make a new identity if somebody else may have read it.",
        )
