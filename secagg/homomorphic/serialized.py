"""How SEAL lays out ciphertexts and plaintexts of one prime modulus: what surrounds their residues and coefficients.

Knows bytes, and that a later release might write them otherwise. Knows no key.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any, Final

import numpy as np

from secagg.errors import InputError, RemoteProtocolError
from secagg.homomorphic.parameters import Encryption
from secagg.homomorphic.seal import Channel, header, sealapi
from secagg.homomorphic.spec import SEED_SIZE, CipherSpec
from secagg.homomorphic.words import Words

_CIPHERTEXT: Final = struct.Struct("<4Q?QQQdQ")
_PLAINTEXT: Final = struct.Struct("<4QQd")
_COUNT: Final = struct.Struct("<Q")
_ARRAY_HEAD: Final = 16 + 8
# SEAL's mark of the generator that its seeds belong to: Blake2xb.
_GENERATOR: Final = b"\x01"
# SHA-256 of the first 4096 residues that it gives of a seed of zeros.
_EXPANDED: Final = "5328a74c90c4a4d464bc9eeac2b9f261c9164c2f6b9ddd48c06f3aced4474444"
_EXPANDED_COUNT: Final = 4096
_NO_CONTEXT: Final = (0, 0, 0, 0)


class CiphertextFormat:
    """What surrounds the residues in SEAL's serialization of a ciphertext under one context.

    Raises:
        InputError: ``other-tenseal``, if SEAL does not write its objects as we do, or expands seeds to something else.
    """

    def __init__(self, spec: CipherSpec, context: Any, channel: Channel) -> None:
        degree = spec.parameters.degree
        is_ckks = spec.encryption is Encryption.CKKS
        scale = 2.0**spec.scale_bits if is_ckks else 1.0

        def before(is_transformed: bool, residues: int) -> bytes:
            head = _CIPHERTEXT.pack(*context.first_parms_id(), is_transformed, 2, degree, 1, scale, 1)
            return head + _array_head(residues)

        self.before_fresh = before(is_ckks, degree)
        self.before_sum = before(is_ckks, 2 * degree)
        self.before_coefficients = before(False, 2 * degree)
        self.before_seed = header(len(_GENERATOR) + SEED_SIZE) + _GENERATOR
        blank = sealapi.Ciphertext(context)
        blank.resize(context, context.first_parms_id(), 2)
        blank.scale = scale
        if not channel.content(blank).startswith(self.before_coefficients):
            raise _other_tenseal("writes ciphertexts in another form than this release of secagg reads")
        channel.load(blank, context, self.before_fresh, bytes(8 * degree), self.before_seed, bytes(SEED_SIZE))
        expanded = residues_in(channel.content(blank), 2 * degree)[degree:][:_EXPANDED_COUNT]
        if hashlib.sha256(expanded.data).hexdigest() != _EXPANDED:
            raise _other_tenseal("expands the seed of a ciphertext to another polynomial than this release of secagg")

    def seed_in(self, content: bytes) -> bytes:
        """The seed at the end of a ciphertext that SEAL has encrypted here.

        Raises:
            InputError: ``other-tenseal``, if it belongs to another generator than the one it will be expanded by.
        """
        if not content.endswith(self.before_seed, 0, -SEED_SIZE):
            raise _other_tenseal("draws ciphertexts from seeds of another generator than Blake2xb")
        return content[-SEED_SIZE:]


def plaintext_head(count: int, transformed_under: tuple[int, ...] = _NO_CONTEXT, scale: float = 1.0) -> bytes:
    """What is before the coefficients of a plaintext, or before the residues of one that is transformed.

    Args:
        transformed_under: the context's parameters, as SEAL numbers them, if it is.
    """
    return _PLAINTEXT.pack(*transformed_under, count, scale) + _array_head(count)


def residues_in(content: bytes, count: int) -> Words:
    """The first ``count`` residues in a ciphertext that SEAL wrote."""
    return np.frombuffer(content, "<u8", count, _CIPHERTEXT.size + _ARRAY_HEAD)


def coefficients_in(content: bytes) -> Words:
    """All coefficients, or residues, in a plaintext that SEAL wrote: it leaves zeros at the end away."""
    return np.frombuffer(content, "<u8", offset=_PLAINTEXT.size + _ARRAY_HEAD)


def load_ciphertext(channel: Channel, item: Any, context: Any, *parts: bytes | memoryview) -> None:
    """Have SEAL load a ciphertext from outside.

    Raises:
        RemoteProtocolError: ``malformed``.
    """
    try:
        channel.load(item, context, *parts)
    except (ValueError, RuntimeError) as error:
        raise RemoteProtocolError("malformed", "A ciphertext is none of the charter's parameters.") from error


def _array_head(count: int) -> bytes:
    return header(_COUNT.size + 8 * count) + _COUNT.pack(count)


def _other_tenseal(what_it_does: str) -> InputError:
    return InputError(
        "other-tenseal",
        f"This build of TenSEAL {what_it_does}.",
        culprit="tenseal",
        remedy="Install the release of TenSEAL that this release of secagg asks for.",
    )
