"""RunStore on Azure Cosmos DB for NoSQL, with the unmodified `azure-cosmos`.

A document is kept whole under `document`, beside the fields Cosmos DB and the queries need, so it comes back
exactly as it was written whatever its field names are.
"""

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from azure.core.exceptions import AzureError
from azure.cosmos import ContainerProxy, CosmosClient
from azure.cosmos.exceptions import CosmosBatchOperationError, CosmosHttpResponseError, CosmosResourceNotFoundError
from azure.identity import DefaultAzureCredential

from shared.clients.azure_errors import Meaning, failure, meaning
from shared.domain.beside import read_beside
from shared.domain.errors import InvalidInput, StoreConflict
from shared.domain.urls import is_loopback
from shared.ports import Stored, Write, store

CONTAINER = "runs"
PARTITION_KEY_PATH = "/partition"
# Account and container as the infrastructure must create them. With weaker consistency another process may read a
# run as it was before an event that it has already received. -1: documents without a `ttl` of their own live on.
CONSISTENCY_LEVEL = "Strong"
DEFAULT_TTL_S = -1


def _composite(fields: tuple[str, ...]) -> list[dict[str, str]]:
    """ORDER BY over several fields is served from a composite index of just these, in this order, or refused; what is
    filtered by equality comes first in both (learn.microsoft.com/azure/cosmos-db/index-policy, "Queries with a filter
    and ORDER BY")."""
    paths = ["/type", *(f"/document/{field}" for field in fields), "/created_at", "/id", PARTITION_KEY_PATH]
    return [{"path": path, "order": "descending" if path == "/created_at" else "ascending"} for path in paths]


# Only what a query filters by: a transition replaces a document of hundreds of values. `id` is always indexed, the
# partition key only where it is included (same page, "Including and excluding property paths").
_FIELDS = sorted({f"/document/{field}" for fields in store.FILTERS for field in fields})
INDEXING_POLICY: dict[str, Any] = {
    "indexingMode": "consistent",
    "automatic": True,
    "includedPaths": [{"path": f"{path}/?"} for path in ("/type", "/created_at", PARTITION_KEY_PATH, *_FIELDS)],
    "excludedPaths": [{"path": "/*"}, {"path": '/"_etag"/?'}],
    "compositeIndexes": [_composite(fields) for fields in store.FILTERS],
}

# The key every Cosmos DB emulator has (documentation, "Develop locally using the emulator"); no secret, and
# never sent to a host that is not this machine.
EMULATOR_KEY = "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=="

_URL = re.compile(r"https://[a-z0-9-]+\.documents\.azure\.(?:com|us|cn)(?::443)?/(?P<database>[A-Za-z0-9_-]+)/?")
_EMULATOR_URL = re.compile(r"cosmos\+(?P<endpoint>https?://[^/]+)/(?P<database>[A-Za-z0-9_-]+)/?")
_TOO_LARGE = 413
_SQL = read_beside(__file__)


@dataclass(frozen=True, slots=True)
class Account:
    """Where a run store is. `emulator`: on this machine, with the emulator's key."""

    endpoint: str
    database: str
    emulator: bool


def parse_url(url: str) -> Account:
    """`https://ACCOUNT.documents.azure.com/DATABASE`, or `cosmos+http(s)://127.0.0.1:PORT/DATABASE`.

    Raises InvalidInput `bad_run_store_url` for anything else, also for an emulator that is not on this machine.
    """
    if match := _URL.fullmatch(url):
        return Account(url[: match.start("database")], match["database"], emulator=False)
    if (match := _EMULATOR_URL.fullmatch(url)) and is_loopback(match["endpoint"]):
        return Account(match["endpoint"] + "/", match["database"], emulator=True)
    raise InvalidInput("bad_run_store_url", f"not a Cosmos DB database, or not on this machine: {url}", "RUN_STORE_URL")


def make_client(account: Account, identity_client_id: str | None = None) -> CosmosClient:
    """The SDK's client; it asks the account for its regions at once. Retries end well inside a minute."""
    # It logs two records with all headers for every call.
    logging.getLogger("azure.cosmos").setLevel(logging.WARNING)
    credential = (
        EMULATOR_KEY if account.emulator else DefaultAzureCredential(managed_identity_client_id=identity_client_id)
    )
    return CosmosClient(
        account.endpoint,
        credential,
        connection_timeout=5,
        read_timeout=20,
        retry_total=5,
        retry_backoff_max=10,
        # An emulator names itself by an address that need not be the one it is reached at.
        enable_endpoint_discovery=not account.emulator,
        # As sent as counted: the default writes six bytes for a character that has two.
        enable_compact_utf8_item_writes=True,
    )


