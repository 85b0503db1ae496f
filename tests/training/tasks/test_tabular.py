from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from secagg.errors import InputError
from training.task import TaskSpec, bind_to_file, build_task

WriteTask = Callable[[str], TaskSpec]
TABLE = 'kind = "tabular-classification"\n[data]\nlabel = "sick"\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "site.csv"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(spec: TaskSpec, path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        build_task(spec).read(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.diagnostics()
    return caught.value


def test_the_four_hearts_have_the_records_that_flamby_keeps(heart_spec: TaskSpec, heart_files: tuple[Path]) -> None:
    task = build_task(heart_spec)
    sites = [task.read(path) for path in heart_files]
    assert [len(site) for site in sites] == [303, 261, 46, 130]
    assert {site.feature_names for site in sites} == {sites[0].feature_names}
    assert sites[0].features.shape == (303, 13)
    assert [int(site.labels.sum()) for site in sites] == [139, 98, 45, 101]


def test_the_first_heart_patient_is_read_as_written(heart_spec: TaskSpec, heart_files: tuple[Path]) -> None:
    cleveland = build_task(heart_spec).read(heart_files[0])
    first = dict(zip(cleveland.feature_names, cleveland.features[0].tolist(), strict=True))
    assert first["age"] == 63
    assert (first["cp=2"], first["cp=3"], first["cp=4"]) == (0, 0, 0)
    assert (first["restecg=1"], first["restecg=2"]) == (0, 1)
    assert first["oldpeak"] == pytest.approx(2.3)
    assert cleveland.labels[0] == 0


def test_absent_levels_still_have_their_column(write_task: WriteTask, tmp_path: Path) -> None:
    spec = write_task(TABLE + '[data.categorical]\nkind = ["a", "b", "c"]\n')
    records = build_task(spec).read(write(tmp_path, "kind,sick\na,0\nc,1\n"))
    assert records.feature_names == ("kind=b", "kind=c")
    assert records.features.tolist() == [[0, 0], [0, 1]]


def test_an_unknown_level_names_line_column_and_value(write_task: WriteTask, tmp_path: Path) -> None:
    spec = write_task(TABLE + "[data.categorical]\nkind = [1, 2]\n")
    error = refusal(spec, write(tmp_path, "kind,sick\n1,0\n7,1\n"))
    assert error.reason == "unknown-level"
    assert "line 3: column 'kind' holds '7', which is not one of 1, 2" in error.message


def test_the_remedy_for_an_unknown_level_is_right_before_a_charter_is_signed_and_after(
    write_task: WriteTask, tmp_path: Path
) -> None:
    spec = write_task(TABLE + '[data.categorical]\nsex = ["M", "F"]\n')
    remedy = refusal(spec, write(tmp_path, "sex,sick\nM,0\nm,1\n")).remedy
    for way in ("capitals", "add it to data.categorical in the task", "once a charter is signed, that needs a new one"):
        assert way in remedy


def test_a_level_with_an_underscore_is_not_met_by_a_number(write_task: WriteTask, tmp_path: Path) -> None:
    spec = write_task(TABLE + '[data.categorical]\nkind = ["3", "1_2"]\n')
    records = build_task(spec).read(write(tmp_path, "kind,sick\n3,0\n1_2,1\n"))
    assert records.features.tolist() == [[0], [1]]
    assert refusal(spec, write(tmp_path, "kind,sick\n3,0\n12,1\n")).reason == "unknown-level"


def test_a_missing_label_column_lists_the_columns_that_exist(write_task: WriteTask, tmp_path: Path) -> None:
    path = write(tmp_path, "age,ill\n1,0\n")
    error = refusal(write_task(TABLE), path)
    assert error.reason == "missing-label-column"
    assert "age, ill" in error.message
    with pytest.raises(InputError, match="age, ill"):
        bind_to_file(write_task(TABLE), path)


def test_a_label_that_is_text_is_to_be_numbered_not_to_be_made_categorical(
    write_task: WriteTask, tmp_path: Path
) -> None:
    error = refusal(write_task(TABLE), write(tmp_path, "age,sick\n1,yes\n2,no\n"))
    assert error.reason == "not-a-number"
    assert "number its classes 0, 1" in error.remedy
    assert "categorical" not in error.remedy


def test_text_in_a_number_column_names_line_and_column(write_task: WriteTask, tmp_path: Path) -> None:
    for text in ("high", "1_000", "1,5"):
        error = refusal(write_task(TABLE), write(tmp_path, f'age,sick\n1,0\n\n"{text}",1\n'))
        assert error.reason == "not-a-number"
        assert "line 4: column 'age'" in error.message


