"""SEAL's objects as bytes, and back: TenSEAL's binding of SEAL reads and writes files alone.

Knows SEAL's serialization (``seal/serialization.h``): a header of 16 bytes, then the object, as it is or compressed by
Zstandard. What SEAL writes it compresses; what we write for it we do not. Knows nothing of protocols.

The file is one of memory that has no name (memfd_create), so that no key and no plaintext ever reaches a disk.
"""

from __future__ import annotations

import errno
import os
import struct
from functools import cache, lru_cache
from typing import Any, Final, Protocol

import zstandard

from secagg.errors import InputError
from secagg.files import can_open, is_out_of_files, too_many_files
from secagg.homomorphic.parameters import Encryption, ParameterSet, require_secure

try:
    # All others have it from here: whoever loads the first of them is told.
    from tenseal import sealapi as sealapi
except ImportError as lacking:
    raise InputError(
        "no-tenseal",
        f"TenSEAL cannot be loaded: {lacking}.",
        culprit="tenseal",
        remedy="Install it again, or choose the scheme mask, which does not need it.",
    ) from lacking

_HEADER: Final = struct.Struct("<HBBBBHQ")
_MAGIC: Final = 0xA15E
_UNCOMPRESSED: Final = 0
HEADER_START: Final = struct.pack("<HB", _MAGIC, _HEADER.size)
"""How everything that SEAL writes begins."""
# Beside its polynomials an object holds little.
_OVERHEAD: Final = 1024
_SCHEMES: Final = {Encryption.BFV: sealapi.SCHEME_TYPE.BFV, Encryption.CKKS: sealapi.SCHEME_TYPE.CKKS}


class Saved(Protocol):
    """A SEAL object that can be saved."""

    def save(self, path: str) -> None:
        """Write it to the file at ``path``."""


class Channel:
    """Two files in memory through which objects of up to ``largest`` bytes pass, one out and one in at a time.

    Raises:
        InputError: ``no-anonymous-memory``, where the system has no such files; ``too-many-files``, from every method
            too.
    """

    def __init__(self, largest: int) -> None:
        self._out = self._in = -1
        # One would do, but SEAL empties what it writes to, and new memory costs more than what it is filled with.
        self._out = _memory("secagg saved")
        try:
            self._in = _memory("secagg loaded")
        except InputError:
            self.close()
            raise
        self._out_path, self._in_path = _path(self._out), _path(self._in)
        self._largest = largest + _OVERHEAD
        self._decompressor = zstandard.ZstdDecompressor()

    def saved(self, item: Saved) -> bytes:
        """The object as SEAL serializes it, header included."""
        try:
            item.save(self._out_path)
        except (ValueError, RuntimeError) as error:
            _require_a_file_to_open(error)
            raise
        return os.pread(self._out, self._largest, 0)

    def content(self, item: Saved) -> bytes:
        """The same, uncompressed and without the header."""
        data = self.saved(item)
        _magic, size, _major, _minor, mode, _reserved, _whole = _HEADER.unpack_from(data)
        if mode == _UNCOMPRESSED:
            return data[size:]
        # SEAL's frames do not say how long they are; more than this they cannot be.
        return self._decompressor.decompress(memoryview(data)[size:], max_output_size=self._largest)

    def load(self, item: Any, context: Any, *parts: bytes | memoryview) -> None:
        """Have ``item`` load the object whose content is ``parts``, one after the other.

        Raises:
            ValueError, RuntimeError: from SEAL, if it is none that is valid in the context.
        """
        self.load_raw(item, context, header(sum(len(part) for part in parts)), *parts)

    def load_raw(self, item: Any, context: Any, *parts: bytes | memoryview) -> None:
        """As `load`, of a whole serialization, header included."""
        os.pwritev(self._in, parts, 0)
        try:
            item.load(context, self._in_path)
        except (ValueError, RuntimeError) as error:
            _require_a_file_to_open(error)
            raise

    def close(self) -> None:
        """Let go of the memory."""
        for descriptor in (self._out, self._in):
            if descriptor >= 0:
                os.close(descriptor)
        self._out = self._in = -1

    def __del__(self) -> None:
        self.close()


def _memory(name: str) -> int:
    """A descriptor of a new file in memory."""
    try:
        return os.memfd_create(name)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and is_out_of_files(error):
            raise too_many_files() from error
        if isinstance(error, OSError) and error.errno != errno.ENOSYS:
            raise
        raise InputError(
            "no-anonymous-memory",
            "Homomorphic encryption needs files that live in memory only, which this system does not have.",
            remedy="Run it on Linux, or choose the scheme mask.",
        ) from error


def _require_a_file_to_open(error: Exception) -> None:
    """SEAL opens the file by its path, and where it cannot, says what it says of bytes that are no object."""
    if not can_open(1):
        raise too_many_files() from error


def _path(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


@lru_cache(maxsize=64)
def header(size: int) -> bytes:
    """SEAL's header of an uncompressed object whose content has ``size`` bytes."""
    return _HEADER.pack(_MAGIC, _HEADER.size, *_version(), _UNCOMPRESSED, 0, _HEADER.size + size)


@cache
def _version() -> tuple[int, int]:
    """SEAL's, as it writes it into headers."""
    channel = Channel(0)
    found = _HEADER.unpack_from(channel.saved(sealapi.Plaintext(1)))
    channel.close()
    return found[2], found[3]


def encryption_parameters(parameters: ParameterSet, encryption: Encryption, plain_bits: int) -> Any:
    """SEAL's object for these parameters; ``plain_bits`` is T of the plain modulus 2^T, of no meaning for CKKS."""
    chosen = sealapi.EncryptionParameters(_SCHEMES[encryption])
    chosen.set_poly_modulus_degree(parameters.degree)
    chosen.set_coeff_modulus(sealapi.CoeffModulus.Create(parameters.degree, [parameters.modulus_bits]))
    if encryption is Encryption.BFV:
        chosen.set_plain_modulus(1 << plain_bits)
    return chosen


def make_context(parameters: ParameterSet, encryption: Encryption, plain_bits: int, seed: bytes | None = None) -> Any:
    """SEAL's context for these parameters, after a look at what they really are.

    Args:
        seed: what keys generated under the context follow from, 64 bytes. Such a context must never encrypt.

    Raises:
        InputError: ``weak-parameters``, ``other-modulus``.
    """
    chosen = encryption_parameters(parameters, encryption, plain_bits)
    if seed is not None:
        chosen.set_random_generator(sealapi.Blake2xbPRNGFactory(list(struct.unpack("<8Q", seed))))
    actual = [prime.value() for prime in chosen.coeff_modulus()]
    require_secure(chosen.poly_modulus_degree(), sum(prime.bit_length() for prime in actual))
    if actual != [parameters.modulus]:
        raise InputError(
            "other-modulus",
            "This release of TenSEAL makes another modulus than the parameter set names.",
            culprit="tenseal",
            remedy="All members need a release of TenSEAL that this release of secagg supports.",
        )
    return sealapi.SEALContext(chosen, True, sealapi.SEC_LEVEL_TYPE.TC128)
