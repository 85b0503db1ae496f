"""What left is counted, also where a log names what the protocol does not know."""

from __future__ import annotations

import msgspec
import pytest

from secagg.egress import Direction, EgressEntry
from secagg.wire import Stage
from training.reporting.egress import KINDS, egress_of


def entry(stage, sequence=1):
    return EgressEntry(
        sequence=sequence,
        previous="0" * 64,
        charter="1" * 64,
        direction=Direction.SENT,
        stage=stage,
        epoch=1,
        round=1,
        recipient=0,
        bytes=10,
        sha256="2" * 64,
        time="2026-01-01T00:00:00+00:00",
    )


def test_messages_of_an_unknown_kind_are_counted_after_all_others():
    names = ("UNHEARD_OF", "STATUS", "MASKED", "ANOTHER")
    found = egress_of([entry(stage, sequence) for sequence, stage in enumerate(names, start=1)])
    assert [stage.stage for stage in found.stages] == ["MASKED", "STATUS", "ANOTHER", "UNHEARD_OF"]
    assert found.messages == 4


@pytest.mark.parametrize("stage", ["DEAL", "REVEAL"])
def test_nothing_is_said_to_have_left_of_surplus_noise_where_there_is_none(stage):
    assert "surplus noise where there is any" in KINDS[stage]


def test_whatever_a_hospital_sends_is_told_in_plain_words():
    assert set(KINDS) == {stage.name for stage in Stage if not stage.sent_by_coordinator}


def test_only_what_is_sealed_for_a_hospital_or_hides_an_update_is_said_to_be_encrypted():
    assert {stage for stage, told in KINDS.items() if "encrypted" in told} == {"DEAL", "MASKED", "SNAPSHOT"}
    assert KINDS["ACKNOWLEDGE"].startswith("a hash that shows that it has the same key of the epoch as the others")


@pytest.mark.parametrize("stage", ["MASKED\n", "masked", "", "A" * 21])
def test_a_kind_that_is_no_name_is_no_entry(stage):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(entry(stage)), type=EgressEntry)


@pytest.mark.parametrize("field", ["sha256", "charter", "previous"])
def test_a_hash_with_a_line_feed_is_none(field):
    changed = msgspec.structs.replace(entry("MASKED"), **{field: "1" * 64 + "\n"})
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(changed), type=EgressEntry)
