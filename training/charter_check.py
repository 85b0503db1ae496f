"""Whether a charter that was put together can be read back and trained under: `secagg charter new` writes no other, and
`secagg plan` recommends no other. Of one that somebody else wrote, whether there is room for its numbers.

Knows the charter alone, and of the model only its size. Loads nothing that trains.
"""

from __future__ import annotations

from secagg.charter import Charter, parse_charter, render_charter
from secagg.charter.state_size import largest_snapshot, require_sealable
from secagg.encoding import Section
from secagg.errors import InputError
from secagg.masking.sizes import Shape, round_traffic
from training.noise import noise_shares, require_same_noise
from training.vector_layout import update_layout


def checked_charter(charter: Charter) -> Charter:
    """The charter as everybody will read it.

    Raises:
        InputError: ``malformed-charter`` for a value that no charter holds; whatever it contradicts itself in;
            ``field-too-narrow`` where its field has no room for what hospitals encode; ``other-noise``;
            ``snapshot-too-large`` where a hospital that misses sums could not catch up; ``too-large`` where an update
            or a sum is longer than a message can be.
    """
    charter = _as_read_back(charter)
    require_sealable(charter.scheme, largest_snapshot(charter), charter.training.server.optimizer)
    require_room(charter)
    require_same_noise(charter)
    return charter


def require_room(charter: Charter) -> None:
    """Refuse a charter whose numbers have no room where they must go: no round of it can be, and each would be charged.

    Raises:
        InputError: ``field-too-narrow``; ``too-large``; as `checked_charter`.
    """
    # Of training alone: the statistics of as many features as a charter can have go into a message under every scheme.
    round_traffic(Shape.of_training(charter))
    # Made here to see that it can be: each hospital makes its own, but not before the first round.
    if charter.privacy.mode == "distributed":
        noise_shares(charter)
    else:
        update_layout(charter, [Section("model", charter.model.parameters, charter.encoding.update_norm)])


def _as_read_back(charter: Charter) -> Charter:
    """What is constructed has not been checked against the charter's schema; what is read has."""
    try:
        return parse_charter(render_charter(charter))
    except InputError as error:
        raise error.with_remedy("Choose another value.") from error
