"""Harnesses for a site's own files: its records, its ledger, its state file, a task. Most decoders are others'."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from dp.ledger import Ledger, PatientList
from dp.ledger.entries import LEDGER
from dp.ledger.export import export_ledger, read_export
from secagg.errors import InputError, TamperingError
from secagg.signed_log import read_log
from tests.fuzz.files import DEEP_TOML, one_file
from tests.fuzz.harness import Harness, nested, on_a_file, scratch
from tests.support.consortium import make_identities
from training.hospital_state import HospitalState, load_state
from training.readers.csv import read_csv
from training.readers.image_folder import read_image_folder
from training.readers.npz import read_npz
from training.readers.parquet import read_parquet
from training.tasks.spec import TaskSpec, load_task_file

_SITE = make_identities(1)[0]
_TASK = b"""
kind = "tabular-classification"
[model]
name = "logistic"
[data]
label = "ill"
features = ["age", "dose"]
standardise = "bounds"
bounds = { age = [0.0, 100.0], dose = [0, 4] }
categorical = { dose = [0, 1] }
[evaluation]
test_fraction = 0.25
"""
_SETTINGS = b'{"data":{"label":"ill","features":["age"],"standardise":"none"},"evaluation":{"bins":64},"model":{}}'


def _ledger_seeds() -> list[bytes]:
    path = scratch() / "seed-ledger.sqlite"
    with Ledger(path, _SITE) as ledger:
        for number in range(1, 4):
            ledger.note_unprotected("a" * 64, "b" * 64, number, 1e-5, "now")
    return [one_file(path)]


def _export_seeds() -> list[bytes]:
    path = scratch() / "seed-export.sqlite"
    with Ledger(path, _SITE) as ledger:
        ledger.note_unprotected("a" * 64, "b" * 64, 1, 1e-5, "now")
    return [export_ledger(path, _SITE)]


def _patients_seeds() -> list[bytes]:
    return [PatientList.of([[b"a" * 16], [b"b" * 16, b"c" * 16]]).encode()]


def _state_file_seeds() -> list[bytes]:
    path = scratch() / "seed.safetensors"
    HospitalState.start(bytes(32), np.zeros(3, dtype=np.float32)).save(path)
    return [path.read_bytes()]


def _npz_seeds() -> list[bytes]:
    arrays = {"images": np.zeros((2, 4, 4), np.uint8), "labels": np.arange(2), "patients": np.array([7, 7])}
    found = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, **arrays)
        found.append(file.getvalue())
    return found


def _parquet_seeds() -> list[bytes]:
    file = io.BytesIO()
    pq.write_table(pa.table({"age": [1.5, None], "ill": [True, False], "name": ["a", "b"]}), file)
    return [file.getvalue()]


def _picture_seeds() -> list[bytes]:
    found = []
    for form in ("PNG", "BMP", "JPEG", "TIFF"):
        file = io.BytesIO()
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(file, form)
        found.append(file.getvalue())
    return found


def _read_pictures(path: Path) -> object:
    folder = path.parent / "classes"
    for name in ("0", "1"):
        (folder / name).mkdir(parents=True)
        (folder / name / "picture.png").hardlink_to(path)
    return read_image_folder(folder, 4, 1, ("0", "1"))


HARNESSES = (
    Harness(
        "ledger",
        _ledger_seeds,
        on_a_file("ledger.sqlite", lambda path: read_log(path, _SITE.public_key, LEDGER)),
        (InputError, TamperingError),
    ),
    Harness(
        "ledger-export",
        _export_seeds,
        on_a_file("ledger.json", lambda path: read_export(path, _SITE.public_key)),
        (InputError, TamperingError),
    ),
    Harness("patient-list", _patients_seeds, PatientList.decode, (ValueError,)),
    Harness(
        "state-file",
        _state_file_seeds,
        on_a_file("checkpoint.safetensors", lambda path: load_state(path, bytes(32))),
        (TamperingError,),
    ),
    Harness("task", lambda: [_TASK, *DEEP_TOML], on_a_file("task.toml", load_task_file), (InputError,)),
    Harness(
        "task-settings",
        lambda: [_SETTINGS, *nested(b"[", b'{"a":')],
        partial(TaskSpec.from_settings, "tabular-classification"),
        (InputError,),
    ),
    Harness(
        "csv",
        lambda: [b"age,dose,ill\n1,2.5,0\n3,,1\n", b'\xef\xbb\xbfa,"b\n c"\n1,2\n'],
        on_a_file("table.csv", lambda path: read_csv(path, ())),
        (InputError,),
    ),
    Harness("npz", _npz_seeds, on_a_file("images.npz", lambda path: read_npz(path, "", 4, 1)), (InputError,)),
    Harness("parquet", _parquet_seeds, on_a_file("table.parquet", read_parquet), (InputError,)),
    Harness("pictures", _picture_seeds, on_a_file("pictures.bin", _read_pictures), (InputError,)),
)
