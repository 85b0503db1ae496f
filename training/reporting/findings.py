"""What a report says is wrong, or must be known though nothing is wrong."""

from __future__ import annotations

import msgspec

from secagg.errors import SecaggError


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that does not fit: a record was altered, or two records contradict each other.

    Attributes:
        reason: stable, for programs, in kebab-case.
        culprit: the member, file or entry, where one is known.
    """

    reason: str
    message: str
    culprit: str | None
    remedy: str | None

    @classmethod
    def of(cls, error: SecaggError) -> Finding:
        """What an error says."""
        return cls(error.reason, error.message, error.culprit, error.remedy)


class Notice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that whoever is responsible must know."""

    code: str
    message: str
    remedy: str
