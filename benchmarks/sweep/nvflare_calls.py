"""What NVFlare does with a vector where it encrypts homomorphically, with its defaults, by the same calls of TenSEAL.

Of NVFlare 2.9's source, in the order in which it is used (`tests/benchmarks/test_nvflare_calls.py` compares it):

- `nvflare/lighter/impl/he.py`, `HEBuilder`: ``poly_modulus_degree=8192``, ``coeff_mod_bit_sizes = [60, 40, 40]``,
  ``scale_bits=40``, ``scheme="CKKS"``, ``encryption_type=ts.ENCRYPTION_TYPE.SYMMETRIC`` and ``generate_relin_keys()``.
- `nvflare/app_opt/he/model_encryptor.py`: ``ts.ckks_vector(self.tenseal_context, values)``; ``values`` is an array that
  was multiplied: ``values * np.float64(self.n_iter)``.
- `nvflare/app_opt/he/decomposers.py`, on the way to the coordinator and back: ``target.serialize()``, and
  ``ts.ckks_vector_from(context, vec_data)``.
- `nvflare/app_common/aggregators/weighted_aggregation_helper.py`: ``self.total[k] = current_total + v``; at the end
  ``v * (1.0 / self.counts[k])``.
- `nvflare/app_opt/he/model_decryptor.py`: ``values.decrypt(secret_key=self.tenseal_context.secret_key())``. That is a
  list; making an array of it is left to whoever trains, and not counted here.

Its contexts use a thread for each core; here it is one. It does more, which is left out here: with each vector it sends
the context, 0.66 MB with its keys, and makes that anew where the vector comes; it copies the first vector that comes,
and adds the mean to the model while it is encrypted.
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
