"""Which device a hospital computes on. Knows what torch can use here, and nothing of what is computed."""

from __future__ import annotations

from typing import Literal

import torch

from secagg.errors import InputError

DeviceName = Literal["auto", "cpu", "cuda", "mps"]


def resolve_device(name: DeviceName) -> torch.device:
    """The device to use; "auto" takes CUDA, else Apple's MPS, else the CPU.

    Raises:
        InputError: ``no-such-device`` when the one asked for is not here.
    """
    present = _present()
    if name == "auto":
        return torch.device(present[0])
    if name not in present:
        message = f"The device {name!r} is not available; there is: {', '.join(present)}."
        raise InputError("no-such-device", message, culprit=name, remedy="Use --device auto.")
    return torch.device(name)


def _present() -> list[str]:
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, there in found.items() if there]