class CosmosRunStore:
    """Documents in the container `runs` of one database. Connects on first use; threads may share it.

    Every method may raise Transient (busy, unreachable, not answered) and PermanentFailure `platform` (no such
    database or container, access denied). After a Transient a batch may have been applied: read again.
    """

    def __init__(self, url: str, *, identity_client_id: str | None = None) -> None:
        self._account = parse_url(url)
        self._identity_client_id = identity_client_id
        self._opening = threading.Lock()
        self._client: CosmosClient | None = None
        self._opened: ContainerProxy | None = None

    def close(self) -> None:
        """Release connections; the next call opens new ones."""
        with self._opening:
            client, self._client, self._opened = self._client, None, None
        if client is not None:
            client.close()

    def get(self, partition: str, id: str) -> Stored | None:
        if not store.is_id(id):
            return None
        with _translated(f"document {partition}/{id}"):
            try:
                return _stored(self._container().read_item(id, partition_key=partition))
            except CosmosResourceNotFoundError as error:
                if meaning(error) is Meaning.ABSENT:
                    return None
                raise

    def batch(self, partition: str, writes: Sequence[Write]) -> None:
        store.checked_bodies(writes)
        if not writes:
            return
        operations = [_operation(partition, write) for write in writes]
        with _translated(f"a batch of {partition}"):
            try:
                self._container().execute_item_batch(operations, partition_key=partition)
            except CosmosBatchOperationError as error:
                # A replace or delete of nothing is a lost race too: another process deleted the document.
                if meaning(error) in (Meaning.CONFLICT, Meaning.EXISTS, Meaning.ABSENT):
                    raise StoreConflict(f"document {partition}/{writes[error.error_index].id}") from error
                raise
            except CosmosHttpResponseError as error:
                if error.status_code == _TOO_LARGE:
                    message = f"a batch has at most {store.MAX_BATCH_BYTES} bytes with all its fields"
                    raise InvalidInput("batch_too_large", message) from error
                raise

    def list_partition(self, partition: str, type: str) -> list[Stored]:
        values = {"partition": partition, "type": type}
        with _translated(f"partition {partition}"):
            found = self._container().query_items(_SQL["list"], parameters=_parameters(values), partition_key=partition)
            return [_stored(item) for item in found]

    def query(
        self, type: str, equals: dict[str, str | int] | None = None, *, limit: int = 100, after: str | None = None
    ) -> tuple[list[Stored], str | None]:
        equals = equals or {}
        fields = store.check_query(equals, limit)
        values: dict[str, str | int] = {"type": type, **equals}
        if after is not None:
            values["time"], values["id"], values["partition"] = store.read_cursor(after)
        sql = _SQL["page"].format(
            filters="".join(f" AND c.document.{field} = @{field}" for field in fields),
            order="".join(f", c.document.{field} ASC" for field in fields),
            after="" if after is None else _SQL["after"],
        )
        with _translated(f"documents of type {type}"):
            found = self._container().query_items(
                sql, parameters=_parameters(values), enable_cross_partition_query=True, max_item_count=limit + 1
            )
            items = list(islice(found, limit + 1))
        cursor = None
        if len(items) > limit:
            last = items[limit - 1]
            cursor = store.cursor_of(last["created_at"], last["id"], last["partition"])
        return [_stored(item) for item in items[:limit]], cursor

    def _container(self) -> ContainerProxy:
        with self._opening:
            if self._opened is None:
                self._client = self._client or make_client(self._account, self._identity_client_id)
                container = self._client.get_database_client(self._account.database).get_container_client(CONTAINER)
                with _translated(f"container {CONTAINER} of database {self._account.database}"):
                    container.read()  # so that from here on "not found" is about a document
                self._opened = container
            return self._opened


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Raises failures of the SDK as ours, about `what`."""
    try:
        yield
    except AzureError as error:
        raise failure("cosmos", error, what) from error


def _operation(partition: str, write: Write) -> tuple[Any, ...]:
    condition = {} if write.etag is None else {"if_match_etag": write.etag}
    if write.kind == "delete":
        return ("delete", (write.id,), condition)
    assert write.document is not None  # checked_bodies has seen to it
    item = {
        "id": write.id,
        "partition": partition,
        "type": write.document["type"],
        # A document that lacks a field of the ORDER BY would be in no page.
        "created_at": write.document.get("created_at", ""),
        "document": write.document,
    }
    if write.ttl_s is not None:
        item["ttl"] = write.ttl_s
    return ("create", (item,)) if write.kind == "create" else ("replace", (write.id, item), condition)


def _stored(item: dict[str, Any]) -> Stored:
    return Stored(store.known_as(item["id"], item["type"], item["document"]), item["_etag"], item["partition"])


def _parameters(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": f"@{name}", "value": value} for name, value in values.items()]
