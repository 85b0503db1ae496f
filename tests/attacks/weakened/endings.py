"""Builds that take releases as they come."""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

from training.attacks.build import Build, Control


def with_any_release():
    stack = ExitStack()
    stack.enter_context(patch("training.hospital.require_attested", lambda *arguments: None))
    stack.enter_context(patch("secagg.release.folder._require_enough", lambda *arguments: None))
    return stack


CONTROLS = {
    "release-of-one": Control(
        Build(in_force=with_any_release), "the threshold of contributors, and what the hospital attested to"
    ),
}