@pytest.mark.parametrize("text", ["2020-02-19", "P0000", "seen in March"])
def test_a_column_that_holds_no_numbers_may_be_a_patient_s_name_a_code_or_nothing_to_learn_from(
    write_task: WriteTask, tmp_path: Path, text: str
) -> None:
    remedy = refusal(write_task(TABLE), write(tmp_path, f"age,sick\n{text},1\n")).remedy
    assert all(way in remedy for way in ("data.drop", "data.patient", "data.categorical", "missing_values"))


def test_a_long_cell_is_not_repeated_in_the_error(write_task: WriteTask, tmp_path: Path) -> None:
    error = refusal(write_task(TABLE), write(tmp_path, f"age,sick\n{'x' * 500},1\n"))
    assert len(error.message) < 300


@pytest.mark.parametrize("value", ["nan", "inf", "1e300"])
def test_a_value_that_no_model_can_use_names_the_column(write_task: WriteTask, tmp_path: Path, value: str) -> None:
    error = refusal(write_task(TABLE), write(tmp_path, f"age,sick\n1,0\n{value},1\n"))
    assert error.reason == "nan-features"
    assert "'age'" in error.message


def test_missing_values_are_refused_unless_rows_may_be_dropped(write_task: WriteTask, tmp_path: Path) -> None:
    text = "age,unused,sick\n1,,0\n?,5,1\n,5,1\n4,5,1\n"
    settings = 'drop = ["unused"]\nmissing_values = ["?"]\n'
    error = refusal(write_task(TABLE + settings), write(tmp_path, text))
    assert error.reason == "missing-value"
    assert "line 3: column 'age'" in error.message
    kept = build_task(write_task(TABLE + settings + 'missing = "drop-row"\n')).read(write(tmp_path, text))
    assert kept.features[:, 0].tolist() == [1, 4]


DROPPING = TABLE + 'missing = "drop-row"\n'


def test_of_a_file_that_is_mostly_left_out_it_is_told_how_many_rows_are_used_and_which_columns_are_empty(
    write_task: WriteTask, tmp_path: Path
) -> None:
    rows = 4 * "1,2,0\n" + 9 * "1,,1\n" + ",,1\n"
    path = write(tmp_path, f"age,dose,sick\n{rows}")
    records = build_task(write_task(DROPPING)).read(path)
    (caution,) = records.cautions
    assert caution.code == "rows-left-out"
    assert caution.message == f"4 of 14 rows of {path} are used; 10 lack a value (dose 10, age 1)."
    assert records.take([0, 1]).cautions == (caution,)


@pytest.mark.parametrize(("empty", "codes"), [(0, []), (1, []), (2, ["rows-left-out"])])
def test_of_up_to_a_tenth_of_the_rows_nothing_is_told(
    write_task: WriteTask, tmp_path: Path, empty: int, codes: list[str]
) -> None:
    rows = (10 - empty) * "1,0\n" + empty * ",1\n"
    records = build_task(write_task(DROPPING)).read(write(tmp_path, f"age,sick\n{rows}"))
    assert [caution.code for caution in records.cautions] == codes


def test_of_many_columns_those_are_named_that_most_rows_lack(write_task: WriteTask, tmp_path: Path) -> None:
    rows = "1,2,3,4,0\n,,,,1\n,,,4,1\n,,3,4,1\n,2,3,4,1\n"
    records = build_task(write_task(DROPPING)).read(write(tmp_path, f"a,b,c,d,sick\n{rows}"))
    (caution,) = records.cautions
    assert "(a 4, b 3, c 2 and 1 more)" in caution.message


def test_a_site_with_nothing_left_is_empty(write_task: WriteTask, tmp_path: Path) -> None:
    spec = write_task(TABLE + 'missing = "drop-row"\n')
    for text in ("age,sick\n", "age,sick\n,1\n"):
        assert refusal(spec, write(tmp_path, text)).reason == "empty-site"
    assert refusal(spec, write(tmp_path, "")).reason == "empty-site"


def test_rows_of_one_patient_stay_together_and_the_name_is_no_feature(write_task: WriteTask, tmp_path: Path) -> None:
    spec = write_task(TABLE + 'patient = "who"\n')
    records = build_task(spec).read(write(tmp_path, "who,age,sick\nzoe,1,0\nann,2,1\nzoe,3,1\n"))
    assert records.patients.tolist() == [0, 1, 0]
    assert records.feature_names == ("age",)


def test_a_patient_whose_name_is_written_in_two_ways_is_one(write_task: WriteTask, tmp_path: Path) -> None:
    spec = write_task(TABLE + 'patient = "who"\n')
    names = ("P-17", "p-17 ", "007", "7.0", "P-18")
    rows = "".join(f"{name},{age},0\n" for age, name in enumerate(names))
    assert build_task(spec).read(write(tmp_path, f"who,age,sick\n{rows}")).patients.tolist() == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("label", ["2", "-1", "0.5", "nan", "inf"])
