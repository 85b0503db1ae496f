"""Which device a hospital computes on. Knows what torch can use here, and nothing of what is computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from secagg.errors import InputError
from training.device_name import DeviceName

_WORTH_DIVIDING: Final = 250_000


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


@contextmanager
def cores_for(parameters: int) -> Iterator[None]:
    """Let torch use one core while a model of so many parameters is trained on the CPU, if it is small.

    Dividing an operation of a few microseconds costs more than it saves, and where other processes want the same cores
    it costs up to twenty times as much: torch's threads spin while they wait for one another.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if parameters < _WORTH_DIVIDING else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _present() -> list[str]:
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, there in found.items() if there]
