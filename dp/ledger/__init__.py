"""What a site's data sets have spent: append-only, chained, signed, across charters and coordinators."""

from dp.ledger.entries import Cost, Entry, Kind
from dp.ledger.spending import RunSpending, Spending
from dp.ledger.store import Ledger, read_ledger
from secagg.signed_log import Signer

__all__ = ["Cost", "Entry", "Kind", "Ledger", "RunSpending", "Signer", "Spending", "read_ledger"]
