"""What a caller may want to hear of while a site runs. Knows events, and nothing of how they are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from secagg.errors import InputError, ProtocolError
from training.field.status import SiteStatus
from training.round_record import RoundRecord


@dataclass(frozen=True)
class SiteWatcher:
    """Called whenever something happens.

    Attributes:
        on_restart: the site's process ended by itself with this exit code, and is started again.
        on_status: a hospital's status has changed.
        on_gather: which members are waited for that are not connected, of how many that are waited for.
        on_round: a round is over.
        on_retry: an epoch could not be run to its end; another is tried.
        on_warning: it goes on, and somebody should see to this.
    """

    on_restart: Callable[[int], None] = lambda _code: None
    on_status: Callable[[SiteStatus], None] = lambda _status: None
    on_gather: Callable[[tuple[str, ...], int], None] = lambda _missing, _wanted: None
    on_round: Callable[[RoundRecord], None] = lambda _record: None
    on_retry: Callable[[ProtocolError], None] = lambda _error: None
    on_warning: Callable[[InputError | ProtocolError], None] = lambda _error: None
