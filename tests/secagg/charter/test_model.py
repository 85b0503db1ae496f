"""A charter is one immutable value, and two charters never have one hash."""

from __future__ import annotations

import msgspec
import pytest

from secagg.charter import Charter, Metrics, NeighbourGraph, TaskChoice
from secagg.errors import InputError
from tests.support.consortium import make_charter, make_identities

IDENTITIES = make_identities(5)


def test_members_are_numbered_from_one_in_their_order():
    charter = make_charter(IDENTITIES)
    assert [charter.number_of(member.name) for member in charter.members] == [1, 2, 3, 4, 5]
    assert charter.member(2).name == "h2"
    with pytest.raises(InputError) as caught:
        charter.number_of("h9")
    assert caught.value.reason == "unknown-member"


def test_among_neighbours_a_threshold_above_the_smallest_leaves_no_more_hospitals_in_a_sum():
    charter = make_charter(IDENTITIES, threshold=5)
    assert charter.surely_summed == 5
    assert msgspec.structs.replace(charter, graph=NeighbourGraph(degree=4, threshold=3)).surely_summed == 4


def test_a_charter_cannot_be_changed():
    with pytest.raises(AttributeError):
        make_charter(IDENTITIES).threshold = 2


def leaves(value: object, path: tuple = ()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    yield from [(path, value)] if not isinstance(value, (dict, list)) else []
    for key, item in items:
        yield from leaves(item, (*path, key))


def altered(value: object) -> list[object]:
    match value:
        case bool() | None:
            return []
        case int() | float():
            return [other for other in (value + 1, value / 2) if other != value]
        case str():
            return [value + "x", *(word for word in ("none", "exact", "noisy", "uniform", "adam") if word != value)]
    return []


def test_changing_any_field_changes_the_digest_or_is_refused():
    charter = make_charter(
        IDENTITIES,
        metrics=Metrics(release="exact", cells=4, target=0.5),
        task=TaskChoice(kind="k", settings={"a": [1]}),
    )
    plain = msgspec.json.decode(charter.canonical_bytes())
    accepted = set()
    for path, value in leaves(plain):
        for other in altered(value):
            changed = msgspec.json.decode(charter.canonical_bytes())
            parent = changed
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = other
            try:
                result = msgspec.convert(changed, Charter)
            except (InputError, msgspec.ValidationError):
                continue
            assert result.digest() != charter.digest(), path
            accepted.add(path)
    assert len(accepted) > 20


def test_the_canonical_bytes_are_sorted_json_with_every_default_written_out():
    text = make_charter(IDENTITIES).canonical_bytes()
    plain = msgspec.json.decode(text)
    assert msgspec.json.encode(plain, order="sorted") == text
    assert plain["training"]["server"]["tau"] == 0.001
    assert b" " not in text
