"""What a charter's choice of encryption comes to: how numbers lie in ciphertexts, and how far noise is from harm.

Knows a charter's sizes and the arithmetic of `secagg.homomorphic`. Makes no key and encrypts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from secagg.charter.model import Charter
from secagg.charter.sections import ENCRYPTED_SCHEMES
from secagg.encoding.ring import Ring
from secagg.homomorphic.coefficients import Packing
from secagg.homomorphic.form import EncryptedForm, form_of
from secagg.homomorphic.parameters import Encryption, encryption_noise_bound, noise_bound
from secagg.homomorphic.spec import CipherSpec


@dataclass(frozen=True)
class EncryptionTerms:
    """How vectors are encrypted, and why their sums are exact.

    Attributes:
        spec: the parameters, and how many bits integers have.
        contributors: over how many vectors at most a sum is exact.
        numbers_per_value: how many of a vector's numbers lie in one coefficient: 0.5 if one takes two.
        deviation: what the noise of a sum over all members exceeds with probability at most 2^-40.
        room: what the noise must stay below for the sum to be exact.
    """

    spec: CipherSpec
    contributors: int
    numbers_per_value: float
    deviation: float
    room: float


def encryption_terms(charter: Charter) -> EncryptionTerms | None:
    """How a charter's updates are encrypted; None where nothing is."""
    ring = Ring(charter.encoding.field_bits)
    if charter.scheme not in ENCRYPTED_SCHEMES:
        return None
    return terms_of(
        form_of(charter.scheme, charter.homomorphic.parameters, ring, charter.update_length, len(charter.members))
    )


def terms_of(form: EncryptedForm) -> EncryptionTerms:
    """The same for vectors of the given form."""
    spec, values = form.spec, form.codec
    match spec.encryption:
        case Encryption.BFV:
            bound, step = noise_bound, spec.parameters.modulus / 2**spec.bits
        case Encryption.CKKS:
            bound, step = encryption_noise_bound, 2.0**spec.scale_bits
    deviation, room = bound(form.contributors, form.blocks * spec.block), step / 2
    numbers = values.per_coefficient if isinstance(values, Packing) else 1 / values.values_per_packed
    return EncryptionTerms(spec, form.contributors, numbers, deviation, room)
