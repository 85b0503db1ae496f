"""A card says what was signed, however its names are spelt."""

from __future__ import annotations

import re
from html import unescape

import pytest
from markdown_it import MarkdownIt

from tests.support.hospitals import choices_of, settings_for, tabular_spec, training_of
from training.export_format import ExportFormat
from training.exporting import export_release
from training.model_card import model_card
from training.simulation import Observer, run
from training.simulation_folder import prepare

NAMES = ("A&E > 1", "`quoted`", "b``c", "x|y", "*_bold_*", "<b>", r"back\slash", "")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A release of a model whose columns have ``NAMES``."""
    folder = tmp_path_factory.mktemp("card")
    spec = tabular_spec(features=NAMES)
    sites = [folder / f"h{number}.csv" for number in range(3)]
    for site in sites:
        rows = [",".join(map(str, (*range(row, row + len(NAMES)), row % 2))) for row in range(20)]
        site.write_text("\n".join([",".join((*NAMES, "ill")), *rows]))
    prepare(folder / "run", settings_for(sites, choices_of(training_of(rounds=1)), spec))
    run(folder / "run", Observer())
    return export_release(folder / "run/release", ExportFormat.SAFETENSORS)[0]


def code_in(html):
    return [unescape(found) for found in re.findall("<code>(.*?)</code>", html)]


def test_the_names_of_columns_are_read_as_they_are_in_the_file(release):
    html = MarkdownIt().enable("table").render(model_card(release, ExportFormat.SAFETENSORS, "m.safetensors", "00"))
    columns = next(line for line in html.splitlines() if "Columns, in this order" in line)
    assert code_in(columns) == [name or " " for name in NAMES]
    assert re.sub("<code>.*?</code>", "", columns) == f"<p>Columns, in this order: {', ' * (len(NAMES) - 1)}.</p>"


@pytest.mark.parametrize("name", ["a|b.onnx", "A&E.onnx", "`.onnx"])
def test_so_is_the_name_of_the_file(release, name):
    html = MarkdownIt().enable("table").render(model_card(release, ExportFormat.ONNX, name, "00"))
    row = html[html.index("<td>this file, ") :]
    assert code_in(row[: row.index("</tr>")]) == [name, "00"]


def test_the_card_says_which_numbers_of_patients_sums_have_shown(release):
    card = model_card(release, ExportFormat.ONNX, "m.onnx", "00")
    assert "No hospital sent a count in clear. Whoever saw a sum saw totals over the hospitals in it, " in card
    assert "of patients trained on." in card
