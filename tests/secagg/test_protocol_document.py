"""The protocol's document says what the code does, where that can be compared."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from secagg.masking.messages import payload_limit
from secagg.masking.states import CLIENT_TRANSITIONS, SERVER_TRANSITIONS, diagram
from secagg.wire import Stage
from secagg.wire.envelope import Header
from tests.vectors import generate

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "protocol.md").read_text(encoding="utf-8")
MODULES = [
    *(REPOSITORY / "secagg" / "masking").glob("*.py"),
    *(REPOSITORY / "secagg" / "wire").glob("*.py"),
    REPOSITORY / "secagg" / "latch.py",
    REPOSITORY / "secagg" / "encoding" / "packing.py",
]


def raised_reasons(module: Path) -> set[str]:
    """The first argument, where it is a literal, of everything called like an error or a giving up."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func)
            if re.search(r"(Error|_give_up)$", called) and isinstance(node.args[0].value, str):
                found.add(node.args[0].value)
    return {reason for reason in found if re.fullmatch(r"[a-z]+(-[a-z]+)*", reason)}


def documented_reasons() -> set[str]:
    table = DOCUMENT.split("## Reasons")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE))


def test_every_reason_that_the_protocol_gives_is_in_the_table():
    raised = set().union(*(raised_reasons(module) for module in MODULES))
    assert len(raised) > 30
    assert raised - documented_reasons() == set()


def test_every_reason_in_the_table_is_one_that_the_protocol_gives():
    raised = set().union(*(raised_reasons(module) for module in MODULES))
    elsewhere = {"unwritable", "state-in-use"}
    assert documented_reasons() - raised - elsewhere == set()


@pytest.mark.parametrize(("name", "table"), [("client", CLIENT_TRANSITIONS), ("server", SERVER_TRANSITIONS)])
def test_the_diagrams_are_those_of_the_tables(name, table):
    assert f"<!-- {name} -->\n```mermaid\n{diagram(table)}\n```\n" in DOCUMENT


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage <= Stage.REFUSAL], ids=lambda stage: stage.name)
def test_every_stage_is_listed_with_its_number_and_its_payload(stage):
    sender = "coordinator" if stage.sent_by_coordinator else "hospital"
    assert f"| {stage.value} | {stage.name} | {sender} |" in DOCUMENT
    assert re.search(rf"^\| {stage.name} \| .*: (int|str|bin|array)", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize("field", Header.__struct_fields__)
def test_every_field_of_the_header_is_listed_at_its_place(field):
    assert f"| {Header.__struct_fields__.index(field)} | {field} |" in DOCUMENT


def test_the_size_bounds_are_those_of_the_document():
    session = generate.make_session(generate.make_charter())
    n, rounds, vector = 4, 2, session.vector_bytes
    advertise, deal = 64 * rounds + 96, 128 * rounds + 112
    assert {stage: payload_limit(session, stage) for stage in Stage if stage <= Stage.REFUSAL} == {
        Stage.OPEN: 4096,
        Stage.ADVERTISE: advertise,
        Stage.ROSTER: n * (advertise + 512),
        Stage.DEAL: deal,
        Stage.DEALS: n * (deal + 512),
        Stage.BEGIN: 4096,
        Stage.MASKED: vector + 128,
        Stage.UNMASK: 5 * n + 64,
        Stage.REVEAL: 32 * n + 128,
        Stage.SUM: vector + 5 * n + 128,
        Stage.ABORT: 4096,
        Stage.REFUSAL: 4096,
    }
