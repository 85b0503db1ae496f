"""Charts as files: SVG, or a page of HTML that holds it; and in the colours of a page, light or dark.

Knows names and what is around a drawing. What is drawn is `cli.chart`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from cli.chart import BLUE, FAINT, GREEN, GRID, INK, NARROW, ORANGE, PAPER, RED, WIDE, Panel, svg
from secagg.files import write_atomically

_SUFFIXES: Final = (".svg", ".html")
# A drawing that stands alone has these colours; on a page they are those of its style, light or dark.
_THEME: Final = {
    INK: "ink",
    FAINT: "faint",
    GRID: "grid",
    PAPER: "paper",
    BLUE: "blue",
    GREEN: "green",
    ORANGE: "orange",
    RED: "red",
}
_STYLE: Final = """body { margin: 0; background: var(--paper); }
svg { display: block; margin: 0 auto; max-width: 100%; height: auto; }
svg.narrow { display: none; }
@media (max-width: 40rem) { svg.wide { display: none; } svg.narrow { display: block; } }
"""


def check_plot_path(path: Path) -> None:
    """Refuse a file that is neither an SVG nor an HTML one by its name.

    Raises:
        click.BadParameter.
    """
    if path.suffix not in _SUFFIXES:
        raise click.BadParameter(f"{path} ends neither in .svg nor in .html.", param_hint="--plot")


def write_chart(path: Path, panels: Sequence[Panel]) -> None:
    """Draw ``panels`` into ``path``; a page is called what the first of them is. What is there is replaced.

    Raises:
        InputError: ``unwritable``.
    """
    write_atomically(path, (_page(panels) if path.suffix == ".html" else svg(panels)).encode())


def wide_and_narrow(panels: Sequence[Panel]) -> tuple[str, str]:
    """``panels`` for a wide page and for a phone, by the classes ``wide`` and ``narrow``, of which its style shows one.

    In the colours of the page, whose style has `page_resource`'s ``colours.css``.
    """
    return _of_kind("wide", svg(panels, WIDE)), _of_kind("narrow", svg(panels, NARROW))


def _of_kind(kind: str, drawn: str) -> str:
    drawn = drawn.replace("<svg ", f'<svg class="{kind}" ', 1)
    for colour, name in _THEME.items():
        drawn = drawn.replace(f'"{colour}"', f'"var(--{name})"')
    return drawn


def page_resource(name: str) -> str:
    """What is in a file that comes with the program for its pages."""
    return (files("cli") / "report" / name).read_text(encoding="utf-8")


def _page(panels: Sequence[Panel]) -> str:
    wide, narrow = wide_and_narrow(panels)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(panels[0].title)}</title>
<style>
{page_resource("colours.css")}{_STYLE}</style>
<body>
{wide}{narrow}</body>
</html>
"""
