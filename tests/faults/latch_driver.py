"""One hospital in a process of its own, through everything that its latch is for, until something kills it.

Its messages go to a file the moment the client gives them: what is in that file has left.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from threading import Lock

from secagg.charter import Model
from secagg.encoding.ring import RingVector
from secagg.errors import InputError, RemoteProtocolError
from secagg.latch import Latch
from secagg.masking import MaskingClient
from secagg.masking.states import ClientState
from secagg.masking.verification import ForgedSumError
from tests.faults.forkserver import forkserver
from tests.faults.sqlite_writes import Moment, Writes
from tests.support.consortium import MODEL_DIGEST, Consortium, make_charter, make_identities, open_policy, sign_by_all
from tests.support.misbehaving import MisbehavingCoordinator

MEMBERS = 4
VICTIM = 1
ALL = (1, 2, 3, 4)
SOME = (1, 2, 3)
LEFT, HEARD, STOPPED = "left", "heard", "stopped"
IN_USE = 7
PATIENCE = 60
_LENGTH = 4
_ASKING = Lock()
IDENTITIES = make_identities(MEMBERS)
CHARTER = sign_by_all(
    make_charter(IDENTITIES, model=Model(digest=MODEL_DIGEST, parameters=3), epoch_rounds=3), IDENTITIES
)
POLICY = open_policy(CHARTER.charter)


class Recorded(MaskingClient):
    """The real client. What it hears and what it gives is written into ``folder``; its latch is the one whose writes
    count."""

    folder: Path
    writes: Writes

    def receive(self, message: bytes) -> list[bytes]:
        append(self.folder / HEARD, [message])
        try:
            return self._recorded(lambda: super(Recorded, self).receive(message))
        except ForgedSumError:
            append(self.folder / STOPPED, [message])
            raise

    def mask(self, vector: RingVector, model_digest: bytes) -> bytes:
        (reply,) = self._recorded(lambda: [super(Recorded, self).mask(vector, model_digest)])
        return reply

    def _recorded(self, step: Callable[[], list[bytes]]) -> list[bytes]:
        self.writes.counting = True
        replies = step()
        self.writes.counting = False
        append(self.folder / LEFT, replies)
        return replies


class BatchingLatch(Latch):
    """A weakened latch: makes two records durable at a time."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._records = 0
        self._database.execute("BEGIN")

    def _write(self, *records: tuple[str, tuple[object, ...]]) -> None:
        for statement, values in records:
            self._database.execute(statement, values)
        self._records += 1
        if self._records % 2 == 0:
            self._database.execute("COMMIT")
            self._database.execute("BEGIN")


def append(path: Path, messages: list[bytes]) -> None:
    with path.open("ab") as file:
        for message in messages:
            file.write(len(message).to_bytes(_LENGTH, "big") + message)


def read_messages(path: Path) -> list[bytes]:
    """The messages in a file, in order; none if there is no file."""
    data = path.read_bytes() if path.exists() else b""
    messages, start = [], 0
    while start < len(data):
        end = start + _LENGTH + int.from_bytes(data[start : start + _LENGTH], "big")
        messages.append(data[start + _LENGTH : end])
        start = end
    return messages


def hospital(number: int, latch: Latch, kind: type[MaskingClient] = MaskingClient) -> MaskingClient:
    return kind(CHARTER, IDENTITIES[number - 1], latch, POLICY)


def consortium_of(folder: Path, victim: MaskingClient) -> Consortium:
    """The victim, and the others with latches of their own."""
    made = Consortium.make(folder, MEMBERS, model=Model(digest=MODEL_DIGEST, parameters=3), epoch_rounds=3)
    made.stop(VICTIM)
    made.clients[VICTIM] = victim
    return made


def play(coordinator: MisbehavingCoordinator) -> None:
    """An epoch; a round of all; a round in which one drops; a forged sum, at which the victim stops."""
    vectors = {number: coordinator.session.ring.zeros(coordinator.session.length) for number in ALL}
    coordinator.set_up()
    coordinator.begin(step=1)
    coordinator.collect(vectors)
    coordinator.unmask(ALL)
    coordinator.clients[VICTIM].receive(coordinator.honest_sum(ALL, step=1))
    coordinator.begin(numbers=SOME, step=2)
    coordinator.collect({number: vectors[number] for number in SOME})
    coordinator.unmask(SOME)
    with suppress(ForgedSumError):
        coordinator.clients[VICTIM].receive(coordinator.zero_sum(SOME, step=2))


def latch_of(folder: Path) -> Path:
    return folder / "state" / "latch.sqlite"


def run_until_killed(
    folder: Path, fatal: int = 0, moment: Moment = Moment.BEFORE, latch: type[Latch] = Latch
) -> int | None:
    """The whole play in a new process that dies at its latch's ``fatal``-th write: its exit code. If it lives to the
    end, ``folder / "writes"`` says how many there were."""
    return in_a_process(_play, folder, fatal, moment, latch)


def in_a_process(target: Callable[..., None], *arguments: object) -> int | None:
    """The exit code: minus the signal that ended it."""
    # Whoever starts a process asks after all others too, and of two who ask at once one finds its exit code taken.
    with _ASKING:
        process = forkserver().Process(target=target, args=arguments)
        process.start()
    wait([process.sentinel], PATIENCE)
    with _ASKING:
        code = process.exitcode
        process.kill()
        process.join()
        process.close()
    return code


def hear(folder: Path, again: list[bytes]) -> None:
    """A hospital that starts on the latch in ``folder``, and is told what another was told; its answers are kept."""
    with Latch(latch_of(folder)) as latch:
        client = hospital(VICTIM, latch)
        for message in again:
            with suppress(RemoteProtocolError, ForgedSumError):
                append(folder / LEFT, client.receive(message))
            if client.state is ClientState.ASKED:
                append(folder / LEFT, [client.mask(client.session.ring.zeros(client.session.length), MODEL_DIGEST)])


def open_latch(path: Path) -> None:
    """Exit with `IN_USE` if another process has it."""
    try:
        Latch(path).close()
    except InputError as error:
        sys.exit(IN_USE if error.reason == "state-in-use" else 1)


def _play(folder: Path, fatal: int, moment: Moment, kind: type[Latch]) -> None:
    writes = Writes(fatal, moment)
    writes.watch()
    Recorded.folder, Recorded.writes = folder, writes
    folder.mkdir(parents=True, exist_ok=True)
    writes.counting = True
    latch = kind(latch_of(folder))
    writes.counting = False
    made = consortium_of(folder / "others", hospital(VICTIM, latch, Recorded))
    play(MisbehavingCoordinator(made.charter, made.clients))
    writes.counting = True
    latch.close()
    (folder / "writes").write_text(str(writes.count))
