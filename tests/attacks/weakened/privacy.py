"""Builds that are less private than they claim: without noise, with half of it, without clipping. In both modes."""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

import torch

from dp import gaussian, gradients, training
from training import noise
from training.testbed.build import Build, Control


def with_noise_times(factor):
    """Every draw has the standard deviation that it should have, times this."""
    drawn, integer = gaussian.gaussian, noise.integer_noise
    stack = ExitStack()
    stack.enter_context(
        patch(
            "dp.gaussian.gaussian",
            lambda generator, size, deviation: drawn(generator, size, factor * deviation),
        )
    )
    stack.enter_context(
        patch(
            "training.noise.integer_noise",
            lambda generator, kind, size, variance: integer(generator, kind, size, factor**2 * variance),
        )
    )
    return stack


def without_clipping():
    """Gradients of any length. Nor is it checked after rounding that they are short."""
    clipped, rounded = gradients.ClippedGradients._clipped, gradients.round_rows
    stack = ExitStack()

    def as_they_are(own, records, rows):
        norm = torch.linalg.vector_norm
        with patch("torch.linalg.vector_norm", lambda *given, **kept: norm(*given, **kept).clamp(max=1e-9)):
            # What is divided by no more than this is not shortened.
            return clipped(own, records, rows)

    def of_any_length(rows, norm, generator):
        longest = max(norm, float(torch.linalg.vector_norm(torch.from_numpy(rows), dim=1).max()))
        return rounded(rows, longest, generator)

    stack.enter_context(patch("dp.gradients.ClippedGradients._clipped", as_they_are))
    stack.enter_context(patch("dp.gradients.round_rows", of_any_length))
    sound = training.SecureNoiseOptimizer.__init__

    def begin(own, *given):
        sound(own, *given)
        deviation = own.noise_multiplier * own.max_grad_norm
        own.max_grad_norm = 1e9
        own.noise_multiplier = deviation / own.max_grad_norm

    stack.enter_context(patch("dp.training.SecureNoiseOptimizer.__init__", begin))
    return stack


PRIVACY = {
    "noise-off": Control(Build(in_force=lambda: with_noise_times(0.0)), "noise"),
    "clip-off": Control(Build(in_force=without_clipping), "clipping"),
    "noise-halved": Control(Build(in_force=lambda: with_noise_times(0.5)), "half of the noise"),
}
