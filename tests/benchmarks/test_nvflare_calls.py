"""What is measured for NVFlare is what NVFlare calls, where it stands in its source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.sweep import nvflare_calls

nvflare = pytest.importorskip("nvflare", reason="the extra nvflare is not installed")

ITEMS = re.findall(r"^- `(nvflare/\S+\.py)`(.*?)(?=^- |\n\n|\Z)", nvflare_calls.__doc__, re.DOTALL | re.MULTILINE)


def test_the_calls_are_quoted_from_the_files_that_are_named():
    assert len(ITEMS) == 5
    root = Path(nvflare.__file__).parents[1]
    for name, told in ITEMS:
        quotes = re.findall(r"``(.+?)``", told)
        assert quotes
        source = (root / name).read_text(encoding="utf-8")
        assert [quote for quote in quotes if quote not in source] == [], name
