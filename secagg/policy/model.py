"""A site's policy as an immutable value, and its TOML file.

Knows the limits and their strict defaults. What a charter must fulfil is in `secagg.policy.checks`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import tomlkit

from secagg.errors import InputError
from secagg.files import read_bounded

LARGEST_POLICY = 256 * 1024


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The least this site accepts. The defaults are the strict ones, in force where there is no file.

    Attributes:
        known_members: fingerprints that this site has compared with their owners. A charter with another is refused.
        minimum_cohort: the fewest hospitals in a sum.
        minimum_honest: the fewest hospitals left in a sum when all that may collude do: t - c.
        allowed_schemes: of aggregation. By default those that hold against a coordinator that conspires with up to c
            hospitals; ``bfv`` and ``ckks`` hold against none that conspires with any, and must be allowed by name.
        allowed_privacy_modes: of differential privacy; ``none`` is not among the defaults.
        maximum_epsilon: for each data set, over all charters, at ``maximum_delta``.
        maximum_weight: the most records that one hospital may count as.
        allowed_tasks: kinds of task; code of one's own (``module:function``) must be listed by name.
        release_exact_metrics: whether validation counts may be summed without noise.
    """

    known_members: frozenset[str] = frozenset()
    minimum_cohort: Annotated[int, msgspec.Meta(ge=2)] = 3
    minimum_honest: Annotated[int, msgspec.Meta(ge=2)] = 2
    allowed_schemes: frozenset[str] = frozenset({"mask", "double-lock"})
    allowed_privacy_modes: frozenset[str] = frozenset({"local", "distributed"})
    maximum_epsilon: Annotated[float, msgspec.Meta(gt=0)] = 8.0
    maximum_delta: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 1e-5
    maximum_weight: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    allowed_tasks: frozenset[str] = frozenset({"tabular-classification", "image-classification"})
    release_exact_metrics: Literal["refuse", "allow"] = "refuse"


def load_policy(path: Path) -> Policy:
    """Read a policy file; the strict defaults where there is none.

    Raises:
        InputError: ``malformed-policy``.
    """
    if not path.exists():
        return Policy()
    try:
        return msgspec.convert(tomllib.loads(read_bounded(path, LARGEST_POLICY).decode("utf-8-sig")), Policy)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, msgspec.ValidationError) as error:
        raise InputError(
            "malformed-policy",
            f"The policy {path} cannot be read: {error}.",
            culprit=str(path),
            remedy="Nothing is trained until it is mended.",
        ) from error


def render_policy(policy: Policy) -> bytes:
    """The policy as TOML."""
    document = tomlkit.document()
    document.add(tomlkit.comment("What this site accepts. Local: never sent to anybody."))
    document.update(msgspec.to_builtins(policy, order="sorted"))
    return tomlkit.dumps(document).encode()
