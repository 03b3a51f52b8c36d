"""What only the Cosmos DB client promises; what every RunStore promises is in tests/contract."""

from __future__ import annotations

import logging
import socket
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
from azure.cosmos import PartitionKey

from shared.clients import cosmos
from shared.clients.cosmos import CosmosRunStore
from shared.domain.errors import InvalidInput, PermanentFailure, Transient
from shared.ports import Write
from shared.ports.store import FILTERS
from tests.emulator_servers import cosmos_url


@pytest.fixture
def store() -> Iterator[CosmosRunStore]:
    with closing(CosmosRunStore(cosmos_url())) as opened:
        yield opened


def create(id: str, **fields: object) -> Write:
    return Write("create", id, {"type": "run", **fields})


def test_an_account_in_azure_is_reached_without_a_key() -> None:
    account = cosmos.parse_url("https://droptune-prod.documents.azure.com/droptune")
    assert account == cosmos.Account("https://droptune-prod.documents.azure.com/", "droptune", emulator=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://droptune.documents.azure.com",
        "https://droptune.documents.azure.com/a/b",
        "https://documents.azure.com.evil.example/droptune",
        "https://evil.example/x.documents.azure.com/droptune",
        "http://droptune.documents.azure.com/droptune",
        "cosmos+http://10.0.0.5:8081/droptune",
        "cosmos+http://127.0.0.1.evil.example:8081/droptune",
        "cosmos+http://127.0.0.1:8081",
        "cosmos+http://127.0.0.1:8081@evil.example/droptune",
    ],
)
def test_neither_token_nor_key_goes_to_another_host(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        CosmosRunStore(url)
    assert caught.value.problem.code == "bad_run_store_url"
    assert caught.value.problem.param == "RUN_STORE_URL"


def test_nothing_is_asked_of_the_service_before_the_first_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        CosmosRunStore(f"cosmos+http://127.0.0.1:{server.getsockname()[1]}/droptune").close()
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # no connection waits to be accepted
            server.accept()


def test_a_service_that_is_not_there_is_worth_another_try() -> None:
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        url = f"cosmos+http://127.0.0.1:{taken.getsockname()[1]}/droptune"
        with closing(CosmosRunStore(url)) as store, pytest.raises(Transient) as caught:
            store.get("run-1", "run")
    assert caught.value.problem.code == "cosmos_busy"


def test_a_database_that_is_not_there_is_not_taken_for_an_absent_document() -> None:
    url = cosmos_url().rpartition("/")[0] + "/nowhere"
    with closing(CosmosRunStore(url)) as store, pytest.raises(PermanentFailure) as caught:
        store.get("run-1", "run")
    assert caught.value.problem.code == "cosmos_not_found"
    assert "container runs of database nowhere" in caught.value.problem.message


def test_a_store_can_be_used_again_after_it_was_closed(store: CosmosRunStore) -> None:
    partition = uuid.uuid4().hex
    store.batch(partition, [create("run")])
    store.close()
    assert store.get(partition, "run") is not None


def test_an_id_that_no_document_can_have_is_simply_absent(store: CosmosRunStore) -> None:
    assert store.get("run-1", "../run") is None


def test_a_document_without_id_and_time_comes_back_without_them_and_last_in_the_pages(store: CosmosRunStore) -> None:
    partition, kind = uuid.uuid4().hex, uuid.uuid4().hex
    bare = {"type": kind, "partition": "of the document's own", "project": "p", "document": {"deep": 1}}
    store.batch(partition, [Write("create", "bare", bare)])
    store.batch(partition, [Write("create", "dated", {"type": kind, "created_at": "2026-01-01T00:00:00Z"})])
    found, cursor = store.query(kind)
    assert [one.document for one in found] == [{"type": kind, "created_at": "2026-01-01T00:00:00Z"}, bare]
    assert cursor is None
    assert [one.document for one in store.query(kind, {"project": "p"})[0]] == [bare]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("fields", FILTERS)
def test_each_query_needs_its_own_index_of_the_infrastructure(fields: tuple[str, ...]) -> None:
    """The server refuses an ORDER BY that no composite index serves, as Cosmos DB does."""
    account = cosmos.parse_url(cosmos_url().rpartition("/")[0] + f"/bare-{uuid.uuid4().hex}")
    expected = cosmos.INDEXING_POLICY["compositeIndexes"][FILTERS.index(fields)]
    others = [index for index in cosmos.INDEXING_POLICY["compositeIndexes"] if index != expected]
    with cosmos.make_client(account) as client:
        database = client.create_database(account.database)
        policy = {**cosmos.INDEXING_POLICY, "compositeIndexes": others}
        database.create_container(cosmos.CONTAINER, PartitionKey(cosmos.PARTITION_KEY_PATH), indexing_policy=policy)
    with closing(CosmosRunStore(f"cosmos+{account.endpoint}{account.database}")) as store:
        store.batch("run-1", [create("run")])
        with pytest.raises(PermanentFailure, match="composite index") as caught:
            store.query("run", dict.fromkeys(fields, "x"))
    assert caught.value.problem.code == "cosmos_refused"
    assert [one["path"] for one in expected][1 : 1 + len(fields)] == [f"/document/{field}" for field in fields]


def test_a_call_leaves_nothing_in_the_log(store: CosmosRunStore, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        store.get("run-1", "secret-name")
    assert [record for record in caplog.records if record.name.startswith("azure")] == []
