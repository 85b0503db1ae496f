"""Whole vectors as ciphertexts and back, and their sums: over all cores where it pays, with the same result.

Knows forms, jobs and teams. Knows nothing of masks, messages or sessions.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from secagg.encoding.ring import RingVector
from secagg.homomorphic.cipher import Cipher, check_fresh
from secagg.homomorphic.form import EncryptedForm
from secagg.homomorphic.jobs import (
    PARALLEL_ADD_FROM_BLOCKS,
    PARALLEL_FROM_BLOCKS,
    AddJob,
    DecryptJob,
    EncryptJob,
    pieces,
    taking,
)
from secagg.processes import team
from secagg.processes.job import Piece
from secagg.processes.worker import Worker, WorkerLostError, first_to_answer

_LONGEST_PIECE_SECONDS: Final = 60.0


def encrypt_vector(packed: RingVector, form: EncryptedForm, cipher: Cipher, out: memoryview) -> None:
    """Encrypt packed elements, shape (form.packed_count,), into ``out``, ``form.fresh_size`` bytes."""
    _run(EncryptJob(packed, form, cipher, out), form)


def decrypt_vector(data: memoryview, form: EncryptedForm, cipher: Cipher) -> RingVector:
    """The packed elements, shape (form.packed_count,), of a sum of ``form.sum_size`` bytes.

    Raises:
        RemoteProtocolError: ``malformed``.
    """
    packed = np.empty(form.packed_count, form.packed_type)
    _run(DecryptJob(data, form, cipher, packed), form)
    return packed


def _run(job: EncryptJob | DecryptJob, form: EncryptedForm) -> None:
    todo = pieces(form, 0, form.blocks)
    if form.blocks < PARALLEL_FROM_BLOCKS:
        for piece in todo:
            job.compute(piece)
        return
    for _ in team.over_team(job, todo):
        pass


class CiphertextSum:
    """The sum of hospitals' encrypted vectors, added up without any key.

    Each worker adds its own part of every vector and keeps the sums of that part; this process adds the rest, and the
    parts of workers that are not ready yet. Where two have sums of a block, they are added in the end.
    """

    def __init__(self, form: EncryptedForm) -> None:
        self._form = form
        self._job = AddJob(form)
        large = form.blocks * form.contributors >= PARALLEL_ADD_FROM_BLOCKS
        helping = (team.SPARE.take() if large else None) or team.Team([])
        # Also where the round is given up, and nobody asks for the sum.
        self._release = weakref.finalize(self, _give_back, helping)
        parts = 1 + len(helping.workers)
        bounds = [form.blocks * part // parts for part in range(parts + 1)]
        self._own = (bounds[-2], form.blocks)
        self._parts = {worker: (bounds[index], bounds[index + 1]) for index, worker in enumerate(helping.workers)}
        self._trusted: set[Worker] = set()

    def add(self, data: memoryview) -> None:
        """Add one hospital's vector.

        Raises:
            RemoteProtocolError: ``wrong-length`` or ``malformed``; the sum is what it was then.
            WorkerLostError: ``worker-lost``: the sum is lost.
        """
        check_fresh(self._form.spec, self._form.blocks, data)
        self._job.data = data
        for worker in first_to_answer([*self._parts.keys() - self._trusted], 0.0):
            deque(worker.collect(self._job), maxlen=0)
        self._trusted |= {worker for worker in self._parts if worker.ready}
        own = pieces(self._form, *self._own)
        for worker in self._parts.keys() - self._trusted:
            own += pieces(self._form, *self._parts[worker])
        self._share({worker: pieces(self._form, *self._parts[worker]) for worker in self._trusted}, own)
        self._job.data = memoryview(b"")

    def take(self, out: memoryview) -> None:
        """Write the sum into ``out``, ``form.sum_size`` bytes; it is gone here then.

        Raises:
            WorkerLostError: ``worker-lost``: the sum is lost.
        """
        self._job.data = out
        self._share({worker: taking(pieces(self._form, *self._parts[worker])) for worker in self._trusted}, deque())
        self._release()
        for part in (*self._parts.values(), self._own):
            for piece in taking(pieces(self._form, *part)):
                self._job.compute(piece)

    def _share(self, theirs: Mapping[Worker, deque[Piece]], own: deque[Piece]) -> None:
        """Have each worker do its pieces, and do ``own`` here."""
        while own or any(theirs.values()) or any(worker.owing for worker in theirs):
            for worker, todo in theirs.items():
                worker.fill(self._job, todo)
            if own:
                self._job.compute(own.popleft())
            # Also from who owes nothing but has no slot free: it was given up on in an earlier job, and answers late.
            if any(todo or worker.owing for worker, todo in theirs.items()):
                self._collect(list(theirs), 0.0 if own else _LONGEST_PIECE_SECONDS)

    def _collect(self, workers: Sequence[Worker], patience: float) -> None:
        # Who died over its orders will not answer: nobody need wait for it.
        answering = first_to_answer(workers, patience) if all(worker.alive for worker in workers) else []
        for worker in answering:
            deque(worker.collect(self._job), maxlen=0)
        if (patience and not answering) or not all(worker.alive for worker in workers):
            raise _lost()


def _give_back(helping: team.Team) -> None:
    if any(worker.owing for worker in helping.workers):
        # Broken off in the middle: what they still do belongs to nobody.
        team.SPARE.dismiss(helping)
        return
    helping.forget()
    team.SPARE.give_back(helping)


def _lost() -> WorkerLostError:
    return WorkerLostError(
        "worker-lost",
        "A process that added ciphertexts has ended or is stuck, and its part of the sum with it.",
        remedy="Run again: it goes on from the last sum. Is there enough memory?",
    )
