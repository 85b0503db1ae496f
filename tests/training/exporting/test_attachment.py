"""What an export says of its model's inputs stays the same to the byte, so that earlier exports can be verified."""

from __future__ import annotations

import json

from secagg.charter import Member
from tests.support.consortium import make_identities
from tests.support.hospitals import choices_of, tabular_spec
from training.draft import draft_charter
from training.exporting.attachment import INTERFACE, attach, interface_of

# As written before `data.most_rows` came. A setting that changes this makes `model verify` call earlier exports
# altered: leave it out where a task does not set it.
FROZEN = (
    '{"classes":2,"features":["age","dose"],"high":[],"low":[],"scaling":"inside","shape":[2],"task":{"kind":'
    '"tabular-classification","settings":{"data":{"bounds":{},"categorical":{},"class_names":[],"classes":2,'
    '"columns":[],"drop":[],"features":["age","dose"],"header":true,"image_channels":1,"image_size":28,"label":"ill",'
    '"missing":"refuse","missing_values":[],"patient":null,"positive_above":null,"standardise":"none"},"evaluation":'
    '{"bins":64,"division":"by-patient","metric":"accuracy","test_fraction":0.25,"test_seed":0},"model":{"backbone":'
    'null,"backbone_sha256":null,"channels":[16,32,32],"hidden":[32],"lora_rank":4,"name":"logistic","seed":0,'
    '"train":"all"}}}}'
)


def attached(**data: object) -> str:
    """What is attached about a model whose task has these settings of ``data``."""
    members = [Member(name=f"h{number}", public_key=key.public_key) for number, key in enumerate(make_identities(3), 1)]
    charter = draft_charter(choices_of(), members, tabular_spec(**data))
    return attach(b"{}", interface_of(charter, "inside"), None)[INTERFACE]


def test_what_is_said_of_a_charters_model_is_what_earlier_versions_said():
    assert attached() == FROZEN


def test_a_setting_that_came_later_is_stated_where_the_task_has_it():
    stated = json.loads(attached(patient="who", most_rows=5))
    assert stated["task"]["settings"]["data"].items() >= {"patient": "who", "most_rows": 5}.items()
