"""Where and with what a run is measured: two runs are comparable as far as these agree.

Knows the machine, the packages, and the checkout if there is one.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec

import secagg

_PACKAGES: Final = ("secagg", "cryptography", "dp-accounting", "numpy", "opacus", "randomgen", "tenseal", "torch")
_CPU_INFO: Final = Path("/proc/cpuinfo")
# What may be written while a run goes on: in a checkout, notes on it are.
_NOT_RUN: Final = (":(exclude)*.md", ":(exclude)*.svg")


class Environment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One machine, and what is installed on it.

    Attributes:
        memory: bytes.
        packages: versions.
        revision: of the git checkout that the code is run from; if it was changed, with ``-dirty-`` and a digest of
            how. None from a wheel.
    """

    cpu: str
    cores: int
    memory: int
    system: str
    python: str
    packages: dict[str, str]
    revision: str | None

    @classmethod
    def here(cls) -> Environment:
        """That of this process."""
        return cls(
            cpu=processor(),
            cores=os.cpu_count() or 1,
            memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            system=f"{platform.system()} {platform.release()}",
            python=f"{platform.python_implementation()} {platform.python_version()}",
            packages=dict(_installed()),
            revision=_revision(),
        )

    def differences(self, other: Environment) -> list[str]:
        """What ``other`` has otherwise, a sentence each."""
        found = []
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if isinstance(mine, dict):
                changed = sorted(key for key in mine | theirs if mine.get(key) != theirs.get(key))
                found += [f"{key} was {mine.get(key)} and is {theirs.get(key)}" for key in changed]
            elif mine != theirs:
                found.append(f"{name} was {mine} and is {theirs}")
        return found


def processor() -> str:
    """The model, as the system says it: rented machines of one name differ in family and model."""
    if not _CPU_INFO.exists():
        return platform.processor() or platform.machine()
    return processor_in(_CPU_INFO.read_text(encoding="utf-8")) or platform.machine()


def processor_in(cpu_info: str) -> str:
    """The first processor that Linux lists in ``/proc/cpuinfo``; empty where it gives no name."""
    first = (line.partition(":") for line in cpu_info.partition("\n\n")[0].splitlines())
    said = {key.strip(): value.strip() for key, _, value in first}
    numbers = [f"{key.removeprefix('cpu ')} {said[key]}" for key in ("cpu family", "model") if key in said]
    return ", ".join([said["model name"], *numbers]) if "model name" in said else ""


def _installed() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def _revision() -> str | None:
    """Only of a checkout that is this code's own: a wheel may lie within another one."""
    root = Path(secagg.__file__).parents[1]
    return revision_of(root) if (root / ".git").exists() else None


def revision_of(root: Path) -> str | None:
    """The commit in the checkout at ``root``, and a digest of what was changed since and of modules that it lacks.

    Texts and drawings do not count. A run's own folder may lie there too, so that not all that is new counts.
    """

    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=True).stdout

    try:
        commit = git("describe", "--always", "--abbrev=12").decode().strip()
        changes = git("diff", "HEAD", "--binary", "--", ".", *_NOT_RUN)
        new = git("ls-files", "--others", "--exclude-standard", "-z", "*.py").split(b"\0")[:-1]
        for name in sorted(new):
            changes += name + b"\0" + hashlib.sha256((root / os.fsdecode(name)).read_bytes()).digest()
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty-{hashlib.sha256(changes).hexdigest()[:8]}" if changes else commit
