"""What a device is called. Apart from `devices`, for those who name one and have no use for torch."""

from __future__ import annotations

from typing import Literal

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
