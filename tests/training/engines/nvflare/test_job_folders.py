"""Of the folders in a kit only those of jobs that have ended are removed, and the newest of them stay."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from training.engines.nvflare.job_folders import KEPT, remove_ended


@pytest.fixture
def jobs(tmp_path) -> list[Path]:
    """Twice as many folders of jobs as stay, the oldest first."""
    made = []
    for age in range(2 * KEPT, 0, -1):
        folder = tmp_path / str(uuid.uuid4())
        (folder / "app").mkdir(parents=True)
        (folder / "app" / "config.json").write_text("{}")
        os.utime(folder, (1e9 - age, 1e9 - age))
        made.append(folder)
    return made


def there(jobs: list[Path]) -> list[Path]:
    return [folder for folder in jobs if folder.exists()]


def test_the_newest_of_those_that_have_ended_stay(tmp_path, jobs):
    remove_ended(tmp_path, [])
    assert there(jobs) == jobs[-KEPT:]


def test_a_job_that_runs_keeps_its_folder_however_old_it_is(tmp_path, jobs):
    remove_ended(tmp_path, [jobs[0].name, jobs[2].name])
    assert there(jobs) == [jobs[0], jobs[2], *jobs[-KEPT:]]


def test_a_few_are_left_as_they_are(tmp_path, jobs):
    for folder in jobs[KEPT:]:
        (folder / "app" / "config.json").unlink()
        (folder / "app").rmdir()
        folder.rmdir()
    remove_ended(tmp_path, [])
    assert there(jobs) == jobs[:KEPT]


def test_nothing_is_removed_that_is_no_folder_with_the_name_of_a_job(tmp_path, jobs):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "ledger").write_text("spent")
    others = [tmp_path / name for name in ("startup", "local", "transfer", f"{uuid.uuid4()}.old", uuid.uuid4().hex)]
    for folder in others:
        folder.mkdir()
    link, file = tmp_path / str(uuid.uuid4()), tmp_path / str(uuid.uuid4())
    link.symlink_to(elsewhere)
    file.write_text("no folder")
    for path in (*others, file):
        os.utime(path, (0, 0))
    os.utime(link, (0, 0), follow_symlinks=False)
    remove_ended(tmp_path, [])
    assert all(path.exists() for path in (*others, link, file, elsewhere / "ledger"))
    assert there(jobs) == jobs[-KEPT:]


def test_what_cannot_be_removed_keeps_no_job_away(tmp_path, jobs, monkeypatch):
    def fail(*_, **__):
        raise PermissionError("not ours")

    monkeypatch.setattr(os, "rmdir", fail)
    remove_ended(tmp_path, [])
    assert there(jobs) == jobs
