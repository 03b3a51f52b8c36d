"""infra/topology.json and the Cosmos DB container are what the code asks for. UPDATE_GOLDEN=1 writes the first anew."""

from __future__ import annotations

import os

from local_stack import emulators
from shared.clients import cosmos
from shared.pipeline import TOPOLOGY
from tests.gate import bicep, product
from tests.gate.topology import FILE, rendered
from tests.paths import ROOT

INFRA = ROOT / "infra"
# Service Bus documentation, quotas: a subscription's and a rule's name.
LONGEST_NAME = 50


def test_the_topology_is_the_pipelines() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        FILE.write_text(rendered())
    assert FILE.read_text() == rendered()


def test_names_of_subscriptions_and_rules_fit_service_bus() -> None:
    for subscription in (s for many in TOPOLOGY.topics.values() for s in many):
        assert len(subscription.name) <= LONGEST_NAME
        assert all(len(subject) <= LONGEST_NAME for subject in subscription.subjects or ())


def test_the_cosmos_container_is_as_its_client_asks_for_it() -> None:
    infra = bicep.read(INFRA)
    (account,) = infra.of_type("Microsoft.DocumentDB/databaseAccounts")
    assert account.get("properties.consistencyPolicy.defaultConsistencyLevel") == cosmos.CONSISTENCY_LEVEL
    (container,) = infra.of_type("Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers")
    assert container.body["name"] == container.get("properties.resource.id") == cosmos.CONTAINER
    assert container.get("properties.resource.partitionKey.paths") == [cosmos.PARTITION_KEY_PATH]
    assert container.get("properties.resource.defaultTtl") == cosmos.DEFAULT_TTL_S
    assert container.get("properties.resource.indexingPolicy") == cosmos.INDEXING_POLICY


def test_a_stack_on_emulators_has_the_containers_of_the_infrastructure() -> None:
    assert sorted(emulators.CONTAINERS) == sorted(product.CONTAINERS)
