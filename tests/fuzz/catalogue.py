"""All harnesses, by name, and the module that each is in."""

from __future__ import annotations

from tests.fuzz import ciphertexts, data, files, protocol, snapshots
from tests.fuzz.harness import Harness

HARNESSES: dict[str, Harness] = {}
MODULES: dict[str, str] = {}
for module in (protocol, ciphertexts, snapshots, files, data):
    HARNESSES |= {harness.name: harness for harness in module.HARNESSES}
    MODULES |= {harness.name: module.__name__.rpartition(".")[2] for harness in module.HARNESSES}
