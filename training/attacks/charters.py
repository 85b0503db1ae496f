"""Attacks by the charter: every field set to hostile values, members that are none, changes after signing."""

from __future__ import annotations

import base64
import datetime
import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import numpy as np

from secagg.charter import (
    Charter,
    CharterSignature,
    Member,
    Metrics,
    Privacy,
    Training,
    parse_charter,
    render_charter,
    sign_charter,
    verify_charter,
)
from secagg.errors import LocalProtocolError
from secagg.identity import Identity
from secagg.policy import Policy
from secagg.toml_text import write_toml
from training.attacks.cohorts import VICTIM
from training.attacks.coordinator import LyingCoordinator
from training.attacks.model import Attack, Liar, Outcome, Refused, Refuser, Tries, recovered
from training.testbed.build import Build
from training.testbed.consortium import Consortium, make_charter, make_identities, open_policy, sign_by_all

_MEMBERS: Final = 5
_SHORT_KEY: Final = base64.b64encode(bytes(31)).decode()
# The neutral point, and what it signs everything with.
_NEUTRAL: Final = bytes([1]) + bytes(31)
_SIGNED_BY_ANYBODY: Final = _NEUTRAL + bytes(32)
_WEAK_KEY: Final = base64.b64encode(_NEUTRAL).decode()
_NAN, _INFINITY = math.nan, math.inf
_NO_FACTOR: Final = (-1.0, _NAN, _INFINITY)
_NO_POSITIVE: Final = (0.0, *_NO_FACTOR)
_NO_SHARE: Final = (-0.1, 1.0, _NAN)
_NO_COUNT: Final = (0, -1, 1.5, 1 << 40)

# One entry for each field of a charter; `tests/attacks` holds it to that.
HOSTILE: Final[Mapping[str, tuple[object, ...]]] = {
    "name": ("", "../elsewhere", "x" * 65, 7),
    "nonce": (base64.b64encode(bytes(15)).decode(), "no base64!", ""),
    "members": ([], "all"),
    "members.name": ("", "../elsewhere", "h2"),
    "members.public_key": (_SHORT_KEY, "", _WEAK_KEY, base64.b64encode(make_identities(2)[1].public_key).decode()),
    "threshold": (0, 1, 2, 6, -1, 10**9, _NAN),
    "max_colluding": (-1, 4, 5, 10**9, _NAN),
    "model": (7,),
    "model.digest": (_SHORT_KEY, ""),
    "model.parameters": _NO_COUNT,
    "task": (7,),
    "task.kind": ("", "evil:build", "x" * 201, 7),
    "task.settings": (7, {"rate": _NAN}, {"when": datetime.date(2026, 1, 1)}),
    "training": (7,),
    "training.rounds": _NO_COUNT,
    "training.local_steps": _NO_COUNT,
    "training.batch_size": _NO_COUNT,
    "training.learning_rate": (*_NO_POSITIVE, 1e300),
    "training.momentum": _NO_SHARE,
    "training.weight_decay": _NO_FACTOR,
    "training.prox_mu": _NO_FACTOR,
    "training.weighting": ("records", "mine", 7),
    "training.server": (7,),
    "training.server.optimizer": ("mine", 7),
    "training.server.learning_rate": _NO_POSITIVE,
    "training.server.momentum": _NO_SHARE,
    "training.server.beta1": _NO_SHARE,
    "training.server.beta2": _NO_SHARE,
    "training.server.tau": _NO_POSITIVE,
    "training.server.schedule": ("mine", 7),
    "training.server.warm_up": (-1, 1.5, 10**9, _NAN),
    "scheme": ("none", "plain", "bfv", "ckks", 7),
    "homomorphic": (7,),
    "homomorphic.parameters": ("n2048-q60", "", "x" * 33, 7),
    "graph": (7,),
    "graph.degree": (3, 5, -1, 10**9, _NAN),
    "graph.threshold": (1, 6, -1, 10**9, _NAN),
    "encoding": (7,),
    "encoding.field_bits": (0, 8, 15, 65, -1),
    "encoding.update_norm": (*_NO_POSITIVE, 5e-324, 1e300),
    "encoding.max_weight": (10**9, 0, -1, _NAN, 20_000),
    "statistics": (7,),
    "statistics.features": (-1, 3, 1 << 21),
    "metrics": (7,),
    "metrics.release": ("exact", "none", "all"),
    "metrics.cells": (0, -1, 1 << 17),
    "metrics.every": _NO_COUNT,
    "metrics.target": (0.0, -1.0, 1.5, _NAN),
    "privacy": (7,),
    "privacy.mode": ("none", "central", ""),
    "privacy.noise_multiplier": (0.0, *_NO_FACTOR),
    "privacy.noise": ("gaussian", 7),
    "privacy.noise_levels": ([5], [5, 5], [-1], [10**9], [0] * 9, 7),
    "privacy.noise_digest": ("AAAA", "!", 7),
    "privacy.clip_norm": _NO_POSITIVE,
    "privacy.sampling_rate": (*_NO_POSITIVE, 1.5),
    "privacy.delta": (0.0, 0.01, 1e-3, 1.0, _NAN),
    "privacy.metric_noise_multiplier": (0.0, *_NO_FACTOR),
    "privacy.budget": (100.0, *_NO_FACTOR),
    "epoch_rounds": (0, -1, 1001, 1.5),
    "version": (0, 2, "1"),
}


