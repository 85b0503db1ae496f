"""What all tests share: where the support code and the real data are."""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import settings

from training.testbed.consortium import Consortium

# Small tensors on a shared machine: more threads than one are slower.
torch.set_num_threads(1)
# By the clock, which says nothing on a shared machine.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

REPOSITORY = Path(__file__).parent.parent
# Tests write and sync thousands of small files. In memory that takes no time, and who is killed leaves the same there.
MEMORY = Path("/dev/shm")
ROOM = 2 << 30


def pytest_configure() -> None:
    """Keep the files of tests in memory, where there is room for those of all workers."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with public medical data sets; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("SECAGG_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set SECAGG_DATA")
    return folder


# Latches of consortiums ---------------------------------------------------------------------------------------------

_SCOPES: list[list[weakref.ref[Consortium]]] = []
"""Of every scope that a test is in, the session first, the consortiums that were made in it."""


@pytest.fixture(scope="session", autouse=True)
def _consortiums_noted() -> Iterator[None]:
    make = Consortium.make.__func__

    def noted(kind: type[Consortium], *arguments: Any, **named: Any) -> Consortium:
        made: Consortium = make(kind, *arguments, **named)
        _SCOPES[-1].append(weakref.ref(made))
        return made

    with patch.object(Consortium, "make", classmethod(noted)):
        yield from _closing_what_is_made()


@pytest.fixture(scope="module", autouse=True)
def _consortiums_of_a_module(_consortiums_noted: None) -> Iterator[None]:
    yield from _closing_what_is_made()


@pytest.fixture(autouse=True)
def _consortiums_of_a_test(_consortiums_of_a_module: None) -> Iterator[None]:
    yield from _closing_what_is_made()


def _closing_what_is_made() -> Iterator[None]:
    """Let go of the latches of what is made from here on, in no narrower scope: files are few, NVFlare's above all."""
    _SCOPES.append([])
    yield
    for made in _SCOPES.pop():
        if consortium := made():
            consortium.close()
