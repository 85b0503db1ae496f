"""A site takes deliveries as large as its charter needs, and no larger."""

from __future__ import annotations

import pytest

pytest.importorskip("nvflare", reason="the extra nvflare is not installed")

from nvflare.fuel.f3.comm_config import CommConfigurator

from secagg.charter import Statistics
from secagg.masking import Purpose, Session
from secagg.masking.limits import payload_limit
from secagg.wire import Stage
from tests.support.consortium import make_charter, make_identities, sign_by_all
from training.engines.nvflare.bounds import VARIABLE, largest_delivery
from training.parcels import LARGEST_PARCEL


@pytest.fixture
def charter():
    identities = make_identities(3)
    return sign_by_all(make_charter(identities), identities)


def test_every_message_of_the_protocol_and_every_parcel_fits(charter):
    session = Session.unopened(charter)
    largest = largest_delivery(charter)
    assert largest > LARGEST_PARCEL
    assert all(payload_limit(session, stage) < largest for stage in Stage)


def test_statistics_larger_than_any_update_fit_too():
    identities = make_identities(3)
    charter = sign_by_all(make_charter(identities, scheme="ckks", statistics=Statistics(features=1 << 20)), identities)
    session = Session.unopened(charter, Purpose.STATISTICS)
    assert LARGEST_PARCEL < payload_limit(session, Stage.SUM) < largest_delivery(charter)


def test_nvflare_takes_the_bound_from_the_environment(charter, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(largest_delivery(charter)))
    assert CommConfigurator().get_streaming_max_blob_size() == largest_delivery(charter)
