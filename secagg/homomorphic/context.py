"""What a hospital says it encrypts under, and what it must not hand out with it: a key.

Knows how SEAL's and TenSEAL's serializations begin; gives neither of them a byte from outside. Knows nothing of
protocols.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from secagg.errors import RemoteProtocolError, TamperingError
from secagg.homomorphic.parameters import Encryption
from secagg.homomorphic.seal import HEADER_START
from secagg.homomorphic.spec import CipherSpec
from secagg.labels import label

# Of TenSEAL's TenSEALContextProto: its private part, and the secret key in that.
_PRIVATE_CONTEXT: Final = 3
_SECRET_KEY: Final = 1
_LONGEST_VARINT: Final = 10
# A context has a dozen. Of as many as go into a message, some seconds would be spent.
_MOST_FIELDS: Final = 100


def public_context(spec: CipherSpec) -> bytes:
    """Scheme, N, q and plain modulus (0 under CKKS), as a label: no key is in them. The same for everybody."""
    # Not as SEAL serializes them: each modulus has SEAL's version before it. `make_context` sees that SEAL's q is this.
    plain_modulus = 1 << spec.bits if spec.encryption is Encryption.BFV else 0
    chosen = spec.parameters
    return label("homomorphic parameters", spec.encryption, chosen.degree, chosen.modulus, plain_modulus)


def check_context(data: bytes, spec: CipherSpec, sender: str) -> None:
    """Refuse a context that is not what `public_context` gives.

    Raises:
        TamperingError: ``key-material``, if there is a secret key in it, or anything that SEAL saved. Who receives it
            must not go on: with the hospitals' secret it could read what they send.
        RemoteProtocolError: ``other-context``.
    """
    if data == public_context(spec):
        return
    if _may_hold_secret(data):
        raise TamperingError(
            "key-material",
            f"{sender} sent the coordinator a secret key, or what SEAL would have to be asked to tell from one.",
            culprit=sender,
            remedy="Delete what was received, and start again with a hospital that keeps its keys: "
            "the coordinator must hold none.",
        )
    raise RemoteProtocolError(
        "other-context",
        f"{sender} encrypts under other parameters than the charter's.",
        culprit=sender,
        remedy="All members, and the coordinator, need the same release of secagg.",
    )


def _may_hold_secret(data: bytes) -> bool:
    """Whether it is a context of TenSEAL with a secret key, or anything saved by SEAL: no honest context begins so."""
    # Neither library is asked. With a secret key TenSEAL makes all Galois keys that a context says it had, gigabytes of
    # them for a context of 250 bytes; and SEAL 4.1, of TenSEAL 0.3.16, inflates what a header calls compressed as a
    # whole, 32 KiB out of each byte, before it looks at any of it.
    keys = (key for private in _contents(data, _PRIVATE_CONTEXT) for key in _contents(private, _SECRET_KEY))
    return any(saved.startswith(HEADER_START) for saved in (data, *keys))


def _contents(data: bytes, number: int) -> Iterator[bytes]:
    """What those of the first fields hold that are called ``number``, of a Protocol Buffers message if it is one."""
    position = 0
    for _ in range(_MOST_FIELDS):
        if position >= len(data):
            return
        tag, position = _varint(data, position)
        match tag & 7:
            case 0:
                _, position = _varint(data, position)
            case 1:
                position += 8
            case 2:
                size, position = _varint(data, position)
                if tag >> 3 == number:
                    yield data[position : position + size]
                position += size
            case 5:
                position += 4
            case _:
                return


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at ``position``, and where it ends; the end of ``data`` where there is none."""
    value = 0
    for place, byte in enumerate(data[position : position + _LONGEST_VARINT]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, position + place + 1
    return 0, len(data)
