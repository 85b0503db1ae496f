"""What every exported file carries beside the model: who signed it, what goes in and comes out, what made the file.

Knows names and JSON. All of it is text, for that is what the three formats can hold.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import msgspec

from secagg.charter.model import Charter
from secagg.errors import TamperingError
from secagg.release.unusable import unusable
from training.draft import task_spec
from training.tasks.spec import TABULAR, TaskSpec, input_names

STATEMENT: Final = "secagg.statement"
MODEL: Final = "secagg.model"
INTERFACE: Final = "secagg.interface"
MADE_BY: Final = "secagg.made_by"

# Stated as null where a task does not set them. Later settings that are null are left out instead, so that exports from
# before are not called altered. One with another default would be stated, and so has to have none.
_NULL_IF_UNSET: Final = frozenset({"positive_above", "patient", "backbone", "backbone_sha256"})


class Interface(msgspec.Struct, frozen=True):
    """What the model takes and gives.

    Attributes:
        features: names of the columns, one-hot columns among them; empty for images.
        shape: of one record; None where the code of a custom task decides.
        classes: how many probabilities come out for each.
        scaling: ``inside``: raw features go in; otherwise what has to be done to them first. Of images, all of it is
            said of pixels from -1 to 1, as `training.readers.images.scale_pixels` makes them.
        low, high: of each column, where scaling is by bounds.
        task: the charter's, from which the columns follow.
    """

    features: tuple[str, ...]
    shape: tuple[int, ...] | None
    classes: int
    scaling: str
    task: dict[str, object]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def interface_of(
    charter: Charter, scaling: str, low: tuple[float, ...] = (), high: tuple[float, ...] = ()
) -> Interface:
    """The interface of a charter's model."""
    spec = task_spec(charter)
    data = spec.data
    names = input_names(data) if data.features else ()
    shape: tuple[int, ...] | None = (data.image_channels, data.image_size, data.image_size)
    if spec.kind == TABULAR or names:
        shape = (len(names),)
    elif spec.is_custom:
        shape = None
    task: dict[str, object] = {"kind": spec.kind, "settings": _settings(spec)}
    return Interface(names, shape, data.classes, scaling, task, low, high)


def attach(signed: bytes, interface: Interface, model: bytes | None, *makers: str) -> dict[str, str]:
    """The attachment.

    Args:
        signed: the signed statement, as its file is written.
        model: the release's model file, where it cannot be read from the exported one.
        makers: packages that decide about the file's bytes.
    """
    content = {
        STATEMENT: signed.decode(),
        INTERFACE: msgspec.json.encode(interface, order="sorted").decode(),
        MADE_BY: msgspec.json.encode(_versions(makers), order="sorted").decode(),
    }
    if model is not None:
        content[MODEL] = base64.b64encode(model).decode()
    return dict(sorted(content.items()))


def statement_of(attached: Mapping[str, str], place: str) -> bytes:
    """The signed statement.

    Raises:
        TamperingError: ``no-statement``.
    """
    if STATEMENT not in attached:
        raise unusable("no-statement", f"{place} carries no statement by those who made it.", place)
    return attached[STATEMENT].encode()


def model_of(attached: Mapping[str, str], place: str) -> bytes | None:
    """The release's model file, if it is attached.

    Raises:
        TamperingError: ``malformed-export``.
    """
    if MODEL not in attached:
        return None
    try:
        return base64.b64decode(attached[MODEL], validate=True)
    except (binascii.Error, ValueError) as error:
        raise malformed(place, error) from error


def made_elsewhere(attached: Mapping[str, str], *makers: str) -> str | None:
    """What made the file, in words, if it is not what is installed here."""
    told = attached.get(MADE_BY, "")
    return None if told == msgspec.json.encode(_versions(makers), order="sorted").decode() else told


def malformed(place: str, error: object) -> TamperingError:
    """The error for a file that is no export."""
    return unusable("malformed-export", f"{place} is not a readable exported model: {error}.", place)


def _settings(spec: TaskSpec) -> dict[str, object]:
    sections = msgspec.json.decode(spec.settings_json(), type=dict[str, dict[str, object]])
    return {
        section: {name: value for name, value in held.items() if value is not None or name in _NULL_IF_UNSET}
        for section, held in sections.items()
    }


def _versions(makers: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in makers:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found
