"""When the certificates of a site's kits run out: with one out of time it cannot connect, and nobody tells it so."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from secagg.errors import InputError
from training.engines.nvflare.kit import Kit

_SOON: Final = timedelta(days=30)
_SECONDS_BETWEEN: Final = 3600.0
_REMEDY: Final = (
    "Have new kits made by the same certificate authority, and put this one's in its place: docs/running-a-site.md, "
    "certificates and their renewal."
)


class Expiry:
    """Looks at the certificates of a site's kits, once when it starts, then once an hour.

    Args:
        on_warning: told at most once a day that one runs out soon, or has run out while the site ran: connections that
            are open go on.
        now: gives the time, UTC.

    Raises:
        InputError: ``certificate-expired``, ``certificate-not-yet-valid``: the site could not connect.
    """

    def __init__(
        self,
        kits: Sequence[Kit],
        on_warning: Callable[[InputError], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kits = kits
        self._on_warning = on_warning
        self._now = now
        self._looked = time.monotonic()
        self._warned: datetime | None = None
        for kit in kits:
            if error := _out_of_time(kit, now()):
                raise error
        self._look()

    def check(self) -> InputError | None:
        """Look again if an hour has passed since; what is out of time now."""
        if time.monotonic() - self._looked < _SECONDS_BETWEEN:
            return None
        self._looked = time.monotonic()
        return self._look()

    def _look(self) -> InputError | None:
        now = self._now()
        expired = next(filter(None, (_out_of_time(kit, now) for kit in self._kits)), None)
        warning = expired or next(filter(None, (_soon(kit, now) for kit in self._kits)), None)
        if warning and (self._warned is None or now - self._warned >= timedelta(days=1)):
            self._warned = now
            self._on_warning(warning)
        return expired


def _out_of_time(kit: Kit, now: datetime) -> InputError | None:
    if now < kit.valid_from:
        return InputError(
            "certificate-not-yet-valid",
            f"The certificate of {kit.name} in {kit.folder} is valid from {kit.valid_from:%Y-%m-%d %H:%M} UTC; by this "
            f"clock it is {now:%Y-%m-%d %H:%M}.",
            culprit=str(kit.folder),
            remedy="Set this machine's clock.",
        )
    if now < _last(kit):
        return None
    return InputError(
        "certificate-expired",
        f"The certificate of {kit.name} in {kit.folder} expired on {_last(kit):%Y-%m-%d}: nobody connects with it.",
        culprit=str(kit.folder),
        remedy=_REMEDY,
    )


def _soon(kit: Kit, now: datetime) -> InputError | None:
    if now < _last(kit) - _SOON:
        return None
    return InputError(
        "certificate-expires",
        f"The certificate of {kit.name} in {kit.folder} expires on {_last(kit):%Y-%m-%d}, in "
        f"{(_last(kit) - now).days} days.",
        culprit=str(kit.folder),
        remedy=_REMEDY,
    )


def _last(kit: Kit) -> datetime:
    return min(kit.expires, kit.authority_expires)
