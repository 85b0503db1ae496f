"""Sharing one secret 34-of-50 and rebuilding it."""

from __future__ import annotations

import os

from secagg.masking import shamir

THRESHOLD, POINTS = 34, list(range(1, 51))


def bench_share_and_rebuild(benchmark, figure):
    secret = shamir.random_secret(os.urandom)

    def share_and_rebuild() -> bytes:
        shares = shamir.share(secret, THRESHOLD, POINTS, os.urandom)
        # Rebuilding for a new set of responders: the interpolation weights are not reused.
        shamir.cached_lagrange_weights.cache_clear()
        return shamir.reconstruct(dict(zip(POINTS[:THRESHOLD], shares[:THRESHOLD], strict=True)))

    assert benchmark(share_and_rebuild) == secret
    if benchmark.enabled:
        benchmark.extra_info["milliseconds"] = benchmark.stats.stats.median * 1e3
        figure("Shamir 34-of-50, share and rebuild", benchmark.stats.stats.median * 1e3, "ms", at_most=2)
