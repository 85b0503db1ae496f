"""Which parameters a ciphertext may have, how secure they are, and how many bits of plaintext their noise leaves.

Knows numbers alone: no key, no ciphertext, no library. The argument for the bounds is in `docs/encryption.md`.

Security is that of the Homomorphic Encryption Standard (Albrecht et al. 2018), table 1: for a ring degree, the largest
modulus with 128 bits of security for ternary secrets.

The noise of one fresh symmetric ciphertext is, in each coefficient, a centred binomial number of 42 coins: at most 21,
variance 10.5. Sums of n of them stay within `encryption_noise_bound` but with probability at most 2^-40 for a whole
vector.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from secagg.errors import InputError

FAILURE_BITS: Final = 40
"""A sum decrypts to something else with probability at most 2^-40, for all its coefficients together."""

SECURE_MODULUS_BITS: Final[Mapping[int, int]] = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""Homomorphic Encryption Standard, table 1, ternary secret, 128 bits classical: bits of the modulus by ring degree."""

_LARGEST_NOISE: Final = 21
_NOISE_COINS: Final = 42

_LARGEST_PLAIN_BITS: Final = 50


class Encryption(StrEnum):
    """How integers lie in coefficients: modulo 2^T, times q / 2^T (BFV, Fan and Vercauteren 2012); or as signed
    numbers, times a scale (CKKS, Cheon et al. 2017). The noise is in the bits below either."""

    BFV = "bfv"
    CKKS = "ckks"


@dataclass(frozen=True)
class ParameterSet:
    """A ring of polynomials modulo X^degree + 1 and one prime: enough where ciphertexts are added only.

    Attributes:
        degree: N, coefficients of a polynomial.
        modulus: q, the largest prime below 2^60 that is 1 modulo 2N.
    """

    name: str
    degree: int
    modulus: int

    @property
    def modulus_bits(self) -> int:
        """How many bits q has."""
        return self.modulus.bit_length()


ALLOWED: Final[Mapping[str, ParameterSet]] = {
    entry.name: entry
    for entry in (
        ParameterSet("n4096-q60", 4096, 0xFFFFFFFFFFFC001),
        ParameterSet("n8192-q60", 8192, 0xFFFFFFFFFFFC001),
    )
}
DEFAULT_PARAMETERS: Final = "n4096-q60"
# A larger ring encrypts and adds large vectors faster, since it has fewer blocks; small ones it would fill with zeros.
_LARGE_MODEL: Final = 100_000
# Of more a coordinator could learn so much of a secret, by false sums, that the smaller ring would have less than 128
# bits of security left. `docs/encryption.md` has the argument.
_MANY_HOSPITALS: Final = 759


def fitting_parameters(model_parameters: int, members: int) -> str:
    """The set for ciphertexts of a model of this size, of so many hospitals, unless another is chosen."""
    large = model_parameters > _LARGE_MODEL or members > _MANY_HOSPITALS
    return "n8192-q60" if large else DEFAULT_PARAMETERS


def parameter_set(name: str) -> ParameterSet:
    """The parameters called ``name``.

    Raises:
        InputError: ``unlisted-parameters``, or ``weak-parameters`` by `require_secure`.
    """
    chosen = ALLOWED.get(name)
    if chosen is None:
        raise InputError(
            "unlisted-parameters",
            f"{name!r} is not a parameter set that is known to be secure.",
            culprit="homomorphic.parameters",
            remedy=f"Choose one of {', '.join(sorted(ALLOWED))}.",
        )
    require_secure(chosen.degree, chosen.modulus_bits)
    return chosen


def require_secure(degree: int, modulus_bits: int) -> None:
    """Refuse parameters with less than 128 bits of security.

    Raises:
        InputError: ``weak-parameters``.
    """
    if modulus_bits > SECURE_MODULUS_BITS.get(degree, 0):
        raise InputError(
            "weak-parameters",
            f"A modulus of {modulus_bits} bits in a ring of degree {degree} has less than 128 bits of security.",
            culprit="homomorphic.parameters",
            remedy=f"Choose one of {', '.join(sorted(ALLOWED))}.",
        )


def encryption_noise_bound(contributors: int, coefficients: int) -> int:
    """A bound that the noise of a sum of fresh ciphertexts exceeds in any coefficient with probability at most 2^-40.

    Hoeffding's inequality for 42 n coins of +-1/2, and a union over the coefficients; or the largest value there is, if
    that is smaller. It is all the noise there is under CKKS, where integers are scaled by an integer.
    """
    exponent = math.log(2 * coefficients) + FAILURE_BITS * math.log(2)
    likely = math.ceil(math.sqrt(contributors * _NOISE_COINS * exponent / 2))
    return min(likely, _LARGEST_NOISE * contributors)


def noise_bound(contributors: int, coefficients: int) -> int:
    """The same under BFV, where scaling a plaintext to q rounds by at most 1/2 a contributor besides."""
    return encryption_noise_bound(contributors, coefficients) + (contributors + 1) // 2


def exact_plain_bits(parameters: ParameterSet, contributors: int, coefficients: int) -> int:
    """T: the widest plain modulus 2^T for which a BFV sum of so many is exact except with probability 2^-40.

    Decryption rounds 2^T / q times (q / 2^T sum + noise): right while the noise is below q / 2^(T+1). A thousandth of
    that is left to the decryption's own arithmetic.
    """
    room = parameters.modulus - parameters.modulus // 1000
    bound = noise_bound(contributors, coefficients)
    return min((room // (2 * bound)).bit_length() - 1, _LARGEST_PLAIN_BITS)


def approximate_plain_bits(parameters: ParameterSet, contributors: int, coefficients: int) -> int:
    """T: how many bits integers may have for a CKKS sum of so many to be exact except with probability 2^-40.

    A sum of signed integers, scaled by 2^S, is taken off its noise by rounding: right while the noise is below 2^(S-1).
    What is left of q, but for a bit of room, is T: see `secagg.homomorphic.spec.CipherSpec.scale_bits`.
    """
    least_scale_bits = encryption_noise_bound(contributors, coefficients).bit_length() + 1
    return parameters.modulus_bits - 1 - least_scale_bits
