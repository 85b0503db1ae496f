from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from secagg.errors import InputError
from training.task import Task, TaskSpec, build_task, load_custom_task

CUSTOM = """
from training.tasks.images import ImageTask

def build(spec):
    return ImageTask(spec)

def nothing(spec):
    return None
"""


@pytest.fixture
def custom_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "ward_task.py").write_text(CUSTOM)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "ward_task", raising=False)
    return "ward_task"


def test_the_shipped_kinds_are_tasks(write_task: Callable[[str], TaskSpec], heart_spec: TaskSpec) -> None:
    for spec in (heart_spec, write_task('kind = "image-classification"\n')):
        task = build_task(spec)
        assert isinstance(task, Task)
        assert task.spec == spec


def test_a_charter_alone_never_imports_code(custom_module: str) -> None:
    spec = TaskSpec.from_settings(f"{custom_module}:build", b"{}")
    with pytest.raises(InputError) as caught:
        build_task(spec)
    assert caught.value.reason == "custom-task"
    assert custom_module not in sys.modules


def test_a_custom_task_is_loaded_on_purpose(custom_module: str) -> None:
    spec = TaskSpec.from_settings(f"{custom_module}:build", b"{}")
    assert load_custom_task(spec).spec == spec


@pytest.mark.parametrize("function", ["nothing", "absent"])
def test_code_that_gives_no_task_is_refused(custom_module: str, function: str) -> None:
    with pytest.raises(InputError) as caught:
        load_custom_task(TaskSpec.from_settings(f"{custom_module}:{function}", b"{}"))
    assert caught.value.reason == "custom-task"


def test_a_package_that_is_not_installed_is_refused() -> None:
    with pytest.raises(InputError, match="no_such_package"):
        load_custom_task(TaskSpec.from_settings("no_such_package:build", b"{}"))
