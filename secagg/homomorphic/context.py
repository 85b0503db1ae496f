"""What a hospital says it encrypts under, as SEAL serializes it, and what it must not hand out with it: a key.

Knows SEAL's and TenSEAL's serializations. Knows nothing of protocols.
"""

from __future__ import annotations

import tenseal
from tenseal import sealapi

from secagg.errors import RemoteProtocolError, TamperingError
from secagg.homomorphic.seal import Channel, encryption_parameters, make_context
from secagg.homomorphic.spec import CipherSpec


def public_context(spec: CipherSpec) -> bytes:
    """The encryption parameters: no key is in them. The same for everybody."""
    channel = Channel(0)
    try:
        return channel.content(encryption_parameters(spec.parameters, spec.encryption, spec.bits))
    finally:
        channel.close()


def check_context(data: bytes, spec: CipherSpec, sender: str) -> None:
    """Refuse a context that is not what `public_context` gives.

    Raises:
        TamperingError: ``key-material``, if there is a secret key in it. Who receives it must not go on: with the
            hospitals' secret it could read what they send.
        RemoteProtocolError: ``other-context``.
    """
    if data == public_context(spec):
        return
    if _holds_secret(data, spec):
        raise TamperingError(
            "key-material",
            f"{sender} sent the coordinator a context with a secret key.",
            culprit=sender,
            remedy="Delete what was received, and start again with a hospital that keeps its keys: "
            "the coordinator must hold none.",
        )
    raise RemoteProtocolError(
        "other-context",
        f"{sender} encrypts under other parameters than the charter's.",
        culprit=sender,
        remedy="All members need releases of secagg and TenSEAL that agree.",
    )


def _holds_secret(data: bytes, spec: CipherSpec) -> bool:
    """Whether it is a context of TenSEAL with its secret key, or a secret key of SEAL."""
    try:
        return bool(tenseal.context_from(data).is_private())
    except (ValueError, RuntimeError):
        pass
    channel = Channel(len(data))
    try:
        channel.load_raw(sealapi.SecretKey(), make_context(spec.parameters, spec.encryption, spec.bits), data)
    except (ValueError, RuntimeError):
        return False
    finally:
        channel.close()
    return True
