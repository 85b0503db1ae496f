"""What a ciphertext looks like on the wire: in how many blocks a vector is encrypted, and how large they are.

Knows sizes. Knows no key and no library: who only counts bytes needs nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from secagg.homomorphic.parameters import Encryption, ParameterSet
from secagg.homomorphic.words import words_size

SEED_SIZE: Final = 64


@dataclass(frozen=True)
class CipherSpec:
    """How integers are encrypted, one in each coefficient.

    Attributes:
        bits: T: BFV takes them modulo 2^T; CKKS as signed numbers, whose sum must be one of about T bits.
    """

    parameters: ParameterSet
    encryption: Encryption
    bits: int

    @property
    def block(self) -> int:
        """N: how many integers one ciphertext holds."""
        return self.parameters.degree

    @property
    def scale_bits(self) -> int:
        """S: CKKS scales integers by 2^S, as large as q allows: scaled sums and their noise stay within q / 2."""
        return self.parameters.modulus_bits - 1 - self.bits

    @property
    def factor_bits(self) -> int:
        """log2 of BFV's plain modulus, or of CKKS's scale."""
        return self.bits if self.encryption is Encryption.BFV else self.scale_bits

    @property
    def fresh_block_size(self) -> int:
        """Bytes of a fresh ciphertext: its second polynomial is uniform, and sent as the 64-byte seed it came from."""
        return SEED_SIZE + words_size(self.parameters.degree)

    @property
    def sum_block_size(self) -> int:
        """Bytes of a sum of ciphertexts: two polynomials."""
        return 2 * words_size(self.parameters.degree)

    def blocks(self, values: int) -> int:
        """How many ciphertexts so many values take."""
        return -(-values // self.block)

    def fresh_size(self, values: int) -> int:
        """Bytes of a fresh vector of so many values."""
        return self.blocks(values) * self.fresh_block_size

    def sum_size(self, values: int) -> int:
        """Bytes of a sum of such vectors."""
        return self.blocks(values) * self.sum_block_size
