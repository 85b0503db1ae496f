"""Real numbers as integers of a ring, and those integers as bytes."""

from secagg.encoding.digits import Digits
from secagg.encoding.fixed_point import Layout, Section
from secagg.encoding.packing import add_packed, pack, pack_into, packed_size, unpack
from secagg.encoding.ring import Ring

__all__ = ["Digits", "Layout", "Ring", "Section", "add_packed", "pack", "pack_into", "packed_size", "unpack"]
