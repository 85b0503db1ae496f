"""A certificate authority is whole or not there, wherever whoever makes it is stopped."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from nvflare.lighter.utils import Identity, generate_cert, generate_keys

from secagg.errors import InputError
from training.engines.nvflare import authority as module
from training.engines.nvflare.authority import Authority, holds_authority, load_authority, save_authority


class KilledError(BaseException):
    """As if nothing were done any more."""


def made() -> Authority:
    key, public = generate_keys()
    root = Identity("secagg")
    return Authority(generate_cert(root, root, key, public, ca=True), key)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return made()


@pytest.fixture(scope="module")
def another() -> Authority:
    return made()


def is_same(one: Authority, other: Authority) -> bool:
    return (one.certificate, one.key.private_numbers()) == (other.certificate, other.key.private_numbers())


def killed_at(monkeypatch, step: str, done: bool) -> None:
    """Whoever saves an authority comes no further than before this step of it, or than after it."""
    do = getattr(module, step)

    def until_then(*arguments):
        if done:
            do(*arguments)
        raise KilledError

    monkeypatch.setattr(module, step, until_then)


STEPS = ["write_atomically", "create_atomically", "_complete"]


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_cut_off_anywhere_it_is_the_one_that_was_made_or_none(authority, another, tmp_path, monkeypatch, step, done):
    with monkeypatch.context() as patched:
        killed_at(patched, step, done)
        with pytest.raises(KilledError):
            save_authority(authority, tmp_path / "state", b"correct horse")
    has_key = (step, done) not in {
        ("write_atomically", False),
        ("write_atomically", True),
        ("create_atomically", False),
    }
    assert holds_authority(tmp_path / "state") == has_key
    if not has_key:
        save_authority(another, tmp_path / "state", b"correct horse")
    assert is_same(load_authority(tmp_path / "state", b"correct horse"), authority if has_key else another)
    assert {path.name for path in (tmp_path / "state").iterdir()} == {"root-ca.key", "root-ca.pem"}


def test_what_a_killed_write_left_of_the_key_is_removed(authority, tmp_path):
    left = tmp_path / ".root-ca.key.abcdefgh.partial"
    left.write_bytes(authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    save_authority(authority, tmp_path, b"correct horse")
    assert not left.exists()


@pytest.mark.parametrize("lost", ["root-ca.key", "root-ca.pem"])
def test_half_of_one_that_kits_were_made_with_is_told_and_not_written_over(authority, tmp_path, lost):
    save_authority(authority, tmp_path, None)
    (tmp_path / lost).unlink()
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert holds_authority(tmp_path)
    with pytest.raises(InputError) as refused:
        load_authority(tmp_path, None)
    assert refused.value.reason == "bad-authority"
    assert "Restore the folder" in refused.value.remedy
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_one_that_is_there_is_not_written_over(authority, another, tmp_path):
    save_authority(authority, tmp_path, None)
    with pytest.raises(InputError) as refused:
        save_authority(another, tmp_path, None)
    assert refused.value.reason == "exists"
    assert is_same(load_authority(tmp_path, None), authority)