def test_a_label_that_is_no_class_is_refused(write_task: WriteTask, tmp_path: Path, label: str) -> None:
    error = refusal(write_task(TABLE), write(tmp_path, f"age,sick\n1,{label}\n"))
    assert error.reason == "bad-labels"
    assert "line 2" in error.message


def test_a_label_that_is_no_finite_number_is_not_above_anything(write_task: WriteTask, tmp_path: Path) -> None:
    task = write_task(TABLE.replace("[data]", "[data]\npositive_above = 0"))
    for label in ("inf", "1e400", "nan"):
        assert refusal(task, write(tmp_path, f"age,sick\n1,{label}\n")).reason == "bad-labels"


def test_parquet_gives_the_same_records_as_csv(write_task: WriteTask, tmp_path: Path) -> None:
    numbers = [0.1, 1e-7, 3.0]
    path = tmp_path / "site.parquet"
    table = pa.table({"age": numbers, "smokes": [True, False, True], "kind": ["a", "b", "a"], "sick": [0, 1, 1]})
    pq.write_table(table, path)
    spec = write_task(TABLE + '[data.categorical]\nkind = ["a", "b"]\n')
    records = build_task(spec).read(path)
    text = "age,smokes,kind,sick\n" + "".join(
        f"{age!r},{smokes},{kind},{sick}\n"
        for age, smokes, kind, sick in zip(numbers, (1, 0, 1), "aba", (0, 1, 1), strict=True)
    )
    same = build_task(spec).read(write(tmp_path, text))
    np.testing.assert_array_equal(records.features, same.features)
    np.testing.assert_array_equal(records.labels, same.labels)


@pytest.mark.parametrize("nobody", ["", "NA", "nan", "NaN", "None", "NaT", "<NA>", "NULL", "null"])
def test_rows_of_patients_who_are_not_known_are_not_taken_for_one_patients(
    write_task: WriteTask, tmp_path: Path, nobody: str
) -> None:
    text = f"name,age,sick\nada,1,0\n{nobody},2,0\nNadine,3,1\n {nobody},4,1\n"
    error = refusal(write_task(TABLE + 'patient = "name"\n'), write(tmp_path, text))
    assert error.reason == "missing-value"
    assert "line 3: column 'name' has no value" in error.message
    kept = build_task(write_task(TABLE + 'patient = "name"\nmissing = "drop-row"\n')).read(write(tmp_path, text))
    assert (kept.features[:, 0].tolist(), kept.patients.tolist()) == ([1, 3], [0, 1])


def test_of_other_columns_the_task_says_what_is_missing(write_task: WriteTask, tmp_path: Path) -> None:
    spec = write_task(TABLE + 'patient = "name"\n[data.categorical]\nregion = ["EU", "NA"]\n')
    assert len(build_task(spec).read(write(tmp_path, "name,region,sick\nada,NA,0\nbob,EU,1\n"))) == 2


def test_a_nan_that_parquet_kept_is_no_patient(write_task: WriteTask, tmp_path: Path) -> None:
    path = tmp_path / "site.parquet"
    pq.write_table(pa.table({"name": [1.0, float("nan")], "age": [1, 2], "sick": [0, 1]}), path)
    assert refusal(write_task(TABLE + 'patient = "name"\n'), path).reason == "missing-value"


def test_a_null_in_parquet_is_a_missing_value_naming_the_row(write_task: WriteTask, tmp_path: Path) -> None:
    path = tmp_path / "site.parquet"
    pq.write_table(pa.table({"age": [1.0, None], "sick": [0, 1]}), path)
    error = refusal(write_task(TABLE), path)
    assert error.reason == "missing-value"
    assert "row 2: column 'age'" in error.message


def test_an_unbound_task_builds_no_model_and_a_bound_one_builds_it_without_data(
    write_task: WriteTask, tmp_path: Path
) -> None:
    spec = write_task(TABLE)
    with pytest.raises(InputError) as caught:
        build_task(spec).build_model()
    assert caught.value.reason == "unbound-task"
    bound = bind_to_file(spec, write(tmp_path, "age,height,sick\n1,2,0\n"))
    charter = TaskSpec.from_settings(bound.kind, bound.settings_json())
    assert [tuple(p.shape) for p in build_task(charter).build_model().parameters()] == [(1, 2), (1,)]


def test_a_file_that_lacks_a_feature_is_refused(write_task: WriteTask, tmp_path: Path) -> None:
    spec = write_task(TABLE + 'features = ["age", "height"]\n')
    error = refusal(spec, write(tmp_path, "age,sick\n1,0\n"))
    assert error.reason == "missing-column"
    assert "'height'" in error.message
