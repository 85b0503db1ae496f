"""What NVFlare calls the parties. Knows how members, in the charter's order, become names in certificates.

A hospital's own name stays out of certificates, logs and whatever else NVFlare shows on the way: member number i is
``hospital-i``. Who that is says the charter, which members have and the network has not.
"""

from __future__ import annotations

import re
from typing import Final

from secagg.errors import InputError

PROJECT: Final = "secagg"
COORDINATOR_ORGANISATION: Final = "coordinator"
# NVFlare's name for who submits jobs.
LEAD: Final = "lead"
# NVFlare wants an e-mail address. Nothing is ever sent to it: .internal is for private use.
ADMIN: Final = "coordinator@secagg.internal"

SITE_PREFIX: Final = "hospital-"
_SITE: Final = re.compile(SITE_PREFIX + r"(0[1-9]|[1-9][0-9]{1,4})")


def site_name(number: int) -> str:
    """The site of member ``number``, from 1: ``hospital-01``."""
    return f"{SITE_PREFIX}{number:02d}"


def organisation(number: int) -> str:
    """The same as an organisation, in which NVFlare allows no hyphen: every hospital is one of its own."""
    return site_name(number).replace("-", "_")


def member_number(site: str) -> int:
    """Which member a site is.

    Raises:
        InputError: ``unknown-site`` for any name that `site_name` does not give.
    """
    found = _SITE.fullmatch(site)
    if found is None:
        raise InputError(
            "unknown-site",
            f"{site!r} is not the name of a hospital's site.",
            culprit=site,
            remedy="Sites are called hospital-01, hospital-02 and so on, in the order of the charter's members.",
        )
    return int(found[1])
