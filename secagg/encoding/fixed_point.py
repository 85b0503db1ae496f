"""Fixed point: what a vector consists of, and how its real numbers become ring elements whose sum cannot overflow.

Knows sections (a tensor, a weight, counts) with their limits. Knows nothing of masks or messages.

The bound: with n contributors, every encoded magnitude is at most q_max = floor((2^(b-1) - 1) / n), so that the sum of
n of them is a signed b-bit number. It is checked in integers, after rounding, before anything leaves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from secagg.encoding.ring import Ring, RingVector
from secagg.errors import InputError

FloatVector = npt.NDArray[np.float64]

# Elements that are computed at a time, so that beside what goes in and what comes out there is no whole vector more.
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Section:
    """A run of ``length`` numbers of one meaning.

    Attributes:
        name: shown in errors: a tensor's name, ``weight``, ``metrics``.
        limit: the largest magnitude that one contributor may encode.
        grid: ``fraction``: the finest grid that the ring allows. ``whole``: a whole number of steps to the unit, so
            that integers are carried exactly.
    """

    name: str
    length: int
    limit: float
    grid: Literal["fraction", "whole"] = "fraction"


@dataclass(frozen=True)
class Layout:
    """The sections of a vector, in order, for ``contributors`` hospitals in a ring.

    Raises:
        InputError: ``field-too-narrow`` on construction, if whole numbers up to a section's limit do not fit.
    """

    ring: Ring
    contributors: int
    sections: tuple[Section, ...]

    def __post_init__(self) -> None:
        for section in self.sections:
            if (section.grid == "whole" and section.limit > self.q_max) or self.q_max < 1:
                raise InputError(
                    "field-too-narrow",
                    f"A field of {self.ring.bits} bits cannot hold the sum of {self.contributors} times "
                    f"{section.limit:g} of {section.name}.",
                    culprit=section.name,
                    remedy="Raise encoding.field_bits, or lower encoding.max_weight.",
                )

    @property
    def length(self) -> int:
        """How many ring elements the whole vector has."""
        return sum(section.length for section in self.sections)

    @property
    def q_max(self) -> int:
        """The largest encoded magnitude: floor((2^(b-1) - 1) / n)."""
        return self.ring.largest // self.contributors

    def scale(self, section: Section) -> float:
        """How many steps of the integer grid make one unit of ``section``."""
        if section.grid == "whole":
            return float(self.q_max // int(section.limit))
        scale = self.q_max / section.limit
        # In wide fields the rounding of float64 may lift the limit itself above q_max.
        while round(scale * section.limit) > self.q_max:
            scale = math.nextafter(scale, 0.0)
        return scale

    def encode(self, values: Sequence[npt.NDArray[np.floating] | npt.NDArray[np.integer]]) -> RingVector:
        """Real numbers, one array a section, as ring elements, rounded to the nearest grid point (ties to even).

        Raises:
            InputError: ``not-finite``, ``out-of-range`` or ``wrong-length``, naming the section.
        """
        encoded = self.ring.zeros(self.length)
        start = 0
        for section, array in zip(self.sections, values, strict=True):
            target = encoded[start : start + section.length]
            self._encode(section, np.asarray(array).reshape(-1), target)
            start += section.length
        return encoded

    def decode(self, elements: RingVector) -> tuple[FloatVector, ...]:
        """The sum of encoded vectors as real numbers, one float64 array a section."""
        decoded, start = [], 0
        for section in self.sections:
            decoded.append(self._decode(section, elements[start : start + section.length]))
            start += section.length
        return tuple(decoded)

    def _decode(self, section: Section, elements: RingVector) -> FloatVector:
        values, scale = np.empty(len(elements), np.float64), self.scale(section)
        for chunk in _chunks(len(elements)):
            np.divide(self.ring.to_signed(elements[chunk]), scale, out=values[chunk])
        return values

    def _encode(self, section: Section, array: npt.NDArray[np.generic], target: RingVector) -> None:
        if len(array) != section.length:
            raise _unusable("wrong-length", section, f"has {len(array)} numbers where {section.length} are due")
        if not all(np.isfinite(values).all() for _, values in _as_floats(array)):
            raise _unusable("not-finite", section, "holds NaN or infinity")
        # Beyond twice the limit the conversion to integers itself could wrap.
        if any(np.abs(values).max() > 2 * section.limit for _, values in _as_floats(array)):
            raise _unusable("out-of-range", section, f"exceeds its limit {section.limit:g}")
        scale = self.scale(section)
        for chunk, values in _as_floats(array):
            rounded = np.rint(values * scale).astype(np.int64)
            if max(int(rounded.max()), -int(rounded.min())) > self.q_max:
                raise _unusable("out-of-range", section, f"exceeds its limit {section.limit:g}")
            target[chunk] = self.ring.from_signed(rounded)


def _chunks(length: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, length, _CHUNK))


def _as_floats(array: npt.NDArray[np.generic]) -> Iterator[tuple[slice, FloatVector]]:
    return ((chunk, np.asarray(array[chunk], np.float64)) for chunk in _chunks(len(array)))


def _unusable(reason: str, section: Section, what: str) -> InputError:
    return InputError(
        reason,
        f"The values of {section.name} cannot be encoded: it {what}.",
        culprit=section.name,
        remedy="Check the training data and lower the learning rate.",
    )
