"""What a report says is wrong, or must be known though nothing is wrong."""

from __future__ import annotations

from pathlib import Path

import msgspec

from secagg.errors import SecaggError
from secagg.printable import printable


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
        return cls(**error.fields())

    def without(self, folder: Path) -> Finding:
        """The same of a file in ``folder``, by its name alone: whoever repeats a report has the file elsewhere."""
        away, told = f"{folder}/", (self.culprit, self.remedy)
        return Finding(self.reason, self.message.replace(away, ""), *(text and text.replace(away, "") for text in told))

    @property
    def printable(self) -> Finding:
        """The same, of somebody else, with nothing in it that a terminal acts on."""
        told = (self.culprit, self.remedy)
        return Finding(printable(self.reason), printable(self.message), *(text and printable(text) for text in told))


class Notice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that whoever is responsible must know."""

    code: str
    message: str
    remedy: str
