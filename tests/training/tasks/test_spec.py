from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from secagg.errors import InputError
from training.task import DataSpec, TaskSpec, bind_to_file, load_task_file
from training.tasks.spec import input_names, level_key

TABLE = 'kind = "tabular-classification"\n[data]\nlabel = "y"\n'
IMAGE = 'kind = "image-classification"\n'
WriteTask = Callable[[str], TaskSpec]


def test_a_charter_gives_back_the_task_and_the_same_bytes(heart_spec: TaskSpec) -> None:
    settings = heart_spec.settings_json()
    again = TaskSpec.from_settings(heart_spec.kind, settings)
    assert again == heart_spec
    assert again.settings_json() == settings


def test_the_order_of_settings_in_the_file_does_not_change_the_bytes(write_task: WriteTask) -> None:
    one = write_task(TABLE + 'drop = ["a"]\nclasses = 2\n[data.categorical]\nu = [1, 2]\nv = [1, 2]\n')
    two = write_task(
        'kind = "tabular-classification"\n[model]\n[data]\nclasses = 2\ndrop = ["a"]\nlabel = "y"\n'
        "[data.categorical]\nv = [1, 2]\nu = [1, 2]\n"
    )
    assert one.settings_json() == two.settings_json()


def test_columns_in_the_task_file_bind_it_without_data(heart_spec: TaskSpec) -> None:
    assert heart_spec.is_bound
    assert heart_spec.data.features[:3] == ("age", "sex", "cp")
    assert len(heart_spec.data.features) == 10
    assert len(input_names(heart_spec.data)) == 13


def test_binding_writes_out_all_columns_but_label_patient_and_dropped_ones(write_task: WriteTask) -> None:
    spec = write_task(TABLE + 'patient = "who"\ndrop = ["d"]\n')
    assert not spec.is_bound
    bound = spec.bind(("who", "b", "d", "a", "y"))
    assert bound.data.features == ("b", "a")
    assert bound.is_bound
    assert bound.bind(("other",)) == bound


def test_binding_to_a_file_that_lacks_a_named_column_is_refused(write_task: WriteTask) -> None:
    with pytest.raises(InputError, match=r"do not exist: d\. There are: a, y"):
        write_task(TABLE + 'drop = ["d"]\n').bind(("a", "y"))
    with pytest.raises(InputError, match="no column to learn from"):
        write_task(TABLE).bind(("y",))


@pytest.mark.parametrize("column", ["", "__index_level_0__", "Unnamed: 0", "Unnamed: 0.1", "Unnamed: 0_level_1"])
def test_a_column_without_a_name_is_learned_from_only_where_the_task_says_so(
    write_task: WriteTask, column: str
) -> None:
    file = (column, "age", "y")
    with pytest.raises(InputError, match="column without a name") as caught:
        write_task(TABLE).bind(file)
    assert caught.value.reason == "bad-task"
    assert write_task(TABLE + f'drop = ["{column}"]\n').bind(file).data.features == ("age",)
    assert write_task(TABLE + f'features = ["{column}", "age"]\n').bind(file).data.features == (column, "age")


def test_tables_are_standardised_and_images_are_not_unless_the_task_says_so(write_task: WriteTask) -> None:
    assert write_task(TABLE).data.standardise == "secure-sum"
    assert write_task(TABLE + 'standardise = "none"\n').data.standardise == "none"
    assert write_task(IMAGE).data.standardise == "none"


def test_an_image_task_is_bound_from_the_start(write_task: WriteTask) -> None:
    spec = write_task(IMAGE)
    assert spec.is_bound
    assert spec.bind(("ignored",)) == spec


