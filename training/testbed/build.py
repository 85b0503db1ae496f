"""The build that is attacked or audited: the real one, or one that lacks a defence.

Knows which parts can be exchanged. The real build exchanges none. Weakened builds are no part of this package.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.latch import Latch
from secagg.masking import MaskingClient, MaskingServer


@dataclass(frozen=True)
class Build:
    """What a consortium is made of.

    Attributes:
        client: a hospital's side of the protocol.
        server: the coordinator's side, where the liar is a hospital.
        latch: opens a hospital's memory in a file.
        in_force: what holds while an attack runs. A weakened build that lacks a check in the depths of the protocol
            takes it out here, and puts it back.
    """

    client: type[MaskingClient] = MaskingClient
    server: type[MaskingServer] = MaskingServer
    latch: Callable[[Path], Latch] = Latch
    in_force: Callable[[], AbstractContextManager[object]] = nullcontext


REAL: Final = Build()


@dataclass(frozen=True)
class Control:
    """A build on which an attack succeeds or an audit finds something, and what it lacks."""

    build: Build
    without: str
