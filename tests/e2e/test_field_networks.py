"""Every site in a network of its own: what the coordinator reaches, what passes its door, what it ends up with."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from secagg.charter import Encoding
from tests.support import capture
from tests.support.field import Field, field_of, wait_for
from tests.support.field_books import assert_nothing_left_twice_or_uncharged, released_digest
from tests.support.hospitals import BOUNDED, choices_of, settings_for, tabular_spec, training_of
from tests.support.networks import CENTRE, Networks, inside, networks, run_inside

HOSPITALS = 3
NOTE = "PLANTED-NOTE-5e1f"
FILE = "planted-file-name-77ab"
VALUE = 1.2345678
PATIENTS = 23_459
CONNECT = """
import socket, sys
for port in map(int, sys.argv[2:]):
    with socket.socket() as one:
        one.settimeout(2)
        print(port, one.connect_ex((sys.argv[1], port)))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def planted_table(path: Path) -> Path:
    """As many patients as no other number here, and a note with each, which is no feature."""
    generator = np.random.default_rng(5)
    ill = np.arange(PATIENTS) % 2
    ages = generator.normal(ill, 1.0).round(4)
    ages[::2] = VALUE
    lines = ["age,dose,note,ill"]
    lines += [f"{age},{VALUE},{NOTE},{label}" for age, label in zip(ages, ill, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@contextmanager
def captured(made: Networks, out: Path):
    """All that passes the coordinator's interface meanwhile."""
    script = Path(capture.__file__)
    command = (*inside(made.centre), sys.executable, str(script), str(out))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"listening\n"
        try:
            yield
        finally:
            process.kill()


@contextmanager
def spread_out(folder: Path, made: Networks):
    """A consortium whose sites are each in a network of its own."""
    training = training_of(rounds=2, local_steps=1, weighting="uniform")
    choices = choices_of(
        training, privacy="local", epsilon=8.0, sampling_rate=0.01, max_colluding=0, encoding=Encoding(max_weight=1)
    )
    tables = [planted_table(folder / "data" / f"{FILE}-{number}.csv") for number in range(1, HOSPITALS + 1)]
    names = tuple(f"h{number}={table}" for number, table in enumerate(tables, start=1))
    settings = settings_for([Path(name) for name in names], choices, tabular_spec(**BOUNDED))
    with field_of(folder, settings, host=CENTRE) as field:
        field.coordinator.inside = inside(made.centre)
        for number, site in field.hospitals.items():
            site.inside = inside(made.hospitals[number])
        yield field


def planted(field: Field) -> list[re.Pattern[bytes]]:
    """What must not be anywhere, as text and as the machine keeps it."""
    texts = [NOTE.encode(), FILE.encode(), str(VALUE).encode(), weights(field)]
    # Digits alone are in many a hash.
    count = re.compile(rb"(?<![0-9A-Za-z+/])%d(?![0-9A-Za-z+/])" % PATIENTS)
    return [*(re.compile(re.escape(text)) for text in texts), count]


def weights(field: Field) -> bytes:
    """The released model's three numbers, as safetensors keeps them."""
    return (field.site(1).release / "model.safetensors").read_bytes()[-12:]


def found(contents: Iterable[bytes], needles: Iterable[re.Pattern[bytes]]) -> set[bytes]:
    """Which of them are in any of these contents."""
    contents = list(contents)
    return {needle.pattern for needle in needles if any(needle.search(content) for content in contents)}


def files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


def listening_beyond_loopback(network: str) -> list[str]:
    lines = run_inside(network, "cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines()
    listening = [line.split()[1] for line in lines if line.split()[3:4] == ["0A"]]
    loopback = ("0100007F", "00000000000000000000000001000000")
    return [address for address in listening if address.split(":")[0] not in loopback]


def listening_ports(network: str) -> list[str]:
    lines = run_inside(network, "cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines()
    return [str(int(line.split()[1].split(":")[1], 16)) for line in lines if line.split()[3:4] == ["0A"]]


def test_the_coordinator_reaches_into_no_hospital_and_nothing_but_tls_and_what_is_masked_reaches_it(tmp_path):
    with networks(HOSPITALS) as made, spread_out(tmp_path, made) as field:
        record = tmp_path / "frames"
        with captured(made, record):
            field.start()
            field.hospitals[1].halt_at("reveal", "before")
            wait_for("a round", lambda: field.hospitals[1].is_halted)
            for number, network in made.hospitals.items():
                assert listening_beyond_loopback(network) == []
                ports = {"22", "8002", *listening_ports(network)}
                answers = run_inside(made.centre, sys.executable, "-c", CONNECT, made.address(number), *ports)
                assert not any(line.endswith(" 0") for line in answers.splitlines())
            # The control: what listens at the coordinator is found, and a hospital connects to it.
            door = listening_beyond_loopback(made.centre)
            assert door
            ports = {address.split(":")[1] for address in door}
            answers = run_inside(
                made.hospitals[1], sys.executable, "-c", CONNECT, CENTRE, *(str(int(port, 16)) for port in ports)
            )
            assert any(line.endswith(" 0") for line in answers.splitlines())
            field.hospitals[1].go_on()
            field.wait_for_release()
            sent = capture.streams(record)
            # The control of the capture: the same note sent in clear is found in it.
            clear = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'%s', ('%s', 9))"
            run_inside(made.hospitals[1], sys.executable, "-c", clear % (NOTE, CENTRE))
            wait_for("the note in clear", lambda: NOTE.encode() in record.read_bytes(), 20)
        released_digest(field)
        assert_nothing_left_twice_or_uncharged(field)
        carried = [stream for stream in sent.values() if stream]
        assert sum(map(len, carried)) > 10_000
        assert all(capture.is_tls(stream) for stream in carried)
        needles = planted(field)
        assert found(carried, needles) == set()
        assert found(files(field.coordinator.path), needles) == set()
        # The control: they are where they belong.
        own = [*files(tmp_path / "data"), *files(field.hospitals[1].path)]
        assert found(own, needles[:-1]) == {needle.pattern for needle in needles[:-1]}


@pytest.mark.parametrize("seconds", [5, 300])
def test_a_hospital_whose_cable_is_pulled_for_a_while_comes_back(tmp_path, seconds):
    """Five minutes are longer than every deadline here: the others finish without it, and it has their release."""
    with networks(HOSPITALS) as made, spread_out(tmp_path, made) as field:
        field.start()
        field.hospitals[2].halt_at("mask", "after")
        wait_for("a round", lambda: field.hospitals[2].is_halted)
        made.cut(2)
        field.hospitals[2].go_on()
        subprocess.run(("sleep", str(seconds)), check=True)
        made.mend(2)
        field.wait_for_release(seconds=600)
        released_digest(field)
        assert_nothing_left_twice_or_uncharged(field)
