"""Builds that take releases and checkpoints as they come."""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

from training.catching_up import CatchingUp
from training.checkpointing import Checkpointing
from training.testbed.build import Build, Control


def with_any_release():
    stack = ExitStack()
    stack.enter_context(patch("training.concluding.require_attested", lambda *arguments: None))
    stack.enter_context(patch("secagg.release.folder._require_enough", lambda *arguments: None))
    return stack


def with_any_checkpoints():
    return patch.object(Checkpointing, "_require_same", lambda *arguments: None)


def with_what_was_held():
    return patch.object(CatchingUp, "forget", lambda self: None)


CONTROLS = {
    "release-of-one": Control(
        Build(in_force=with_any_release), "the threshold of contributors, and what the hospital attested to"
    ),
    "second-release-by-snapshot": Control(
        Build(in_force=with_what_was_held), "forgetting what was handed over once a release is attested to"
    ),
    "checkpoints-signed-anew": Control(Build(in_force=with_any_checkpoints), "the memory of what was signed"),
}
