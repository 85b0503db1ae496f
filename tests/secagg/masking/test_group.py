"""What the hospitals of an epoch have in common: made by all of them, known to nobody else, and shown nowhere."""

from __future__ import annotations

import logging
import traceback
from dataclasses import replace

import numpy as np
import pytest

from secagg.errors import LocalProtocolError, SecaggError
from secagg.homomorphic.seal import Channel
from secagg.masking import MaskingServer, Purpose, kdf
from secagg.masking.round_tags import round_tag
from secagg.wire import Stage
from secagg.wire.envelope import peek
from tests.support.consortium import MODEL_DIGEST, Consortium
from tests.support.encrypted import Round

SCHEMES = ("bfv", "ckks", "double-lock")
schemes = pytest.mark.parametrize("scheme", SCHEMES)
ROSTER = bytes(range(32))


@pytest.fixture
def session(tmp_path):
    return Consortium.make(tmp_path, 5, scheme="double-lock").server.session


def ready(folder, scheme: str) -> Consortium:
    consortium = Consortium.make(folder, 5, scheme=scheme)
    consortium.set_up()
    return consortium


def secrets_of(consortium: Consortium, number: int = 1) -> dict[str, bytes]:
    """All that a hospital must keep to itself and its peers."""
    client = consortium.clients[number]
    epoch, group = client._epoch, client._epoch.group
    key = Channel(2 * 8 * 4096).content(group._cipher._secret)
    return {
        "contribution": epoch.secrets.tag_contribution,
        "group key": group._key,
        "encryption seed": kdf.encryption_seed(group._key, client.session),
        "secret polynomial": key[56:120],
        "tag key": epoch.tag_key,
        "share key": epoch.secrets.share_key,
    }


# --- How it is made ------------------------------------------------------------------------------------------


def test_every_contribution_and_everything_it_is_bound_to_changes_the_group_key(session):
    parts = {number: bytes([number]) * 32 for number in range(1, 6)}
    keys = {kdf.epoch_group_key(parts, session, ROSTER)}
    for number in parts:
        keys.add(kdf.epoch_group_key(parts | {number: bytes(32)}, session, ROSTER))
        keys.add(kdf.epoch_group_key({n: part for n, part in parts.items() if n != number}, session, ROSTER))
    keys.add(kdf.epoch_group_key(parts, session, bytes(32)))
    keys.add(kdf.epoch_group_key(parts, replace(session, epoch=2), ROSTER))
    keys.add(kdf.epoch_group_key(parts, replace(session, purpose=Purpose.STATISTICS), ROSTER))
    keys.add(kdf.epoch_tag_key(parts, session, ROSTER))
    assert len(keys) == 15


def test_the_pad_of_a_tag_is_of_one_hospital_and_round_and_of_the_group_key(session):
    keys, rounds, owners = (bytes(32), b"\1" * 32), (1, 2), (1, 2)
    pads = {kdf.tag_pad(key, session, number, owner) for key in keys for number in rounds for owner in owners}
    assert len(pads) == 8
    assert max(pads).bit_length() > 128


@schemes
def test_tags_are_hidden_by_their_pads_and_add_up_to_that_of_the_sum(tmp_path, scheme):
    """What the tag key gives is not what was sent: whoever has it, and not the group's, can hold no guess to a tag."""
    made = Round.make(tmp_path, scheme)
    session, clients = made.consortium.server.session, made.consortium.clients
    for number, client in clients.items():
        sent = int.from_bytes(made.masked(number).tags, "little")
        bare = round_tag(made.vectors[number], session, client.tag_key, 1, MODEL_DIGEST, [number])
        assert sent != bare
        if not session.masked:
            pad = kdf.tag_pad(client._epoch.group._key, session, 1, number)
            assert (sent - pad - bare) % (1 << 8 * session.tag_size) == 0


def test_what_follows_from_the_group_key_is_bound_to_charter_epoch_and_purpose(session, tmp_path):
    key = bytes(32)
    other = Consortium.make(tmp_path / "other", 5, scheme="bfv").server.session
    seeds = {
        kdf.encryption_seed(key, one)
        for one in (session, replace(session, epoch=2), replace(session, purpose=Purpose.STATISTICS), other)
    }
    assert len(seeds) == 4
    for seed in seeds:
        assert len(seed) == 64
        assert seed[:32] != seed[32:]
    assert kdf.encryption_seed(b"\1" * 32, session) not in seeds


