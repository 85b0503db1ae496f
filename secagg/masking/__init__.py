"""Secure aggregation by masking: Bonawitz et al. 2017, with one key set-up an epoch and two messages a round."""

from secagg.masking.client import MaskingClient
from secagg.masking.server import MaskingServer
from secagg.masking.session import Purpose, RoundSum, Session, Survivors

__all__ = ["MaskingClient", "MaskingServer", "Purpose", "RoundSum", "Session", "Survivors"]
