"""Secure aggregation by masking: Bonawitz et al. 2017 and, for large consortia, Bell et al. 2020.

One key set-up serves an epoch. A round takes two messages of a hospital, three where somebody drops or the graph is
sparse, one where nothing is masked.
"""

from secagg.masking.client import MaskingClient
from secagg.masking.server import MaskingServer
from secagg.masking.session import Purpose, RoundSum, Session, Survivors

__all__ = ["MaskingClient", "MaskingServer", "Purpose", "RoundSum", "Session", "Survivors"]
