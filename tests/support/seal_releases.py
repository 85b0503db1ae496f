"""Another release of SEAL than the installed one, as far as what it writes shows which it is.

A release writes its version before every object, and before each that lies within one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest

from secagg.homomorphic import seal
from secagg.homomorphic.seal import HEADER_START, Channel, encryption_parameters, header
from secagg.homomorphic.spec import SEED_SIZE, CipherSpec


@contextmanager
def another_seal() -> Iterator[None]:
    """Everything that SEAL writes says that another release wrote it, and SEAL reads nothing else.

    Only ciphers that are made within it are that release's.
    """
    major, minor = seal._version()
    own, other = (HEADER_START + bytes(version) for version in ((major, minor), (major, minor + 1)))
    saved, content, load_raw = Channel.saved, Channel.content, Channel.load_raw

    def loaded(channel, item, context, *parts):
        data = b"".join(parts)
        assert own not in data
        load_raw(channel, item, context, data.replace(other, own))

    changed = {
        # What lies within is compressed there.
        "saved": lambda channel, item: saved(channel, item).replace(own, other, 1),
        "content": lambda channel, item: content(channel, item).replace(own, other),
        "load_raw": loaded,
    }
    forget()
    try:
        with patch.multiple(Channel, **changed):
            yield
    finally:
        forget()


def with_another_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """SEAL writes fresh ciphertexts as where it was built with SHAKE256 as its default generator."""
    content = Channel.content

    def changed(channel: Channel, item: object) -> bytes:
        written = bytearray(content(channel, item))
        if written[:-SEED_SIZE].endswith(header(1 + SEED_SIZE) + b"\1"):
            written[-SEED_SIZE - 1] = 2
        return bytes(written)

    monkeypatch.setattr(Channel, "content", changed)


def forget() -> None:
    """Have the version looked up again."""
    seal.header.cache_clear()
    seal._version.cache_clear()


def serialized_parameters(spec: CipherSpec) -> bytes:
    """What a context would be if it were SEAL's own: another of each release."""
    channel = Channel(0)
    try:
        return channel.content(encryption_parameters(spec.parameters, spec.encryption, spec.bits))
    finally:
        channel.close()