def test_the_training_fraction_is_the_decimal_one(heart_spec: TaskSpec) -> None:
    assert heart_spec.evaluation.train_fraction == 0.66


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('kind = "clustering"\n', "no task kind"),
        ('kind = "a b:c"\n', "no task kind"),
        ("[model]\n", "no task kind"),
        ("kind = 3\n", "must be a string"),
        (TABLE + 'colour = "red"\n', "colour"),
        (TABLE + '[model]\nname = "forest"\n', "forest"),
        (TABLE + '[model]\nname = "cnn"\n', "needs images"),
        (TABLE + '[model]\nname = "mlp"\nhidden = [0]\n', "at least 1"),
        (TABLE + "[model]\nseed = -1\n", "seed"),
        (TABLE + '[model]\ntrain = "first-layer"\n', "first-layer"),
        (TABLE + "[model]\nlora_rank = 0\n", "lora_rank must be between 1 and 4096"),
        (TABLE + '[model]\nbackbone = "net.safetensors"\n', "together"),
        (TABLE + f'[model]\nbackbone_sha256 = "{64 * "0"}"\n', "together"),
        (TABLE + f'[model]\nbackbone = "net.pt"\nbackbone_sha256 = "{64 * "0"}"\n', ".safetensors"),
        (TABLE + f'[model]\nbackbone = "/etc/net.safetensors"\nbackbone_sha256 = "{64 * "0"}"\n', "without a folder"),
        (TABLE + f'[model]\nbackbone = "../net.safetensors"\nbackbone_sha256 = "{64 * "0"}"\n', "without a folder"),
        (TABLE + f'[model]\nbackbone = "net.safetensors"\nbackbone_sha256 = "{64 * "A"}"\n', "64 hexadecimal"),
        ('kind = "tabular-classification"\n', "data.label"),
        (TABLE + "header = false\n", "no header"),
        (TABLE + 'columns = ["a", "y"]\n', "no header"),
        (TABLE + 'features = ["a", "a"]\n', "twice"),
        (TABLE + 'features = ["a", "y"]\n', "cannot be a feature"),
        (TABLE + 'header = false\ncolumns = ["a", "b"]\n', "does not list: y"),
        (TABLE + 'header = false\ncolumns = ["a", "y"]\nfeatures = ["a"]\npatient = "who"\n', "does not list: who"),
        (TABLE + "classes = 1\n", "at least 2"),
        (TABLE + "classes = 3\npositive_above = 1\n", "two classes"),
        (TABLE + "positive_above = nan\n", "finite"),
        (TABLE + "most_rows = 0\n", "at least 1"),
        (TABLE + 'classes = 3\n[evaluation]\nmetric = "auc"\n', "two classes"),
        (TABLE + "[evaluation]\nbins = 7\n", "even"),
        (TABLE + "[evaluation]\ntest_fraction = 1.0\n", "test_fraction"),
        (TABLE + "[evaluation]\ntest_seed = -1\n", "test_seed"),
        (TABLE + "[data.categorical]\na = [1]\n", "two different levels"),
        (TABLE + '[data.categorical]\na = [1, "1.0"]\n', "two different levels"),
        (TABLE + 'features = ["b"]\n[data.categorical]\na = [1, 2]\n', "not among the features"),
        (TABLE + "[data.bounds]\na = [2, 1]\n", "lower first"),
        (TABLE + 'features = ["a"]\nstandardise = "bounds"\n', "needs data.bounds for: a"),
        (IMAGE + '[data]\nstandardise = "secure-sum"\n', "must be 'none'"),
        (IMAGE + "[data]\nimage_size = 2\n", "image_size"),
        (IMAGE + '[data]\nclass_names = ["a", "b", "c"]\n', "class_names"),
        (IMAGE + '[data]\nclass_names = ["a", "a"]\n', "class_names"),
        (IMAGE + '[data]\nclass_names = ["a", "b/c"]\n', "class_names"),
        (IMAGE + '[data]\nclass_names = ["a", ".b"]\n', "class_names"),
        (TABLE + 'class_names = ["a", "b"]\n', "class_names"),
        (IMAGE + "[data]\nimage_channels = 2\n", "image_channels"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_in_one_line(write_task: WriteTask, text: str, part: str) -> None:
    with pytest.raises(InputError) as caught:
        write_task(text)
    assert caught.value.reason == "bad-task"
    assert part in caught.value.message
    assert caught.value.message.startswith(f"{caught.value.culprit}: ")
    assert caught.value.culprit.endswith(".toml")
    assert "\n" not in caught.value.diagnostics()


def test_unbound_bounds_are_checked_when_the_task_is_bound(write_task: WriteTask) -> None:
    spec = write_task(TABLE + 'standardise = "bounds"\n[data.bounds]\na = [0, 1]\n')
    assert spec.bind(("a", "y")).is_bound
    with pytest.raises(InputError, match=r"needs data\.bounds for: b"):
        spec.bind(("a", "b", "y"))


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "task.toml"
    path.write_text("kind = ")
    with pytest.raises(InputError) as caught:
        load_task_file(path)
    assert caught.value.reason == "unreadable-task"
    assert caught.value.culprit == str(path)
    with pytest.raises(InputError, match=r"absent\.toml"):
        load_task_file(tmp_path / "absent.toml")


def test_a_file_that_is_not_utf_8_is_to_be_saved_as_such_and_the_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "task.toml"
    path.write_bytes((TABLE + 'drop = ["Größe"]\n').encode("latin-1"))
    with pytest.raises(InputError) as caught:
        load_task_file(path)
    line = TABLE.count("\n") + 1
    assert caught.value.reason == "unreadable-task"
    assert caught.value.message == f"Cannot read the task file {path}: line {line} is not UTF-8 text."
    assert caught.value.remedy == "Save the file as UTF-8."


def test_a_byte_order_mark_is_no_part_of_the_task(tmp_path: Path) -> None:
    path = tmp_path / "task.toml"
    path.write_bytes(b"\xef\xbb\xbf" + TABLE.encode())
    assert load_task_file(path).data.label == "y"


def test_a_file_that_does_not_fit_the_task_is_named(write_task: WriteTask, tmp_path: Path) -> None:
    path = tmp_path / "site.csv"
    path.write_text("a,y\n1,0\n")
    with pytest.raises(InputError, match=r"site\.csv does not fit the task: .* There are: a, y") as caught:
        bind_to_file(write_task(TABLE + 'drop = ["d"]\n'), path)
    assert (caught.value.reason, caught.value.culprit) == ("bad-task", str(path))


@pytest.mark.parametrize("settings", [b"", b"[]", b"{", b'{"data": 3}', b'{"stray": {}}', b"\xff"])
def test_settings_in_a_charter_that_are_no_task_are_refused(settings: bytes) -> None:
    with pytest.raises(InputError) as caught:
        TaskSpec.from_settings("image-classification", settings)
    assert caught.value.reason == "bad-task"


def test_one_level_has_one_spelling() -> None:
    assert {level_key(level) for level in (1, 1.0, "1", "1.0", " 1 ")} == {"1"}
    assert level_key("0.50") == "0.5"
    assert level_key(" yes ") == "yes"
    assert level_key("nan") == "nan"


def test_a_level_with_an_underscore_is_a_text_and_no_number() -> None:
    def names(*levels: str) -> tuple[str, ...]:
        return input_names(DataSpec(features=("age",), categorical={"age": levels}))

    assert names("30_39", "40_49", "50_59") == ("age=40_49", "age=50_59")
    settings = b'{"data": {"label": "y", "features": ["age"], "categorical": {"age": ["1_1", "11", "2"]}}}'
    spec = TaskSpec.from_settings("tabular-classification", settings)
    assert input_names(spec.data) == ("age=11", "age=2")