def charter_fields(section: type[msgspec.Struct] = Charter, prefix: str = "") -> Iterator[str]:
    """The path of every field of a charter, sections included."""
    for field in msgspec.structs.fields(section):
        yield prefix + field.name
        for kind in _kinds(field.type):
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                yield from charter_fields(kind, f"{prefix}{field.name}.")


def _kinds(annotation: Any) -> Iterator[Any]:
    """A type and all that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


def _private_charter(identities: list[Identity]) -> Charter:
    """A charter that the strict defaults of a policy allow, with every section in use."""
    return make_charter(
        identities,
        training=Training(rounds=3, weighting="uniform"),
        metrics=Metrics(release="noisy", cells=4),
        privacy=Privacy(mode="local", noise_multiplier=1.0, metric_noise_multiplier=20.0, budget=8.0),
    )


def _strict_policy(charter: Charter) -> Policy:
    return Policy(known_members=open_policy(charter).known_members)


def _with_field(text: bytes, path: str, value: object) -> bytes:
    """The charter's file with one field changed; of a list of sections, the first one's."""
    document: dict[str, Any] = tomllib.loads(text.decode())
    section: Any = document
    *sections, last = path.split(".")
    for name in sections:
        section = section.setdefault(name, {})
        section = section[0] if isinstance(section, list) else section
    section[last] = value
    return write_toml(document).encode()


def hostile_fields(build: Build, folder: Path) -> Outcome:
    """Every field, set to what it must not be, in a charter that a strict site would otherwise take part under."""
    identities, taken, tries = make_identities(_MEMBERS), [], Tries(Refuser.SITE)
    base = _private_charter(identities)
    policy, text = _strict_policy(base), render_charter(base)
    with build.latch(folder / "latch.sqlite") as latch:

        def join(file: bytes) -> bool:
            charter = parse_charter(file)
            verified = verify_charter(charter, [sign_charter(charter, identity) for identity in identities])
            build.client(verified, identities[2], latch, policy)
            return True

        if not tries(join, text):
            raise LocalProtocolError("no-such-charter", "The charter that is to be changed is not in force itself.")
        for path, values in HOSTILE.items():
            taken += [path for value in values if tries(join, _with_field(text, path, value))]
    return tries.outcome(f"{len(taken)} hostile charters are in force: {', '.join(taken)}" if taken else None)


def beyond_the_policy(build: Build, folder: Path) -> Outcome:
    """A charter that contradicts nothing, but allows more than the site does, one thing at a time."""
    identities, taken, tries = make_identities(_MEMBERS), [], Tries(Refuser.POLICY)
    base = _private_charter(identities)
    policy, stranger = _strict_policy(base), Identity.from_seed(bytes(32))
    replace = msgspec.structs.replace
    changes: tuple[Charter, ...] = (
        replace(base, privacy=Privacy(), metrics=Metrics()),
        replace(base, privacy=replace(base.privacy, budget=100.0)),
        replace(base, privacy=replace(base.privacy, delta=1e-3)),
        replace(base, encoding=replace(base.encoding, max_weight=20_000)),
        replace(base, task=replace(base.task, kind="evil:build")),
        replace(base, scheme="bfv"),
        replace(base, scheme="ckks"),
        replace(base, members=(*base.members[:4], Member(name="h5", public_key=stranger.public_key))),
    )
    with build.latch(folder / "latch.sqlite") as latch:
        for charter in changes:
            signers = [stranger if identity.public_key not in _keys(charter) else identity for identity in identities]
            verified = sign_by_all(charter, signers)
            taken += [charter] if tries(build.client, verified, identities[2], latch, policy) else []
    return tries.outcome(f"{len(taken)} charters beyond the site's policy are in force" if taken else None)


def _keys(charter: Charter) -> frozenset[bytes]:
    return frozenset(member.public_key for member in charter.members)


def altered_after_signing(_build: Build, _folder: Path) -> Outcome:
    """The threshold is changed in a charter that all have signed; or it is put in force without one's signature."""
    identities, tries = make_identities(_MEMBERS), Tries(Refuser.CHARTER)
    charter = make_charter(identities)
    signatures = [sign_charter(charter, identity) for identity in identities]
    tries(verify_charter, charter, signatures[1:])
    altered = tries(verify_charter, msgspec.structs.replace(charter, threshold=_MEMBERS), signatures)
    return tries.outcome("a charter that nobody has signed is in force" if altered else None)


