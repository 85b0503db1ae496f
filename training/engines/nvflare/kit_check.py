"""One point of a site's hardening that was looked at."""

from __future__ import annotations

import msgspec


class KitCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was found.

    Attributes:
        point: what should be so.
        good: whether it is.
        found: what was seen, in a few words; of a refusal, NVFlare's own.
        remedy: what to do where it is not.
    """

    point: str
    good: bool
    found: str
    remedy: str = ""
