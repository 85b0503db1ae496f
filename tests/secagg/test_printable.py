"""What others wrote is shown whole, and no terminal acts on it."""

from __future__ import annotations

import pytest

from secagg.printable import printable


@pytest.mark.parametrize(
    "sign", ["\x1b", "\x07", "\n", "\r", "\x7f", "\x9b", "\u202e", "\u200b", "\u2028", "\u2029", "\u00ad"]
)
def test_what_a_terminal_acts_on_or_does_not_show_is_replaced(sign):
    assert printable(f"a{sign}b") == "a\ufffdb"


def test_all_other_text_stays_as_it_is():
    text = "Häufig: 3,5 % «größer» 東京 🏥 [bold]"
    assert printable(text) == text
