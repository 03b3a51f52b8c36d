"""What the steps need of the outside world. Implementations: `shared.embedded`, `shared.clients`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from shared.domain.jobs import (
    ChatAnswer,
    CoreQuota,
    DeploymentSpec,
    DeploymentView,
    EndpointView,
    JobSpec,
    JobView,
    MachineSize,
    MetricPoint,
    ModelSpec,
)

Document = dict[str, Any]


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """Current time, timezone-aware UTC."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A document with the etag of the version read."""

    document: Document
    etag: str


@dataclass(frozen=True, slots=True)
class Write:
    """One operation of a transactional batch inside a logical partition.

    `etag`: create requires absence (None); replace and delete require the given etag, or presence
    only when it is None. `ttl_s`: the document disappears after this many seconds.
    """

    kind: str  # "create" | "replace" | "delete"
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
        """Apply all writes or none (at most 100).

        Raises StoreConflict if one create finds its id taken, or a replace or delete finds
        another etag or nothing.
        """

    def list_partition(self, partition: str, type: str) -> list[Stored]:
        """All documents of one type in a partition, ordered by id."""

    def query(
        self,
        type: str,
        equals: dict[str, str | int] | None = None,
        *,
        limit: int = 100,
        after: str | None = None,
    ) -> tuple[list[Stored], str | None]:
        """Documents of a type over all partitions whose top-level fields equal the given values.

        Ordered by `created_at` descending, then id. Returns a page and the cursor of the next (None at the end).
        """


@dataclass(frozen=True, slots=True)
class Message:
    """A message to send. `subject` is the label subscriptions filter on; the body is JSON bytes."""

    id: str
    subject: str
    body: bytes
    properties: dict[str, str] = field(default_factory=dict)
    scheduled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A locked message. `delivery_count` is 1 on the first delivery, as Azure Functions reports it."""

    message: Message
    entity: str
    lock_token: str
    locked_until: datetime
    delivery_count: int
    sequence_number: int
    enqueued_at: datetime
    dead_letter_reason: str | None = None
    dead_letter_description: str | None = None


DEAD_LETTERS = "/$deadletterqueue"


class EventBus(Protocol):
    """Queues and topics with peek-lock, as Service Bus has them.

    An entity is `queue`, `topic/subscription`, or either followed by `/$deadletterqueue`; one that does not
    exist raises PermanentFailure. A message over 256 KiB raises InvalidInput.
    """

    def close(self) -> None:
        """Release files and connections; a waiting `receive` returns nothing."""

    def send(self, destination: str, messages: Sequence[Message]) -> None:
        """Durably accept messages for a queue or a topic; raises Transient if not accepted."""

    def receive(self, entity: str, *, max_messages: int, wait_s: float) -> list[ReceivedMessage]:
        """Lock up to `max_messages`, perhaps fewer than there are; waits up to `wait_s` for the first one."""

    def peek(self, entity: str, *, limit: int) -> list[ReceivedMessage]:
        """Up to `limit` messages from the oldest on, locked and scheduled ones too, without locking any.

        `delivery_count` is the number of deliveries that failed: abandoned, or their lock expired. `lock_token` is
        empty, so that what was only seen cannot be settled (LockLost); `locked_until` is the moment of looking.
        """

    def complete(self, received: ReceivedMessage) -> None:
        """Remove the message. Raises LockLost if the lock has expired."""

    def abandon(self, received: ReceivedMessage) -> None:
        """Unlock at once; at the maximum delivery count the message is dead-lettered. Raises LockLost."""

    def dead_letter(self, received: ReceivedMessage, reason: str, description: str) -> None:
        """Move the message to the dead-letter queue. Raises LockLost."""

    def renew_lock(self, received: ReceivedMessage) -> ReceivedMessage:
        """Extend the lock; returns the message with its new `locked_until`. Raises LockLost."""

    def depth(self, entity: str) -> int:
        """Messages at rest in an entity: active, locked and scheduled."""


@dataclass(frozen=True, slots=True)
class BlobInfo:
    path: str
    etag: str
    size_bytes: int
    modified_at: datetime


class BlobStore(Protocol):
    """Containers of blobs. A path is `<container>/<name>`; one that is no such path raises InvalidInput."""

    def info(self, path: str) -> BlobInfo | None:
        """Metadata, or None if absent."""

    def read(self, path: str, *, etag: str | None = None) -> Iterator[bytes]:
        """Stream the content in chunks.

        Raises BlobNotFound if absent; StoreConflict if `etag` is given and the blob has another, or if the
        blob is replaced while it is read.
        """

    def write(self, path: str, chunks: Iterable[bytes], *, if_absent: bool = False) -> BlobInfo:
        """Replace the blob atomically; a reader sees the old or the new content, never a part.

        Raises StoreConflict if `if_absent` and the blob exists; a service may also raise it if another writer has
        replaced the blob meanwhile.
        """

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """Blobs whose path starts with `prefix`, ordered by path."""

    def delete(self, path: str) -> None:
        """Remove the blob; absence is fine."""


class JobLauncher(Protocol):
    """Command jobs of the machine-learning platform."""

    def submit(self, spec: JobSpec) -> JobView:
        """Submit once per name: the same spec again returns the same job.

        Raises PermanentFailure (quota, platform, recipe...) if refused, Transient if unanswered.
        """

    def get_job(self, name: str) -> JobView | None:
        """The job as the platform has it now; None if there is none of that name."""

    def begin_cancel(self, name: str) -> None:
        """Ask for the job to stop; a finished or unknown job is fine."""

    def metric_history(self, job_name: str, key: str) -> list[MetricPoint]:
        """The curve a job logged so far, ordered by step; empty if none."""

    def environment_image(self, environment: str) -> str | None:
        """The image of NAME:VERSION, empty if it is one that Azure ML builds; None if it is not registered."""

    def machine_sizes(self) -> list[MachineSize]:
        """What the workspace's region offers."""

    def core_quotas(self) -> list[CoreQuota]:
        """The subscription's in that region."""


