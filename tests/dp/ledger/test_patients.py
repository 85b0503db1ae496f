"""A list of patients is what its name says, and who is in several data sets is found by any digest that they share."""

from __future__ import annotations

import hashlib
import stat
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.ledger.patients import PatientList, groups_of, keep_patients, read_patients
from secagg.errors import TamperingError

DIGESTS = st.integers(0, 9).map(lambda number: bytes([number]) * 16)
LISTS = st.lists(st.sets(DIGESTS, min_size=1, max_size=3), min_size=1, max_size=6).map(PatientList.of)


def people(*numbers: int) -> PatientList:
    return PatientList.of([[bytes([number]) * 16] for number in numbers])


@given(LISTS)
def test_a_list_reads_back_as_it_was_written_and_is_named_by_its_content(patients):
    assert PatientList.decode(patients.encode()) == patients
    assert patients.data_set == hashlib.sha256(patients.encode()).hexdigest()


@given(LISTS, st.randoms(use_true_random=False))
def test_no_order_tells_one_list_from_another(patients, random):
    mixed = [
        random.sample(digests, len(digests)) for digests in random.sample(patients.patients, len(patients.patients))
    ]
    assert PatientList.of(mixed) == patients


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"x" + data[1:],
        # A patient whom nothing is known by: that of no other data set could ever be the same.
        lambda data: data.replace(b"\n", b"\n" + bytes(4), 1),
    ],
)
def test_bytes_that_are_no_list_are_none(change):
    with pytest.raises(ValueError, match="list"):
        PatientList.decode(change(people(1, 2).encode()))


def test_a_kept_list_is_private_and_kept_once(tmp_path):
    patients = people(1, 2, 3)
    keep_patients(tmp_path / "patients", patients)
    (path,) = (tmp_path / "patients").iterdir()
    before = path.stat()
    assert stat.S_IMODE(before.st_mode) == 0o600
    keep_patients(tmp_path / "patients", patients)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert read_patients(tmp_path / "patients", patients.data_set) == patients
    assert read_patients(tmp_path / "patients", "0" * 64) is None


def test_every_altered_byte_and_every_other_list_is_found(tmp_path):
    patients, other = people(1, 2), people(3)
    keep_patients(tmp_path, patients)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    altered = [bytes([*content[:place], content[place] ^ 1, *content[place + 1 :]]) for place in range(len(content))]
    for data in (*altered, other.encode(), b"", content[:-20]):
        path.write_bytes(data)
        for call in (lambda: read_patients(tmp_path, patients.data_set), lambda: keep_patients(tmp_path, patients)):
            with pytest.raises(TamperingError) as caught:
                call()
            assert (caught.value.reason, caught.value.exit_code) == ("patients-altered", 4)
            assert caught.value.culprit == str(path)


def test_patients_are_counted_by_the_data_sets_that_they_are_in():
    lists = {"a": people(1, 2, 3, 4), "b": people(3, 4, 5), "c": people(4, 6), "d": people(7)}
    found = groups_of(lists)
    assert found["a"] == Counter({frozenset("a"): 2, frozenset("ab"): 1, frozenset("abc"): 1})
    assert found["c"] == Counter({frozenset("abc"): 1, frozenset("c"): 1})
    assert found["d"] == Counter({frozenset("d"): 1})


def test_two_who_share_nothing_but_a_third_are_one_patient():
    one, both, two = (
        PatientList.of([[b"1" * 16]]),
        PatientList.of([[b"1" * 16, b"2" * 16]]),
        PatientList.of([[b"2" * 16]]),
    )
    assert groups_of({"one": one, "two": two})["one"] == {frozenset({"one"}): 1}
    assert groups_of({"one": one, "two": two, "both": both})["one"] == {frozenset({"one", "two", "both"}): 1}


@given(st.dictionaries(st.sampled_from("abc"), LISTS, min_size=1))
def test_everybody_is_in_a_group_and_groups_are_as_a_slow_search_finds_them(lists):
    found = groups_of(lists)
    everybody = [(name, frozenset(digests)) for name, patients in lists.items() for digests in patients.patients]

    def met(start):
        reached = {start}
        while True:
            more = {other for other in everybody if any(other[1] & one[1] for one in reached)}
            if more <= reached:
                return frozenset(name for name, _ in reached)
            reached |= more

    for name in lists:
        assert found[name] == Counter(met(one) for one in everybody if one[0] == name)
