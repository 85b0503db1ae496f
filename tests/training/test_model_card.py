"""A card says what was signed, however its names are spelt."""

from __future__ import annotations

import copy
import re
import shlex
from dataclasses import replace
from html import unescape

import msgspec
import pytest
from markdown_it import MarkdownIt

from secagg.charter import Privacy
from secagg.release.statement import PrivacyClaim
from tests.support.hospitals import choices_of, settings_for, tabular_spec, training_of
from training.draft import task_choice
from training.export_format import ExportFormat
from training.exporting import export_release
from training.model_card import model_card
from training.model_card_input import BLANK
from training.simulation import Observer, run
from training.simulation_folder import prepare
from training.tasks.spec import IMAGES, TaskSpec

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


def task(kind, **data):
    return TaskSpec.from_settings(kind, msgspec.json.encode({"data": data}))


def of_task(release, spec):
    """The same release, as if its charter were of another task."""
    charter = copy.copy(release.charter)
    charter.charter = msgspec.structs.replace(charter.charter, task=task_choice(spec))
    return replace(release, charter=charter)


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


def test_and_the_command_that_checks_it_can_be_copied_into_a_shell(release):
    html = MarkdownIt().enable("table").render(model_card(release, ExportFormat.ONNX, "our model; v2.onnx", "00"))
    command = unescape(html[html.index("<pre><code>") :].removeprefix("<pre><code>").partition("</code>")[0])
    assert shlex.split(command) == ["secagg", "model", "verify", "our model; v2.onnx", "--charter", "charter"]


def test_the_card_says_which_numbers_of_patients_sums_have_shown(release):
    card = model_card(release, ExportFormat.ONNX, "m.onnx", "00")
    told = "Whoever saw a sum saw, over all hospitals in it: how many patients were trained on, counting"
    assert f"No hospital sent a count in clear. {told}" in card


def made_private(release, spec):
    """The same release, as if its charter had differential privacy and were of this task."""
    found = of_task(release, spec)
    found.charter.charter = msgspec.structs.replace(
        found.charter.charter,
        training=training_of(rounds=1, weighting="uniform"),
        privacy=Privacy(mode="local", noise_multiplier=1.0, budget=8.0),
    )
    claim = PrivacyClaim(mode="local", unit="patient", epsilon=3.0, delta=1e-5)
    predicate = msgspec.structs.replace(found.statement.predicate, privacy=claim)
    return replace(found, statement=msgspec.structs.replace(found.statement, predicate=predicate))


@pytest.mark.parametrize(
    ("spec", "unit", "patient"),
    [
        (tabular_spec(), "one row at the hospital", "each row: the task names no patient column"),
        (
            tabular_spec(patient="a|b"),
            "one patient with all of the patient's rows at the hospital",
            "all rows at a hospital with one 'a&#124;b'",
        ),
    ],
    ids=["no patient column", "one"],
)
def test_the_card_says_whom_epsilon_is_for(release, spec, unit, patient):
    card = model_card(made_private(release, spec), ExportFormat.ONNX, "m.onnx", "00")
    assert f"| unit of privacy | {unit} |\n| a patient is | {patient} |\n" in card


CLASSES = {
    "a threshold": (
        tabular_spec(positive_above=0),
        f"Class 1 is a number above 0 in the column `ill`, class 0 any other. What they stand for: {BLANK}.",
    ),
    "a label": (
        tabular_spec(classes=3),
        f"The class is the number in the column `ill`, 0 to 2. What they stand for: {BLANK}.",
    ),
    "folders": (
        task(IMAGES, class_names=("malignant", "be`nign")),
        "Class 0 is `malignant`, class 1 is ``be`nign``.",
    ),
    "an archive": (task(IMAGES, classes=3), f"What the classes 0 to 2 stand for: {BLANK}."),
    "somebody's own code": (
        task("mine:build", label="ill", positive_above=5),
        f"Class 1 is a number above 5 in the column `ill`, class 0 any other. What they stand for: {BLANK}.",
    ),
}


@pytest.mark.parametrize(("spec", "told"), CLASSES.values(), ids=CLASSES)
def test_the_card_says_what_each_class_is_and_leaves_open_what_nobody_has_said(release, spec, told):
    assert f"\n\n{told}\n\n" in model_card(of_task(release, spec), ExportFormat.ONNX, "m.onnx", "00")


def test_the_card_says_what_the_level_without_a_column_is_and_that_holes_were_left_out(release):
    data = {"features": ("age", "sex"), "categorical": {"sex": ("f", "m")}, "missing": "drop-row"}
    card = model_card(of_task(release, tabular_spec(**data)), ExportFormat.ONNX, "m.onnx", "00")
    told = "Where all columns of a categorical variable are 0, its value is the level that has no column: `sex=f`."
    assert f"`age`, `sex=m`. {told}" in card
    assert "(NaN) means nothing. Rows with a missing value were left out of the training." in card
    other = model_card(release, ExportFormat.ONNX, "m.onnx", "00")
    assert "a categorical variable" not in other
    assert "left out of the training" not in other


HEDGE = "The task's own code may do otherwise than is said here of classes and columns."


def test_of_a_custom_task_it_says_that_its_own_code_may_do_otherwise(release):
    spec = task("mine:build", label="ill", features=("age",), missing="drop-row")
    section = model_card(of_task(release, spec), ExportFormat.ONNX, "m.onnx", "00").split("## Training")[0]
    assert section.endswith(f"left out of the training.\n\n{HEDGE}\n\n")


def test_control_of_a_built_in_one_it_does_not(release):
    assert HEDGE not in model_card(release, ExportFormat.ONNX, "m.onnx", "00")


def test_the_card_names_the_backbone_that_is_in_the_file_and_what_it_takes_to_check_it(release):
    spec = TaskSpec.from_settings(
        "mine:build",
        msgspec.json.encode(
            {"model": {"train": "last-layer", "backbone": "_chest_.safetensors", "backbone_sha256": "9f" * 32}}
        ),
    )
    card = model_card(of_task(release, spec), ExportFormat.ONNX, "m.onnx", "00")
    assert f"| starts from | `_chest_.safetensors`, SHA-256 {'9f' * 32} |" in card
    assert "This file holds `_chest_.safetensors` too, as it was or trained further, but for a last layer" in card
    assert "and with the backbone `_chest_.safetensors`, and with the code of `mine:build`, anybody can check" in card


def test_control_where_there_is_neither_the_charter_is_enough(release):
    card = model_card(release, ExportFormat.ONNX, "m.onnx", "00")
    assert "starts from" not in card
    assert "With the charter, which every hospital has, anybody can check who made it" in card