@schemes
def test_all_hospitals_have_one_key_that_none_of_them_made_and_that_never_travels(tmp_path, scheme):
    consortium = ready(tmp_path, scheme)
    secrets = [secrets_of(consortium, number) for number in consortium.clients]
    for name in ("group key", "encryption seed", "secret polynomial", "tag key"):
        assert len({one[name] for one in secrets}) == 1, name
    for name in ("contribution", "share key"):
        assert len({one[name] for one in secrets}) == 5, name
    consortium.run_round(consortium.random_vectors(np.random.default_rng(1)))
    everything = b"".join(message for _, message in consortium.sent)
    assert peek(consortium.sent[-1][1]).stage in (Stage.MASKED, Stage.REVEAL)
    for one in secrets:
        for name, secret in one.items():
            assert secret not in everything, name


@schemes
def test_the_coordinator_holds_none_of_it(tmp_path, scheme):
    """Whatever can be reached from a coordinator's server: no secret, and nothing that could hold one."""
    made = Round.make(tmp_path, scheme)
    reached, todo, found = set(), [made.consortium.server], []
    while todo:
        item = todo.pop()
        if id(item) in reached or isinstance(item, (type, int, float, str)):
            continue
        reached.add(id(item))
        found.append(item)
        if isinstance(item, dict):
            todo += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple, set, frozenset)):
            todo += list(item)
        elif type(item).__module__.startswith("secagg"):
            names = [*getattr(item, "__struct_fields__", ()), *vars(item)] if hasattr(item, "__dict__") else []
            todo += [getattr(item, name) for name in [*names, *getattr(item, "__struct_fields__", ())]]
    assert len(found) > 50
    secrets = secrets_of(made.consortium).values()
    held = b"".join(item for item in found if isinstance(item, (bytes, bytearray)))
    assert not [secret for secret in secrets if secret in held]
    kinds = {type(item).__name__ for item in found}
    assert not kinds & {"SecretKey", "Decryptor", "Encryptor", "KeyGenerator", "Cipher", "GroupCipher"}


@schemes
def test_it_is_lost_with_the_process_and_with_the_epoch_and_never_on_a_disk(tmp_path, scheme):
    consortium = ready(tmp_path, scheme)
    secrets = secrets_of(consortium)
    consortium.run_round(consortium.random_vectors(np.random.default_rng(1)))
    on_disk = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert on_disk
    for name, secret in secrets.items():
        assert secret not in on_disk, name
        assert secret.hex().encode() not in on_disk, name
    old = consortium.server.session
    consortium.server = MaskingServer(replace(old, epoch=2, first_round=2))
    consortium.deliver(consortium.server.open())
    with pytest.raises(LocalProtocolError) as caught:
        _ = consortium.clients[1]._epoch.group
    assert caught.value.reason == "no-epoch"


def test_where_nothing_is_encrypted_there_is_no_group(tmp_path):
    consortium = Consortium.make(tmp_path, 5)
    consortium.set_up()
    with pytest.raises(LocalProtocolError):
        _ = consortium.clients[1]._epoch.group
    with pytest.raises(ValueError, match="does not encrypt"):
        _ = consortium.server.session.form


# --- Where it is not shown -----------------------------------------------------------------------------------


def assert_hidden(secrets: dict[str, bytes], shown: str) -> None:
    for name, secret in secrets.items():
        for form in (secret.hex(), repr(secret)[2:-1], repr(list(secret))[1:-1], str(int.from_bytes(secret, "little"))):
            assert form not in shown, name


@schemes
def test_no_secret_of_the_group_is_in_a_repr(tmp_path, scheme):
    consortium = ready(tmp_path, scheme)
    client = consortium.clients[1]
    epoch, group = client._epoch, client._epoch.group
    shown = [client, epoch, epoch.secrets, epoch.held, group, group._cipher, group._cipher.spec, client.session.form]
    assert_hidden(secrets_of(consortium), "".join(f"{one!r}{one}" for one in shown))


@schemes
def test_no_secret_of_the_group_is_in_an_error_or_a_log(tmp_path, scheme, caplog):
    caplog.set_level(logging.DEBUG)
    made = Round.make(tmp_path, scheme)
    secrets, shown = secrets_of(made.consortium), ""
    size = len(made.payload.vector)
    wrong = [
        {"vector": memoryview(b"\xff" * size)},
        {"vector": memoryview(b"")},
        {"contributions": []},
        {"tag": b""},
        {"survivors": [1]},
        {"reveals": made.payload.reveals[:1] * 2},
        {"vector": memoryview(bytes(size))},
    ]
    for fields in wrong:
        try:
            made.consortium.clients[1].receive(made.changed(**fields))
        except SecaggError as error:
            shown += "".join(traceback.format_exception(error)) + error.diagnostics() + repr(error)
    assert shown.count("Traceback") >= 6
    assert_hidden(secrets, shown + caplog.text)
