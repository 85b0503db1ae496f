"""What a charter's choice of encryption comes to: how numbers lie in ciphertexts, and how far noise is from harm.

Knows a charter's sizes and the arithmetic of `secagg.homomorphic`. Makes no key and encrypts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from secagg.charter.model import Charter
from secagg.encoding.ring import Ring
from secagg.homomorphic.coefficients import Packing, arrangement
from secagg.homomorphic.parameters import Encryption, ParameterSet, exact_plain_bits, noise_bound, parameter_set
from secagg.homomorphic.reals import RealNumbers, error_bound, scale_bits
from secagg.homomorphic.spec import CipherSpec

# A number takes two coefficients at most.
_MOST_COEFFICIENTS: Final = 2


@dataclass(frozen=True)
class EncryptionTerms:
    """How vectors are encrypted, and why their sums are exact.

    Attributes:
        spec: the parameters, and the bits of the plain modulus (BFV) or of the scale (CKKS).
        numbers_per_value: how many of a vector's numbers lie in one coefficient, or one real: 0.5 if one takes two.
        deviation: what the noise of a sum over all members stays within, but with probability 2^-40; for CKKS its
            error, in steps of the encoding's grid.
        room: what it must stay below for the sum to be exact.
    """

    spec: CipherSpec
    numbers_per_value: float
    deviation: float
    room: float


def encryption_terms(charter: Charter) -> EncryptionTerms | None:
    """Those of a charter's updates; None where nothing is encrypted."""
    parameters = parameter_set(charter.homomorphic.parameters)
    ring = Ring(charter.encoding.field_bits)
    # The weight and the counts travel with the update.
    length = charter.model.parameters + 1 + charter.metrics.cells
    match charter.scheme:
        case "mask":
            return None
        case "bfv" | "double-lock":
            return exact_terms(parameters, ring, len(charter.members), length)
        case "ckks":
            return rounded_terms(parameters, ring, len(charter.members), length)


def exact_terms(parameters: ParameterSet, ring: Ring, members: int, length: int) -> EncryptionTerms:
    """BFV for sums of ``members`` vectors of ``length`` elements of ``ring``."""
    lie = arrangement(ring, members, exact_plain_bits(parameters, members, _MOST_COEFFICIENTS * length))
    spec = CipherSpec(parameters, Encryption.BFV, lie.plain_bits)
    return EncryptionTerms(
        spec,
        numbers_per_value=lie.per_coefficient if isinstance(lie, Packing) else 1 / _MOST_COEFFICIENTS,
        deviation=noise_bound(members, spec.blocks(lie.count(length)) * spec.block),
        room=parameters.modulus / 2 ** (lie.plain_bits + 1),
    )


def rounded_terms(parameters: ParameterSet, ring: Ring, members: int, length: int) -> EncryptionTerms:
    """CKKS for the same, rounded to the grid."""
    numbers = RealNumbers(ring, members)
    spec = CipherSpec(parameters, Encryption.CKKS, scale_bits(parameters, numbers))
    return EncryptionTerms(
        spec,
        numbers_per_value=1 / numbers.per_element,
        deviation=error_bound(parameters, numbers, numbers.count(length)),
        room=0.5,
    )
