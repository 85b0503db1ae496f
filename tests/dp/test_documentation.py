"""The tests that the documentation names do exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parent / "docs" / "accounting.md"


def test_every_test_that_backs_a_claim_is_there():
    named = set(re.findall(r"`(test_\w+|Test\w+)`", DOCUMENT.read_text(encoding="utf-8")))
    settings = {"test_fraction", "test_seed"}
    sources = "".join(file.read_text(encoding="utf-8") for file in TESTS.rglob("test_*.py"))
    existing = set(re.findall(r"^def (test_\w+)|^(Test\w+) =", sources, re.MULTILINE))
    assert len(named) > 25
    assert named - settings <= {name for pair in existing for name in pair}
