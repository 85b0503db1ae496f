"""What the consortium agrees on, signed by every member."""

from secagg.charter.model import Charter
from secagg.charter.sections import (
    Encoding,
    Homomorphic,
    Member,
    Metrics,
    Model,
    NeighbourGraph,
    Privacy,
    Statistics,
    TaskChoice,
    Training,
)
from secagg.charter.signing import CharterSignature, VerifiedCharter, sign_charter, verify_charter
from secagg.charter.toml import parse_charter, render_charter

__all__ = [
    "Charter",
    "CharterSignature",
    "Encoding",
    "Homomorphic",
    "Member",
    "Metrics",
    "Model",
    "NeighbourGraph",
    "Privacy",
    "Statistics",
    "TaskChoice",
    "Training",
    "VerifiedCharter",
    "parse_charter",
    "render_charter",
    "sign_charter",
    "verify_charter",
]
