"""The record of an endpoint."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.domain.endpoint import EndpointRecord, Stopped
from shared.domain.errors import StoreConflict
from shared.ports import Services, Write
from shared.records import endpoints


@pytest.fixture
def record(services: Services) -> EndpointRecord:
    """The first promotion at an endpoint, written."""
    made = EndpointRecord(
        endpoint="shop",
        project="shop",
        champion="run-1",
        deployment="d-1",
        model="shop:1",
        scoring_uri="https://example.com/score",
        promoted_at=services.clock.now(),
    )
    endpoints.write(services.store, made, replacing=None)
    return made


def promoted(record: EndpointRecord) -> EndpointRecord:
    keep_until = record.promoted_at + timedelta(days=1)
    changes = {"champion": "run-2", "deployment": "d-2", "model": "shop:2"}
    return record.model_copy(update={**changes, "previous": record.as_previous(keep_until)})


def test_a_record_comes_back_as_it_was_written_and_is_listed(services: Services, record: EndpointRecord) -> None:
    assert endpoints.read(services.store, "shop") == record
    assert endpoints.read(services.store, "other") is None
    assert list(endpoints.all_records(services.store)) == [record]


def test_a_record_is_replaced_only_if_it_is_the_one_that_was_read(services: Services, record: EndpointRecord) -> None:
    newer = promoted(record)
    endpoints.write(services.store, newer, replacing=record)
    endpoints.write(services.store, newer, replacing=record)  # a redelivery
    with pytest.raises(StoreConflict):
        endpoints.write(services.store, record, replacing=record)
    assert endpoints.read(services.store, "shop") == newer


def test_a_withdrawn_promotion_leaves_the_record_as_it_was(services: Services, record: EndpointRecord) -> None:
    endpoints.write(services.store, promoted(record), replacing=record)
    endpoints.withdraw(services.store, "shop", "run-1")
    assert endpoints.read(services.store, "shop") == promoted(record), "only the run in production can be withdrawn"
    endpoints.withdraw(services.store, "shop", "run-2")
    assert endpoints.read(services.store, "shop") == record


def test_a_withdrawn_first_promotion_leaves_no_record(services: Services, record: EndpointRecord) -> None:
    endpoints.withdraw(services.store, "shop", "run-1")
    assert endpoints.read(services.store, "shop") is None


def test_that_a_deployment_was_stopped_says_nothing_of_one_that_an_earlier_version_promoted_since(
    services: Services, record: EndpointRecord
) -> None:
    stopped = Stopped(deployment=record.deployment, at=record.promoted_at, reason="no request for 8:00:00")
    endpoints.write(services.store, record.model_copy(update={"stopped": stopped}), replacing=record)
    stored = services.store.get(f"endpoint:{record.endpoint}", endpoints.RECORD)
    assert stored is not None
    by_an_earlier_one = stored.document["record"] | {"deployment": "d-newer", "champion": "run-newer"}
    document = {**stored.document, "record": by_an_earlier_one}
    services.store.batch(stored.partition, [Write("replace", endpoints.RECORD, document, stored.etag)])
    found = endpoints.read(services.store, record.endpoint)
    assert found is not None
    assert (found.deployment, found.stopped) == ("d-newer", None)
