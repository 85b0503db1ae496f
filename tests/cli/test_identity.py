"""`secagg identity`: a key that only its owner can read, shown to nobody, overwritten by nothing."""

from __future__ import annotations

import stat

import pytest

from secagg.identity import Identity
from tests.cli.outcome import UNUSABLE, nothing_written


@pytest.fixture
def passphrase(here):
    path = here / "passphrase.txt"
    path.write_text("correct horse\nthe second line is a note\n")
    return path


def test_a_new_key_is_0600_and_shown_without_its_secret(secagg, here):
    shown = secagg("identity", "new").shown
    path = here / "identity.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Identity.load(path).fingerprint in shown
    secret = "".join(path.read_text().splitlines()[1:-1])
    assert secret not in shown


def test_a_key_is_shown_as_it_was_when_it_was_made(secagg, here):
    made = secagg("identity", "new", "deep/key.pem", "--json").json
    assert secagg("identity", "show", "deep/key.pem", "--json").json == made
    assert made.keys() == {"path", "public_key", "fingerprint"}
    shown = secagg("identity", "show", "deep/key.pem").shown
    assert made["public_key"] in shown
    assert made["fingerprint"] in shown


@pytest.mark.parametrize("what", ["a key", "a letter"])
def test_what_is_there_is_not_overwritten(secagg, here, what):
    if what == "a key":
        secagg("identity", "new", "key.pem")
    else:
        (here / "key.pem").write_text("Dear colleague")
    with nothing_written(here):
        secagg("identity", "new", "key.pem").failed(UNUSABLE, "exists", "key.pem", "Choose another path")


def test_a_place_that_cannot_be_written_to_leaves_nothing(secagg, here):
    with nothing_written(here):
        secagg("identity", "new", "task.toml/key.pem").failed(UNUSABLE, "unwritable", "task.toml/key.pem")


def test_a_key_readable_by_others_is_refused_with_the_command_that_mends_it(secagg, here):
    secagg("identity", "new", "key.pem")
    (here / "key.pem").chmod(0o644)
    secagg("identity", "show", "key.pem").failed(UNUSABLE, "key-readable-by-others", "0644", "chmod 600 key.pem")


# With a passphrase


def test_the_first_line_of_a_file_encrypts_the_key(secagg, here, passphrase):
    made = secagg("identity", "new", "key.pem", "--passphrase-file", passphrase, "--json").json
    assert "ENCRYPTED" in (here / "key.pem").read_text()
    assert stat.S_IMODE((here / "key.pem").stat().st_mode) == 0o600
    shown = secagg("identity", "show", "key.pem", "--passphrase-file", passphrase, "--json").json
    assert shown == made
    passphrase.write_bytes(b"correct horse\r\n")
    assert secagg("identity", "show", "key.pem", "--passphrase-file", passphrase, "--json").json == made


def test_a_wrong_passphrase_is_told_without_repeating_it(secagg, here, passphrase):
    secagg("identity", "new", "key.pem", "--passphrase-file", passphrase)
    passphrase.write_text("battery staple\n")
    outcome = secagg("identity", "show", "key.pem", "--passphrase-file", passphrase)
    outcome.failed(UNUSABLE, "wrong-passphrase", "key.pem", "passphrase")
    assert "battery" not in outcome.err


def test_an_encrypted_key_without_a_passphrase_is_refused(secagg, here, passphrase):
    secagg("identity", "new", "key.pem", "--passphrase-file", passphrase)
    secagg("identity", "show", "key.pem").failed(UNUSABLE, "wrong-passphrase", "key.pem needs a passphrase")


def test_a_passphrase_for_a_key_without_one_is_refused(secagg, here, passphrase):
    secagg("identity", "new", "key.pem")
    outcome = secagg("identity", "show", "key.pem", "--passphrase-file", passphrase)
    outcome.failed(UNUSABLE, "wrong-passphrase", "key.pem is not encrypted")


@pytest.mark.parametrize(
    ("given", "remedy"), [((), "--passphrase-file"), (("--passphrase-file", "wrong.txt"), "that the key was made with")]
)
def test_a_wrong_passphrase_says_how_to_give_the_right_one(secagg, here, passphrase, given, remedy):
    (here / "wrong.txt").write_text("battery staple\n")
    secagg("identity", "new", "key.pem", "--passphrase-file", passphrase)
    told = str(secagg("identity", "show", "key.pem", *given, "--json").error["remedy"])
    assert remedy in told
    assert "identity new" not in told


def test_a_passphrase_does_not_hide_that_a_file_is_no_key(secagg, here, passphrase):
    (here / "key.pem").write_text("Dear colleague")
    (here / "key.pem").chmod(0o600)
    secagg("identity", "show", "key.pem", "--passphrase-file", passphrase).failed(
        UNUSABLE, "not-an-identity", "key.pem"
    )


@pytest.mark.parametrize("content", ["", "\n", "\nsecret\n", "\r\n"])
def test_an_empty_passphrase_is_refused_rather_than_leaving_the_key_open(secagg, here, passphrase, content):
    passphrase.write_text(content)
    with nothing_written(here):
        outcome = secagg("identity", "new", "key.pem", "--passphrase-file", passphrase)
    outcome.failed(UNUSABLE, "bad-passphrase", "passphrase.txt is empty", "first line")


def test_a_passphrase_too_long_for_the_format_is_refused(secagg, here, passphrase):
    passphrase.write_text(1024 * "x")
    with nothing_written(here):
        outcome = secagg("identity", "new", "key.pem", "--passphrase-file", passphrase)
    outcome.failed(UNUSABLE, "bad-passphrase", "too long", "1023")
    passphrase.write_text(1023 * "x")
    assert secagg("identity", "new", "key.pem", "--passphrase-file", passphrase).code == 0


# What is no key


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"-----BEGIN PRIVATE KEY-----\nMC4C\n"])
def test_a_file_that_is_no_key_is_refused(secagg, here, content):
    (here / "key.pem").write_bytes(content)
    (here / "key.pem").chmod(0o600)
    outcome = secagg("identity", "show", "key.pem")
    outcome.failed(UNUSABLE, "not-an-identity", "key.pem", "secagg identity new")


def test_for_a_key_of_which_a_part_is_left_a_copy_is_asked_for_and_a_new_one_is_said_to_be_no_member(secagg, here):
    assert secagg("identity", "new", "key.pem").code == 0
    whole = (here / "key.pem").read_bytes()
    (here / "key.pem").write_bytes(whole[: len(whole) // 2])
    outcome = secagg("identity", "show", "key.pem")
    outcome.failed(UNUSABLE, "not-an-identity", "Put back a copy", "no member of any charter that the old one signed")
    (here / "key.pem").write_bytes(whole)
    assert secagg("identity", "show", "key.pem").code == 0


def test_a_file_far_too_large_for_a_key_is_not_read(secagg, here):
    (here / "key.pem").write_bytes(bytes(1 << 20))
    (here / "key.pem").chmod(0o600)
    secagg("identity", "show", "key.pem").failed(UNUSABLE, "file-too-large", "key.pem")
