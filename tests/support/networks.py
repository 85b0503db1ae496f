"""Networks of their own on one machine: a coordinator's, and one for each hospital, joined by a cable to the first.

Linux's network namespaces; they want the rights of an administrator.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

CENTRE = "10.77.0.1"


@dataclass(frozen=True)
class Networks:
    """Names of the namespaces: ``centre`` and ``hospitals`` by member number."""

    centre: str
    hospitals: dict[int, str]

    def address(self, number: int) -> str:
        """A hospital's own address."""
        return f"10.77.0.{100 + number}"

    def cut(self, number: int) -> None:
        """Pull a hospital's cable."""
        _ip("-n", self.hospitals[number], "link", "set", "eth0", "down")

    def mend(self, number: int) -> None:
        """Plug it in again."""
        _ip("-n", self.hospitals[number], "link", "set", "eth0", "up")


def inside(name: str) -> tuple[str, ...]:
    """What a command is started with to run in a namespace."""
    return ("ip", "netns", "exec", name)


def run_inside(name: str, *command: str) -> str:
    """What a command prints in a namespace."""
    return subprocess.run((*inside(name), *command), check=True, capture_output=True, text=True).stdout


@contextmanager
def networks(hospitals: int) -> Iterator[Networks]:
    """Make the networks, and take them away again; skips the test where that is not allowed."""
    tag = f"sg{os.getpid()}"
    made = Networks(f"{tag}c", {number: f"{tag}h{number}" for number in range(1, hospitals + 1)})
    if not shutil.which("ip"):
        pytest.skip("no `ip` here to make networks with")
    try:
        try:
            _make(made)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no networks can be made here: {error.stderr.strip()}")
        yield made
    finally:
        for name in (made.centre, *made.hospitals.values()):
            subprocess.run(("ip", "netns", "delete", name), check=False, capture_output=True)


def _make(made: Networks) -> None:
    _ip("netns", "add", made.centre)
    _ip("-n", made.centre, "link", "set", "lo", "up")
    _ip("-n", made.centre, "link", "add", "br0", "type", "bridge")
    _ip("-n", made.centre, "address", "add", f"{CENTRE}/24", "dev", "br0")
    _ip("-n", made.centre, "link", "set", "br0", "up")
    for number, name in made.hospitals.items():
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
        port = f"port{number}"
        _ip("link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", port, "netns", made.centre)
        _ip("-n", made.centre, "link", "set", port, "master", "br0")
        # Hospitals do not see each other: only the coordinator's own address answers.
        _ip("-n", made.centre, "link", "set", port, "type", "bridge_slave", "isolated", "on")
        _ip("-n", made.centre, "link", "set", port, "up")
        _ip("-n", name, "address", "add", f"{made.address(number)}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True, text=True)
