"""What NVFlare does with a vector where it encrypts homomorphically, with its defaults, by the same calls of TenSEAL.

Of NVFlare's source, in the order in which it is used:

- `nvflare/lighter/impl/he.py`, `HEBuilder`: the context has ``poly_modulus_degree=8192``, ``coeff_mod_bit_sizes=[60,
  40, 40]``, ``scale_bits=40``, ``scheme="CKKS"`` and ``ts.ENCRYPTION_TYPE.SYMMETRIC``.
- `nvflare/app_opt/he/model_encryptor.py`: ``ts.ckks_vector(self.tenseal_context, values).serialize()``; ``values`` is
  an array that was multiplied by a float64.
- `nvflare/app_opt/he/intime_accumulate_model_aggregator.py`: ``ts.ckks_vector_from(self.tenseal_context, v)``, then
  ``self.total[k] = current_total + weighted_value``; at the end ``v * (1.0 / self.counts[k])``, which is serialized.
- `nvflare/app_opt/he/model_decryptor.py`: ``ts.ckks_vector_from(self.tenseal_context, ndarray)``, then ``decrypt()``.
  That is a list; making an array of it is left to whoever trains, and not counted here.

The one difference: its contexts use a thread for each core; here it is one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tenseal as ts

Reals = npt.NDArray[np.float64]


class NVFlare:
    """Hospital and coordinator; `ts.ckks_vector_from` with a context loads at once, and not when it is first used."""

    def __init__(self) -> None:
        self._context = ts.context(
            ts.SCHEME_TYPE.CKKS,
            poly_modulus_degree=8192,
            coeff_mod_bit_sizes=[60, 40, 40],
            encryption_type=ts.ENCRYPTION_TYPE.SYMMETRIC,
            n_threads=1,
        )
        self._context.generate_relin_keys()
        self._context.global_scale = 2**40

    def encrypt(self, values: Reals) -> bytes:
        """A hospital's vector on the wire."""
        data: bytes = ts.ckks_vector(self._context, values).serialize()
        return data

    def load(self, data: bytes) -> ts.CKKSVector:
        """One that has come."""
        return ts.ckks_vector_from(self._context, data)

    def add(self, total: ts.CKKSVector, data: bytes) -> ts.CKKSVector:
        """The coordinator's new total."""
        return total + self.load(data)

    def add_in_place(self, total: ts.CKKSVector, data: bytes) -> None:
        """What it could do instead, without a copy of the total."""
        total.add_(self.load(data))

    def mean(self, total: ts.CKKSVector, count: int) -> bytes:
        """What the coordinator sends back: TenSEAL drops a prime of the modulus with the multiplication."""
        data: bytes = (total * (1.0 / count)).serialize()
        return data

    def decrypt(self, data: bytes) -> list[float]:
        """What a hospital makes of it."""
        values: list[float] = self.load(data).decrypt()
        return values
