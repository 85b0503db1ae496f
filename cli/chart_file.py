"""Charts as files: SVG, or a page of HTML that holds it.

Knows names and what is around a drawing. What is drawn is `cli.chart`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

import click

from cli.chart import Panel, svg
from secagg.files import write_atomically

_SUFFIXES: Final = (".svg", ".html")


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
    drawn = svg(panels)
    if path.suffix == ".html":
        head = f'<html lang="en">\n<meta charset="utf-8">\n<title>{escape(panels[0].title)}</title>'
        drawn = f"<!doctype html>\n{head}\n<body>\n{drawn}</body>\n</html>\n"
    write_atomically(path, drawn.encode())
