"""Figures that others published on the same data: copied from where they say, not made here."""

from __future__ import annotations
