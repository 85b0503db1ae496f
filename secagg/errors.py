"""Every failure this project reports, as a small tree of typed errors.

This module knows what an error must say: a reason code for programs, a sentence for people, who caused it and
what to do about it. It knows nothing of protocols, files or terminals; the exit codes are those of the command line,
kept here so that each kind of failure has exactly one.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self


class SecaggError(Exception):
    """Base of every error raised on purpose.

    Args:
        reason: stable, machine-readable code in kebab-case (``"missing-label-column"``).
        message: one sentence that says what is wrong. Never contains a secret.
        culprit: the member, file or tensor that caused it, where one is known.
        remedy: what the reader can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, reason: str, message: str, *, culprit: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.culprit = culprit
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        """So that it comes through from another process, and not a failure to bring it through."""
        return _again, (type(self), self.reason, self.message, self.culprit, self.remedy)

    def with_remedy(self, remedy: str, culprit: str | None = None) -> Self:
        """The same with another remedy, and with another culprit where one is given."""
        return type(self)(self.reason, self.message, culprit=culprit or self.culprit, remedy=remedy)

    def fields(self) -> dict[str, Any]:
        """What it says, by the names of its arguments."""
        return {"reason": self.reason, "message": self.message, "culprit": self.culprit, "remedy": self.remedy}

    def diagnostics(self) -> str:
        """What happened and what to do, on one line, for the terminal."""
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{self.message}{remedy} [{self.reason}]"


class InputError(SecaggError):
    """A file, a record, a setting or an option that cannot be used as it is."""

    exit_code = 2


class RefusedError(SecaggError):
    """This site's policy or privacy budget does not allow what was asked."""

    exit_code = 3


class TamperingError(SecaggError):
    """Something signed, hashed or chained is not what it was when it was written."""

    exit_code = 4


class ProtocolError(SecaggError):
    """A protocol run cannot go on."""


class LocalProtocolError(ProtocolError):
    """Our own side called the protocol out of turn: a bug in the caller, not an attack."""


class RemoteProtocolError(ProtocolError):
    """The other side sent something that the protocol does not allow."""


def _again(kind: type[SecaggError], reason: str, message: str, culprit: str | None, remedy: str | None) -> SecaggError:
    return kind(reason, message, culprit=culprit, remedy=remedy)
