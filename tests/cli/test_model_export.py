"""`secagg model export`: a file for others, a card that says whose it is, and a check that needs the charter."""

from __future__ import annotations

import os
import re

import pytest

from dp.stated import no_less
from secagg.charter.cautions import shared_key
from tests.cli.outcome import TAMPERING, UNUSABLE, flip, nothing_written


def export(secagg, finished, here, *more):
    return secagg("model", "export", finished / "release", "--format", "safetensors", "--out", "m.safetensors", *more)


def test_an_export_is_written_and_verified(secagg, finished, here):
    written = export(secagg, finished, here, "--json").json
    assert re.fullmatch("[0-9a-f]{64}", written["sha256"])
    verified = secagg("model", "verify", "m.safetensors", "--charter", finished / "charter", "--json").json
    assert verified["signed_by"] == ["h1", "h2", "h3", "h4"]
    flip(here / "m.safetensors", -1)
    checked = secagg("model", "verify", "m.safetensors", "--charter", finished / "charter")
    checked.failed(TAMPERING, "model-altered", "Do not use it")


def test_another_charter_than_that_of_the_export_is_said_to_be_the_likeliest_cause(secagg, finished, simulate, here):
    export(secagg, finished, here)
    assert simulate().code == 0
    checked = secagg("model", "verify", "m.safetensors", "--charter", "run/charter")
    checked.failed(TAMPERING, "other-charter", "Check it with the charter under which it was made.")


def test_a_file_whose_name_is_no_text_is_written_and_its_card_spells_it(secagg, finished, here):
    name = os.fsdecode(b"m\xff.safetensors")
    export = ("model", "export", finished / "release", "--format", "safetensors", "--out", name, "--card", "card.md")
    assert secagg(*export, "--json").json["path"] == "m\\udcff.safetensors"
    assert "m\\udcff.safetensors" in (here / "card.md").read_text()


def test_nothing_is_overwritten_and_nothing_half_written(secagg, finished, here):
    (here / "README.md").write_text("mine")
    with nothing_written(here):
        export(secagg, finished, here, "--card", "README.md").failed(UNUSABLE, "exists", "README.md")


def test_an_export_is_not_its_own_card(secagg, finished, here):
    for card in ("m.safetensors", "./m.safetensors", here / "m.safetensors"):
        with nothing_written(here):
            export(secagg, finished, here, "--card", card).failed(UNUSABLE, "same-file", "m.safetensors")


def test_where_the_card_cannot_be_written_there_is_no_export_either(secagg, finished, here):
    (here / "taken").write_text("no folder")
    with nothing_written(here):
        export(secagg, finished, here, "--card", "taken/README.md").failed(UNUSABLE, "unwritable", "taken")
    assert export(secagg, finished, here, "--card", "README.md").code == 0


def test_an_altered_release_is_not_exported(secagg, finished, here):
    flip(finished / "release/model.safetensors", -1)
    with nothing_written(here):
        export(secagg, finished, here).failed(TAMPERING, "model-altered")


def test_a_file_wants_a_charter_and_a_folder_has_its_own(secagg, finished, here):
    export(secagg, finished, here)
    secagg("model", "verify", "m.safetensors").failed(UNUSABLE, "usage", "--charter")
    mistyped = secagg("model", "verify", "m.safetensor", "--charter", finished / "charter")
    mistyped.failed(UNUSABLE, "unreadable", "m.safetensor cannot be read: No such file")
    secagg("model", "verify", finished / "release", "--charter", finished / "charter").failed(UNUSABLE, "usage")


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_the_card_of_a_scheme_with_one_key_promises_nothing_against_colluders(secagg, simulate, here, scheme):
    assert simulate("--scheme", scheme).code == 0
    assert export(secagg, here / "run", here, "--card", "README.md").code == 0
    card = (here / "README.md").read_text()
    assert "| hospitals that may collude without seeing another's update in a round | none: all have one key |" in card
    assert f"- {shared_key(scheme).message}\n" in card
    assert "More than" not in card


def test_and_under_masking_how_many_may(secagg, finished, here):
    assert export(secagg, finished, here, "--card", "README.md").code == 0
    card = (here / "README.md").read_text()
    assert "| hospitals that may collude without seeing another's update in a round | 1 |" in card
    assert "- More than 1 hospital colluding with the coordinator may have seen updates, and over several" in card


def test_the_card_says_what_was_signed_and_leaves_open_what_was_not(secagg, finished, here):
    written = export(secagg, finished, here, "--card", "README.md", "--json").json
    card = (here / "README.md").read_text()
    predicate = secagg("model", "show", finished / "release", "--json").json["predicate"]
    assert card.startswith("---\n")
    front = card.split("---\n")[1]
    assert "pipeline_tag: tabular-classification" in front
    assert "  - differential-privacy" in front
    for told in (
        written["sha256"],
        predicate["modelDigest"],
        predicate["charter"],
        f"| epsilon | {no_less(predicate['privacy']['epsilon'], 4)} |",
        "| delta | 1e-05 |",
        "| epsilon if one patient is exchanged for another (both trained on, or both held back for validation) | ",
        "one patient",
        "| rounds | 2, which gave 2 sums |",
        "| h2 | 1 |",
        "`age`, `dose`",
    ):
        assert told in card, told
    assert card.count("[TO BE FILLED IN BY THE OWNERS]") == 7
    assert "compliant" not in card
