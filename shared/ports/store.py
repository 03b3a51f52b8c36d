"""The port for documents."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """A document with the etag of the version read and the partition it lies in."""

    document: Document
    etag: str
    partition: str


@dataclass(frozen=True, slots=True)
class Write:
    """One operation of a transactional batch inside a logical partition.

    `etag`: create requires absence (None); replace and delete require the given etag, or presence
    only when it is None. `ttl_s`: the document disappears after this many seconds.
    """

    kind: Literal["create", "replace", "delete"]
    id: str
    document: Document | None = None
    etag: str | None = None
    ttl_s: int | None = None


class RunStore(Protocol):
    """Documents in logical partitions, as Cosmos DB has them.

    A document has a string `type` (used by `query`) and may have `created_at`, an ISO time in UTC. `id` is
    unique inside its partition. What Cosmos DB would refuse (an id with `/ \\ ? #`, its own fields such as
    `ttl`, more than 100 writes or 2 MB in a batch) raises InvalidInput.
    """

    def close(self) -> None:
        """Release files and connections."""

    def get(self, partition: str, id: str) -> Stored | None:
        """Point read; None if absent or expired."""

    def batch(self, partition: str, writes: Sequence[Write]) -> None:
        """Apply all writes in order, or none (at most 100).

        Raises StoreConflict if one create finds its id taken, or a replace or delete finds
        another etag or nothing.
        """

    def list_partition(self, partition: str, type: str) -> list[Stored]:
        """All documents of one type in a partition, ordered by id."""

    def query(
        self, type: str, equals: dict[str, str | int] | None = None, *, limit: int = 100, after: str | None = None
    ) -> tuple[list[Stored], str | None]:
        """Documents of a type over all partitions whose top-level fields equal the given values.

        Ordered by `created_at` descending, those without one last, then id. Returns a page and the cursor of the next
        (None at the end): documents written meanwhile neither repeat nor hide another. Raises InvalidInput for a cursor
        that is not ours, a `limit` outside 1..1000 or fields without an index.
        """