def sybils(build: Build, folder: Path) -> Outcome:
    """All members but the victim are names of the coordinator's own; the sum less theirs is the victim's vector."""
    identities, tries = make_identities(_MEMBERS), Tries(Refuser.POLICY)
    own = Policy(
        known_members=frozenset({identities[VICTIM - 1].fingerprint}),
        allowed_privacy_modes=frozenset({"none"}),
        minimum_cohort=2,
    )
    with Consortium.make(folder, _MEMBERS, build) as stage:
        victim = tries(build.client, stage.charter, identities[VICTIM - 1], stage.latches[VICTIM], own)
        if victim is None:
            return tries.outcome(None)
        stage.clients[VICTIM] = victim
        coordinator = LyingCoordinator(stage.charter, stage.clients)
        vectors = stage.random_vectors(np.random.default_rng(1))
        coordinator.set_up()
        total = coordinator.sum_over(vectors, coordinator.everybody)
        guess = total - stage.integers(vectors, *coordinator.all_but(VICTIM))
        return tries.outcome(recovered(guess, stage.integers(vectors, VICTIM), "h1's vector"))


def one_key_twice(_build: Build, _folder: Path) -> Outcome:
    """A charter in which one party's key stands under three names."""
    identities, tries = make_identities(_MEMBERS), Tries(Refuser.CHARTER)
    keys = [*identities[:3], identities[2], identities[2]]
    charter = tries(make_charter, keys)
    counted = sum(member.public_key == identities[2].public_key for member in charter.members) if charter else 0
    return tries.outcome(f"one party counts as {counted} of {_MEMBERS} members" if counted > 1 else None)


def anybodys_key(_build: Build, _folder: Path) -> Outcome:
    """A member's key is of low order: whoever likes signs the charter for it, and speaks in its name."""
    identities, tries = make_identities(_MEMBERS), Tries(Refuser.CHARTER)
    base = make_charter(identities)
    weak = Member(name=f"h{_MEMBERS}", public_key=_NEUTRAL)
    charter = tries(msgspec.structs.replace, base, members=(*base.members[:-1], weak))
    if charter is None:
        return tries.outcome(None)
    signatures = [sign_charter(charter, identity) for identity in identities[:-1]]
    verified = tries(verify_charter, charter, [*signatures, CharterSignature(weak.name, _SIGNED_BY_ANYBODY)])
    return tries.outcome(f"a charter that {weak.name} has not signed is in force" if verified else None)


