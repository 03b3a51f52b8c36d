"""The ports together, with the settings that steps need."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from shared.ports.azure_ml import JobLauncher, ModelHost
from shared.ports.blobs import BlobStore
from shared.ports.bus import EventBus
from shared.ports.store import RunStore

# The code of a PermanentFailure that says that the receiver wants no more of anything.
GONE = "webhook_gone"
# The code of a Transient: nothing was sent, since enough calls to the receiver, or for the project, are in progress.
BUSY = "webhook_busy"


class Notifier(Protocol):
    """Delivery of one CloudEvent to one receiver."""

    def deliver(self, url: str, message_id: str, body: bytes, project: str | None = None) -> None:
        """Post once to a URL, or to `channel:NAME`, for a project or the platform.

        Raises Transient (worth a retry) or PermanentFailure (refused for good).
        """


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """Current time, timezone-aware UTC."""


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
    max_file_bytes: int
    training_environment: str
    serving_environment: str
    cpu_instance_type: str
    job_poll_s: float
    retry_wait_s: float
    debounce_s: float
    project_monthly_usd: float | None
    endpoint_idle_hours: float
    run_retention_days: int
    channels: tuple[Channel, ...]
    named_channels: Mapping[str, str] = field(repr=False)  # name -> URL, which may be a secret
    private_hosts: tuple[str, ...]


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
