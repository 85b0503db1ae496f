"""What a site's ledger has of a run, for the status of a site whose last process could not write down what it spent.

Reads the ledger as anybody may who has the folder: it locks nothing and opens no key.
"""

from __future__ import annotations

from contextlib import suppress

from msgspec.structs import replace

from secagg.charter import VerifiedCharter
from secagg.errors import SecaggError
from training.field.hospital_site import HospitalSite
from training.field.status import SiteStatus
from training.hospital_budget import run_epsilon
from training.hospital_logs import read_site_ledger


def as_charged(status: SiteStatus, site: HospitalSite, charter: VerifiedCharter) -> SiteStatus:
    """A status with what the run has cost by the site's ledger; unchanged where that has charged no round of it.

    A process that is killed between a charge and the status after it leaves a status that tells too little.
    """
    # A status is for show: the next job says what is wrong with a ledger, and does not open the site.
    with suppress(SecaggError):
        member = charter.charter.member(charter.charter.number_of(status.name))
        _, account = read_site_ledger(site.folder, member.public_key)
        if account.rounds(charter.digest.hex()):
            return replace(status, epsilon=run_epsilon(account, charter))
    return status