class ModelHost(Protocol):
    """Registered models and managed online endpoints."""

    def register_model(self, spec: ModelSpec) -> None:
        """Create the version; the same again is fine. Raises PermanentFailure if it differs."""

    def begin_endpoint(self, name: str, tags: dict[str, str]) -> bool:
        """Ensure the endpoint; True once it is provisioned and usable."""

    def get_endpoint(self, name: str) -> EndpointView | None: ...

    def begin_deployment(self, spec: DeploymentSpec) -> None:
        """Start creating the deployment with no traffic; the same again is fine."""

    def get_deployment(self, endpoint: str, name: str) -> DeploymentView | None: ...

    def begin_traffic(self, endpoint: str, traffic: dict[str, int]) -> None:
        """Ask for a split that sums to 100 or 0; seen later by `get_endpoint`."""

    def begin_delete_deployment(self, endpoint: str, name: str) -> None:
        """Absence is fine."""

    def deployment_logs(self, endpoint: str, name: str, *, lines: int = 100) -> str:
        """Tail of the container log; empty if there is none."""

    def chat(
        self,
        endpoint: str,
        messages: list[dict[str, Any]],
        *,
        deployment: str | None = None,
        max_tokens: int = 256,
        timeout_s: float = 30.0,
    ) -> ChatAnswer:
        """Greedy answer of the endpoint, or of one deployment past the traffic split.

        Raises Transient if it does not answer in time or is busy.
        """


class Notifier(Protocol):
    """Delivery of one CloudEvent to one receiver."""

    def deliver(self, url: str, message_id: str, body: bytes) -> None:
        """Post once. Raises Transient (worth a retry) or PermanentFailure (refused for good)."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A receiver of notifications and the facts it wants, as shell patterns."""

    url: str
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """What the steps need of the settings."""

    default_base_model: str
    inline_validation_max_bytes: int
    training_environment: str
    serving_environment: str
    cpu_instance_type: str
    job_poll_s: float
    retry_wait_s: float
    debounce_s: float
    project_monthly_usd: float | None
    channels: tuple[Channel, ...]


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a step may use of the outside world."""

    clock: Clock
    store: RunStore
    bus: EventBus
    blobs: BlobStore
    launcher: JobLauncher
    models: ModelHost
    notifier: Notifier
    config: Config
