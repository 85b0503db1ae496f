"""The packages depend on each other in one direction only."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("secagg", "dp", "training", "cli")
FOUNDATIONS = {
    "secagg.errors",
    "secagg.files",
    "secagg.identity",
    "secagg.json_documents",
    "secagg.labels",
    "secagg.processes.cores",
    "secagg.processes.job",
    "secagg.processes.team",
    "secagg.processes.worker",
    "secagg.processes.worker_process",
    "secagg.signature_batch",
    "secagg.signed_log",
    "secagg.sqlite_files",
}


@cache
def imported_modules(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def imports_of(package: str) -> set[str]:
    return set().union(*(imported_modules(file) for file in (ROOT / package).rglob("*.py")))


def within(modules: set[str], package: str) -> set[str]:
    return {module for module in modules if module.split(".")[0] == package}


@pytest.mark.parametrize(
    ("package", "strangers"),
    [("secagg", {"dp", "training", "cli"}), ("dp", {"training", "cli"}), ("training", {"cli"})],
)
def test_no_package_imports_one_above_it(package, strangers):
    assert not {module for module in imports_of(package) if module.split(".")[0] in strangers}


def test_dp_knows_nothing_of_the_protocols():
    assert within(imports_of("dp"), "secagg") <= FOUNDATIONS


def test_only_attacks_and_their_command_know_attacks():
    files = {file.relative_to(ROOT) for package in (*PACKAGES, "benchmarks") for file in (ROOT / package).rglob("*.py")}
    users = {file for file in files if any(m.startswith("training.attacks") for m in imported_modules(ROOT / file))}
    outside = {file for file in users if not file.is_relative_to("training/attacks")}
    assert outside == {Path("cli/audit_attack.py")}


@pytest.mark.parametrize("module", sorted(FOUNDATIONS))
def test_what_dp_shares_with_the_protocols_knows_nothing_of_them_either(module):
    file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    assert within(imported_modules(file), "secagg") <= FOUNDATIONS


@pytest.mark.parametrize("module", ["torch", "socket", "asyncio", "time", "datetime", "threading", "http", "random"])
def test_secagg_has_no_torch_no_network_and_no_clock(module):
    assert not within(imports_of("secagg"), module)


@pytest.mark.parametrize("module", ["pickle", "marshal", "shelve", "random"])
def test_nobody_unpickles_or_uses_a_weak_generator(module):
    assert not any(within(imports_of(package), module) for package in PACKAGES)


def test_what_a_decoder_raises_is_said_in_one_place():
    """Its own error is not all that hostile bytes bring about, and who lists them again forgets one."""
    files = (file for package in (*PACKAGES, "benchmarks") for file in (ROOT / package).rglob("*.py"))
    found = {file.relative_to(ROOT) for file in files if "msgspec.DecodeError" in file.read_text()}
    assert found == {Path("secagg/json_documents.py")}


def test_no_console_makes_pictures_of_what_is_between_colons():
    """Fingerprints and paths have `:CD:` in them."""
    files = [file for package in ("cli", "benchmarks") for file in (ROOT / package).rglob("*.py")]
    calls = (node for file in files for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))
    consoles = [ast.unparse(call) for call in calls if ast.unparse(call.func) == "Console"]
    assert consoles
    assert [console for console in consoles if "emoji=False" not in console] == []


def test_no_module_is_called_after_nothing():
    names = {file.stem for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "helper", "common", "misc"}


def test_what_bench_runs_needs_neither_the_tests_nor_the_command_line():
    found = set().union(*(imported_modules(file) for file in (ROOT / "benchmarks" / "sweep").rglob("*.py")))
    assert not {module for module in found if module.split(".")[0] in {"tests", "cli", "pytest"}}