def minority_threshold(build: Build, folder: Path) -> Outcome:
    """A charter with t = 2 of 5, under which the victim is summed with one hospital that colludes."""
    tries = Tries(Refuser.CHARTER)
    charter = tries(make_charter, make_identities(_MEMBERS), threshold=2, max_colluding=0)
    if charter is None:
        return tries.outcome(None)
    with Consortium.make(folder, _MEMBERS, build, threshold=2, max_colluding=0) as stage:
        coordinator = LyingCoordinator(stage.charter, stage.clients, colluders=[2])
        vectors = stage.random_vectors(np.random.default_rng(1))
        coordinator.set_up()
        guess = coordinator.sum_over(vectors, [VICTIM, 2]) - stage.integers(vectors, 2)
        return tries.outcome(recovered(guess, stage.integers(vectors, VICTIM), "h1's vector"))


_AROUND = "What holds around the rounds"
_SETS = "Two survivor sets"

ATTACKS: Final = (
    Attack(
        "hostile-charter-fields",
        Liar.AUTHOR,
        "Sets every field of a charter to hostile values and has all sign it.",
        _AROUND,
        Refused.with_reasons(
            Refuser.SITE,
            "malformed-charter",
            "unsupported-setting",
            "too-few-members",
            "duplicate-member",
            "weak-identity",
            "unsafe-threshold",
            "too-many-colluding",
            "graph-contradicts",
            "unlisted-parameters",
            "no-noise",
            "weights-not-private",
            "statistics-not-private",
            "noise-levels-contradict",
            "metrics-contradict",
            "metrics-not-private",
            "task-not-allowed",
            "scheme-not-allowed",
            "epsilon-too-large",
            "delta-too-large",
            "weight-too-large",
        ),
        hostile_fields,
        quick=True,
    ),
    Attack(
        "charter-beyond-policy",
        Liar.AUTHOR,
        "Proposes charters that contradict nothing but allow more than a site does.",
        _AROUND,
        Refused.with_reasons(
            Refuser.POLICY,
            "privacy-mode-not-allowed",
            "epsilon-too-large",
            "delta-too-large",
            "weight-too-large",
            "task-not-allowed",
            "scheme-not-allowed",
            "unknown-member",
        ),
        beyond_the_policy,
    ),
    Attack(
        "charter-altered-after-signing",
        Liar.AUTHOR,
        "Changes the threshold after all have signed, or leaves a signature out.",
        _AROUND,
        Refused.with_reasons(Refuser.CHARTER, "charter-altered", "charter-unsigned"),
        altered_after_signing,
    ),
    Attack(
        "sybil-cohort",
        Liar.AUTHOR,
        "Lists names of its own as members, and takes their parts out of the sum.",
        _AROUND,
        Refused.with_reasons(Refuser.POLICY, "unknown-member"),
        sybils,
        "Douceur 2002",
        quick=True,
    ),
    Attack(
        "one-key-under-three-names",
        Liar.AUTHOR,
        "Lists one key as three members.",
        _AROUND,
        Refused.with_reasons(Refuser.CHARTER, "duplicate-member"),
        one_key_twice,
    ),
    Attack(
        "key-that-anybody-signs-for",
        Liar.AUTHOR,
        "Lists a member with a key of low order, and signs the charter in its name without any secret.",
        _AROUND,
        Refused.with_reasons(Refuser.CHARTER, "weak-identity"),
        anybodys_key,
        "Chalkias et al. 2020",
    ),
    Attack(
        "minority-threshold",
        Liar.AUTHOR,
        "Sets a threshold of two of five, so that the victim may be summed with one hospital that colludes.",
        _SETS,
        Refused.with_reasons(Refuser.CHARTER, "unsafe-threshold"),
        minority_threshold,
    ),
)
