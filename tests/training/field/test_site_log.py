"""What a site writes about itself: enough to act on, and nothing that its patients are in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from secagg.errors import InputError
from training.field.site_log import fields_of, site_log


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_error_is_logged_with_its_reason_and_remedy(tmp_path):
    with site_log(tmp_path / "log" / "site.jsonl") as logger:
        error = InputError("unreadable", "It cannot be read.", culprit="a.csv", remedy="Mend it.")
        logger.warning("refused", extra=fields_of(error))
    (line,) = lines(tmp_path / "log" / "site.jsonl")
    assert (line["event"], line["reason"], line["culprit"], line["remedy"]) == (
        "refused",
        "unreadable",
        "a.csv",
        "Mend it.",
    )


def test_an_unexpected_error_is_logged_by_kind_and_place_and_never_by_text(tmp_path):
    with site_log(tmp_path / "site.jsonl") as logger:
        try:
            raise ValueError("patient 4711 has a malformed age")
        except ValueError:
            logger.exception("a message could not be answered")
    (line,) = lines(tmp_path / "site.jsonl")
    assert line["error"] == "ValueError"
    assert "test_site_log.py" in line["at"][0]
    assert "4711" not in (tmp_path / "site.jsonl").read_text()


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="there is no file that is always full")
def test_where_a_line_finds_no_room_the_text_of_the_error_in_it_goes_nowhere_else(capsys):
    """Standard error of a job's process is NVFlare's log."""
    with site_log(FULL) as logger:
        try:
            raise ValueError("patient 4711 has a malformed age")
        except ValueError:
            logger.exception("a message could not be answered")
    told = capsys.readouterr().err
    assert "/dev/full lacks a line: OSError" in told
    assert "4711" not in told


@pytest.mark.skipif(not FULL.exists(), reason="there is no file that is always full")
def test_nor_does_a_log_without_room_hide_what_went_wrong():
    def fail():
        with site_log(FULL) as logger:
            logger.info("begun")
            raise InputError("unwritable", "The latch cannot be written.")

    with pytest.raises(InputError):
        fail()


def test_it_is_appended_to_and_belongs_to_its_own_account(tmp_path):
    for _ in range(2):
        with site_log(tmp_path / "site.jsonl") as logger:
            logger.info("started")
    assert len(lines(tmp_path / "site.jsonl")) == 2
    assert (tmp_path / "site.jsonl").stat().st_mode & 0o777 == 0o600


def test_each_file_that_follows_a_full_one_belongs_to_its_own_account_too(tmp_path):
    before = os.umask(0o022)
    try:
        with site_log(tmp_path / "site.jsonl") as logger:
            logger.info("first")
            logger.handlers[0].doRollover()
            logger.info("second")
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "site.jsonl": 0o600,
        "site.jsonl.1": 0o600,
    }
