"""A kit is read for what it is, and one that was put together from parts of others is refused."""

from __future__ import annotations

import shutil

import pytest

from secagg.errors import InputError, SecaggError, TamperingError
from training.engines.nvflare.kit import read_kit
from training.engines.nvflare.process import launch


def reason_of(folder) -> str:
    with pytest.raises(SecaggError) as refused:
        read_kit(folder)
    return refused.value.reason


def test_an_empty_folder_holds_no_kit(tmp_path):
    assert reason_of(tmp_path) == "no-kit"


@pytest.mark.parametrize("name", ["fed_client.json", "client.crt", "client.key", "rootCA.pem"])
def test_a_file_that_is_something_else_is_named(hospital_kit, name):
    (hospital_kit / "startup" / name).write_text("Dear colleague")
    with pytest.raises(InputError) as refused:
        read_kit(hospital_kit)
    assert refused.value.reason == "malformed-kit"
    assert name in str(refused.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"sum.example.org", b"sum.\xff.org"), (b"{", b'{"of_a_later_version": ' + b"[" * 100_000)],
    ids=["not UTF-8", "lists in lists"],
)
def test_a_file_that_no_reader_of_json_takes_is_named_too(hospital_kit, before, after):
    path = hospital_kit / "startup" / "fed_client.json"
    path.write_bytes(path.read_bytes().replace(before, after, 1))
    with pytest.raises(InputError, match=r"fed_client\.json") as refused:
        read_kit(hospital_kit)
    assert refused.value.reason == "malformed-kit"


def test_a_missing_certificate_is_named(hospital_kit):
    (hospital_kit / "startup" / "client.crt").unlink()
    assert reason_of(hospital_kit) == "unreadable"


@pytest.mark.parametrize("target", ["sum.example.org", "sum.example.org:", "sum.example.org:x"])
def test_a_server_without_a_port_is_malformed(hospital_kit, target):
    path = hospital_kit / "startup" / "fed_client.json"
    path.write_text(path.read_text().replace("sum.example.org:8443", target))
    assert reason_of(hospital_kit) == "malformed-kit"


def test_another_party_s_key_does_not_fit(hospital_kit, provisioned):
    shutil.copy(provisioned / "kits/hospital-02/startup/client.key", hospital_kit / "startup")
    with pytest.raises(TamperingError) as refused:
        read_kit(hospital_kit)
    assert refused.value.reason == "foreign-certificate"


def test_another_authority_s_root_does_not_fit(hospital_kit, provisioned):
    # Not an authority either: any certificate but the one that signed.
    shutil.copy(provisioned / "kits/hospital-02/startup/client.crt", hospital_kit / "startup" / "rootCA.pem")
    assert reason_of(hospital_kit) == "foreign-certificate"


def test_a_hospital_starts_by_our_module_and_takes_nothing_that_overrides_its_kit(hospital_kit, monkeypatch):
    monkeypatch.setenv("NVFLARE_ALLOW_LOG_STREAMING", "true")
    monkeypatch.setenv("NVFL_JOB_STORE_ROOT", "/elsewhere")
    started = launch(read_kit(hospital_kit))
    assert "training.engines.nvflare.site_process" in started.command
    assert {"uid=hospital-01", "org=hospital_01", "secure_train=true"} <= set(started.command)
    assert not [name for name in started.environment if name.startswith(("NVFL_", "NVFLARE_"))]
    assert started.environment["PYTHONSAFEPATH"] == "1"


def test_a_server_keeps_its_jobs_in_its_own_folder(provisioned):
    server = read_kit(provisioned / "kits/coordinator/server")
    assert launch(server).environment["SECAGG_NVFLARE_STORE"] == str(server.folder.resolve() / "store")


def test_an_administrator_s_kit_starts_nothing(provisioned):
    with pytest.raises(InputError) as refused:
        launch(read_kit(provisioned / "kits/coordinator/admin"))
    assert refused.value.reason == "no-process"


@pytest.mark.parametrize("name", ["my site", "o'hara", "a#b #c", "back\\slash", 'a"b"'])
def test_a_kit_at_a_path_that_nvflare_would_take_apart_is_not_started(hospital_kit, tmp_path, name):
    place = tmp_path / name
    shutil.copytree(hospital_kit, place)
    with pytest.raises(InputError) as refused:
        launch(read_kit(place))
    assert refused.value.reason == "unusable-path"
