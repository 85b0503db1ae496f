"""A charter survives its TOML file, field by field and byte by byte."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.charter import (
    Charter,
    Encoding,
    Metrics,
    Model,
    Privacy,
    TaskChoice,
    Training,
    parse_charter,
    render_charter,
)
from secagg.charter.sections import DELTA_LIMIT, LARGEST_FACTOR, ServerStep
from secagg.charter.thresholds import smallest_threshold
from secagg.charter.toml import LARGEST_CHARTER
from secagg.errors import InputError
from secagg.identity import fingerprint
from tests.support.consortium import make_charter, make_identities

IDENTITIES = make_identities(9)

positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False)
not_negative = st.floats(min_value=0, allow_infinity=False, allow_nan=False)
factors = st.floats(0, LARGEST_FACTOR)
below_one = st.floats(0, 1, exclude_max=True)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
text = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
scalars = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), text
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
    max_leaves=5,
)


@st.composite
def charters(draw) -> Charter:
    members = draw(st.integers(3, 9))
    colluding = draw(st.integers(0, members - 2))
    smallest = smallest_threshold(members, colluding)
    private = draw(st.booleans())
    release = draw(st.sampled_from(["none", "noisy"] if private else ["none", "exact"]))
    target = None if release == "none" else draw(st.none() | st.floats(0, 1, exclude_min=True))
    cells = 0 if release == "none" else draw(st.integers(1, 1 << 16))
    privacy = Privacy()
    if private:
        privacy = Privacy(
            mode="local",
            noise_multiplier=draw(st.floats(0, 10_000, exclude_min=True)),
            clip_norm=draw(st.floats(1e-6, 1e6)),
            sampling_rate=draw(st.floats(0, 1, exclude_min=True)),
            delta=draw(st.floats(0, DELTA_LIMIT, exclude_min=True, exclude_max=True)),
            metric_noise_multiplier=draw(st.floats(0, 10_000, exclude_min=True)),
            budget=draw(not_negative),
        )
    return make_charter(
        IDENTITIES[:members],
        name=draw(names),
        max_colluding=colluding,
        threshold=draw(st.integers(smallest, members)),
        model=Model(digest=draw(st.binary(min_size=32, max_size=32)), parameters=draw(st.integers(1, 1 << 32))),
        task=TaskChoice(
            kind=draw(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)),
            settings=draw(st.dictionaries(text, values, max_size=3)),
        ),
        training=Training(
            rounds=draw(st.integers(1, 1_000_000)),
            learning_rate=draw(st.floats(0, LARGEST_FACTOR, exclude_min=True)),
            momentum=draw(below_one),
            prox_mu=draw(factors),
            weight_decay=draw(factors),
            weighting="uniform",
            server=ServerStep(optimizer=draw(st.sampled_from(["fedavg", "momentum", "adam"])), tau=draw(positive)),
        ),
        encoding=Encoding(field_bits=draw(st.integers(16, 64)), update_norm=draw(st.floats(1e-30, LARGEST_FACTOR))),
        metrics=Metrics(release=release, cells=cells, target=target),
        privacy=privacy,
        epoch_rounds=draw(st.integers(1, 1000)),
    )


@settings(max_examples=120, deadline=None)
@given(charter=charters())
def test_any_charter_is_read_back_from_its_toml(charter):
    read = parse_charter(render_charter(charter))
    assert read == charter
    assert read.canonical_bytes() == charter.canonical_bytes()


def test_the_file_shows_every_fingerprint():
    rendered = render_charter(make_charter(IDENTITIES)).decode()
    for identity in IDENTITIES:
        assert fingerprint(identity.public_key) in rendered
    assert rendered.count("[[members]]") == len(IDENTITIES)


RENDERED = render_charter(make_charter(IDENTITIES)).decode()


@pytest.mark.parametrize("spelt", ["fingerprint {}", "{}", "compare:{}.", "Fingerprint {}", "fingerprint \u200b{}"])
def test_a_fingerprint_beside_another_key_than_its_own_is_refused(spelt):
    """Whoever compares what the file shows would find the owner's, and sign for a key that is not the owner's."""
    owner, other = IDENTITIES[1], make_identities(10)[9]
    beside = make_charter([IDENTITIES[0], other, *IDENTITIES[2:]])
    shown = render_charter(beside).decode().replace(f"fingerprint {other.fingerprint}", spelt.format(owner.fingerprint))
    with pytest.raises(InputError) as caught:
        parse_charter(shown.encode())
    assert (caught.value.reason, caught.value.culprit) == ("false-fingerprint", beside.members[1].name)


def test_and_so_are_two_members_fingerprints_each_beside_the_others_key():
    one, two = IDENTITIES[0].fingerprint, IDENTITIES[1].fingerprint
    swapped = RENDERED.replace(one, "*").replace(two, one).replace("*", two)
    with pytest.raises(InputError, match="Beside h1"):
        parse_charter(swapped.encode())


@pytest.mark.parametrize("spelt", ['[["members"]]', "[[ 'members' ]]", '[["m\\u0065mbers"]]'])
def test_and_a_false_one_beside_a_heading_that_is_spelt_in_another_way(spelt):
    heading, false = f"[[members]] # fingerprint {IDENTITIES[8].fingerprint}", IDENTITIES[0].fingerprint
    assert heading in RENDERED
    with pytest.raises(InputError, match="Beside h9") as caught:
        parse_charter(RENDERED.replace(heading, f"{spelt} # fingerprint {false}").encode())
    assert caught.value.reason == "false-fingerprint"
    assert parse_charter(RENDERED.replace(heading, spelt).encode()) == make_charter(IDENTITIES)


@pytest.mark.parametrize("hidden", ['"""\n[[members]]\n"""', '[\n[["members"]]\n]'], ids=["in a text", "in a list"])
def test_what_only_looks_like_a_heading_does_not_have_each_comment_held_against_another_key(hidden):
    """With one line too many before them, nobody would look at what is said of the last."""
    last = IDENTITIES[8].fingerprint
    shown = re.sub("# fingerprint .*", "", RENDERED.replace(f"# fingerprint {last}", f"# compare {last}"))
    shown = shown.replace("[task.settings]", f"[task.settings]\nnote = {hidden}")
    with pytest.raises(InputError) as caught:
        parse_charter(shown.encode())
    assert caught.value.reason == "malformed-charter"
    assert "9 members, and 10 lines that begin one" in caught.value.message


def test_control_a_file_with_line_ends_of_windows_is_read():
    for text in (RENDERED, re.sub("# fingerprint .*", "", RENDERED), re.sub("# fingerprint .*", "", RENDERED, count=1)):
        assert parse_charter(text.replace("\n", "\r\n").encode()) == make_charter(IDENTITIES)


def test_what_other_comments_say_is_nobodys_business():
    noted = f"# h1's key before 2026 was {make_identities(10)[9].fingerprint}\n{RENDERED}"
    assert parse_charter(noted.encode()) == make_charter(IDENTITIES)


def test_control_a_file_that_shows_no_fingerprints_is_read():
    assert parse_charter(re.sub("# fingerprint .*", "", RENDERED).encode()) == make_charter(IDENTITIES)


@pytest.mark.parametrize(
    "changed",
    [
        RENDERED.replace("threshold = ", "treshold = "),
        RENDERED.replace("threshold = ", "surprise = 1\nthreshold = "),
        RENDERED.replace("field_bits = 24", "field_bits = 15"),
        RENDERED.replace("field_bits = 24", "field_bits = 65"),
        RENDERED.replace("field_bits = 24", 'field_bits = "24"'),
        RENDERED.replace("update_norm = 10.0", "update_norm = 0.0"),
        RENDERED.replace("update_norm = 10.0", "update_norm = inf"),
        RENDERED.replace("update_norm = 10.0", "update_norm = nan"),
        RENDERED.replace("update_norm = 10.0", "update_norm = 1e-300"),
        RENDERED.replace("update_norm = 10.0", "update_norm = 1e300"),
        RENDERED.replace("budget = 0.0", "budget = nan"),
        RENDERED.replace("delta = 1e-05", "delta = 0.01"),
        RENDERED.replace("learning_rate = 0.1", "learning_rate = 1e39"),
        RENDERED.replace('scheme = "mask"', 'scheme = "plain"'),
        RENDERED.replace("version = 1", "version = 2"),
        RENDERED.replace('digest = "', 'digest = "AAAA'),
        "not toml at all [",
        "",
    ],
)
def test_a_file_that_is_no_charter_is_refused(changed):
    assert changed != RENDERED
    with pytest.raises(InputError) as caught:
        parse_charter(changed.encode())
    assert caught.value.reason == "malformed-charter"


def test_a_number_out_of_range_is_told_with_its_name_and_the_range():
    with pytest.raises(InputError) as caught:
        parse_charter(RENDERED.replace("field_bits = 24", "field_bits = 65").encode())
    assert caught.value.message == "The charter's encoding.field_bits is not valid: expected int <= 64."


def test_a_contradiction_in_the_file_keeps_its_own_reason():
    with pytest.raises(InputError) as caught:
        parse_charter(RENDERED.replace('name = "h2"', 'name = "h1"').encode())
    assert caught.value.reason == "duplicate-member"


def test_a_date_in_the_settings_is_refused_since_json_would_write_it_like_text():
    with pytest.raises(InputError) as caught:
        parse_charter(RENDERED.replace("[task.settings]", "[task.settings]\nday = 2020-01-01").encode())
    assert caught.value.reason == "unsupported-setting"


def test_settings_that_lie_too_deep_within_one_another_are_refused_and_end_nothing():
    parts = "a." * 30 + "a"
    for depth in (2, 100):
        deep = f"{{{parts} = " * depth + "1" + "}" * depth
        with pytest.raises(InputError) as caught:
            parse_charter(RENDERED.replace("[task.settings]", f"[task.settings]\nn = {deep}").encode())
        assert caught.value.reason == "unsupported-setting"


def test_bytes_that_are_no_text_and_files_that_are_too_large_are_refused():
    for data in (b"\xff\xfe", b"#" * (LARGEST_CHARTER + 1)):
        with pytest.raises(InputError) as caught:
            parse_charter(data)
        assert caught.value.reason == "malformed-charter"
