"""Builds Services from settings: each port's implementation by the scheme of its URL, each port on its own."""

import threading
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast
from urllib.parse import parse_qsl

from shared.domain.errors import InvalidInput
from shared.embedded.blobs import FileBlobStore
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from shared.embedded.store import SqliteRunStore
from shared.ports import BlobStore, Config, EventBus, RunStore, Services
from shared.settings import Settings, load_settings, path_of

Result = TypeVar("Result")


class lazy(Generic[Result]):  # a decorator, as functools.cache is
    """`functools.cache` for a function without arguments whose first callers may come together, as a host's do.

    Without the lock each of them builds one, and imports half-imported modules while at it.
    """

    def __init__(self, build: Callable[[], Result]) -> None:
        self.__doc__ = build.__doc__
        self._lock = threading.RLock()
        self._cached = cache(build)

    def __call__(self) -> Result:
        with self._lock:
            return self._cached()

    @property
    def built(self) -> bool:
        return self._cached.cache_info().currsize > 0

    def cache_clear(self) -> None:
        """The next call builds anew."""
        self._cached.cache_clear()


class _OnFirstUse:
    def __init__(self, build: Callable[[], object]) -> None:
        self._built = lazy(build)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._built(), name)


def on_first_use(build: Callable[[], Result]) -> Result:
    """Stands for what `build` gives, and builds it when one of its methods or fields is first used."""
    return cast(Result, _OnFirstUse(build))


def build_now(stand_in: object) -> None:
    """Build what `stand_in` stands for, if it is of `on_first_use`. Raises what the building raises."""
    if isinstance(stand_in, _OnFirstUse):
        stand_in._built()


if TYPE_CHECKING:
    from shared.clients.azure_ml.client import AzureMLClient
    from shared.clients.targets import TargetNotifier


def build_run_store(url: str, *, identity_client_id: str | None = None) -> RunStore:
    """Raises InvalidInput `unsupported_url` for a scheme no client is built for."""
    if url.startswith("sqlite:"):
        return SqliteRunStore(path_of(url, "sqlite"), SystemClock())
    if url.startswith(("https:", "cosmos+http:", "cosmos+https:")):
        # The SDKs are imported where they are used: a validation with embedded stores needs none.
        from shared.clients.cosmos import CosmosRunStore

        return CosmosRunStore(url, identity_client_id=identity_client_id)
    raise _unsupported("RUN_STORE_URL", url)


@cache
def build_event_bus(url: str, identity_client_id: str | None = None) -> EventBus:
    """One bus per URL and process: receivers wake at once when a sender shares their object, and links stay open.

    `sqlite:PATH?lock_s=SECONDS` sets how long a message stays locked to a host that died; 60 as in Azure if not given.
    Raises InvalidInput `unsupported_url` for a scheme no client is built for.
    """
    # The topology follows from the steps, and they take a third of a second to import: who builds a store only, waits
    # less.
    from shared.pipeline import TOPOLOGY

    if url.startswith("sqlite:"):
        address, _, options = url.partition("?")
        lock_s = float(dict(parse_qsl(options)).get("lock_s", TOPOLOGY.lock_duration_s))
        topology = replace(TOPOLOGY, lock_duration_s=lock_s)
        return SqliteEventBus(path_of(address, "sqlite"), topology, SystemClock())
    if url.startswith(("sb:", "Endpoint=")):
        from shared.clients.service_bus.client import ServiceBusEventBus

        return ServiceBusEventBus(url, TOPOLOGY, identity_client_id=identity_client_id)
    raise _unsupported("EVENT_BUS_URL", url)


def build_blob_store(url: str, *, identity_client_id: str | None = None) -> BlobStore:
    """Raises InvalidInput `unsupported_url` for a scheme no client is built for."""
    if url.startswith("file:"):
        return FileBlobStore(path_of(url, "file"))
    if url.startswith(("https:", "blob+http:")):
        from shared.clients.blob import AzureBlobStore

        return AzureBlobStore(url, identity_client_id=identity_client_id)
    raise _unsupported("BLOB_STORE_URL", url)


def _unsupported(setting: str, url: str) -> InvalidInput:
    return InvalidInput("unsupported_url", f"{setting}: no client for {url.split(':', 1)[0]}:", setting)


def build_services(settings: Settings) -> Services:
    """All ports of one process. But for the store each is built, and its SDK imported, when it is first used."""

    def azure_ml() -> "AzureMLClient":
        from shared.clients.azure_ml.client import AzureMLClient

        return AzureMLClient(
            settings.azure_ml_url,
            identity_client_id=settings.azure_client_id,
            job_client_id=settings.job_client_id,
            import_client_id=settings.import_client_id,
            endpoint_identity_id=settings.endpoint_identity_id,
            endpoint_is_public=settings.endpoint_is_public,
            emulator_secret=settings.azure_ml_secret,
        )

    def notifier() -> "TargetNotifier":
        from shared.clients.targets import TargetNotifier, event_grid_token

        hosts = (part.strip() for part in settings.notify_private_hosts.split(","))
        token = event_grid_token(settings.azure_client_id)
        return TargetNotifier(private_hosts=filter(None, hosts), app_url=settings.app_url, token=token)

    both = on_first_use(azure_ml)
    return Services(
        clock=SystemClock(),
        store=build_run_store(settings.run_store_url, identity_client_id=settings.azure_client_id),
        bus=on_first_use(partial(build_event_bus, settings.event_bus_url, settings.azure_client_id)),
        blobs=on_first_use(
            partial(build_blob_store, settings.blob_store_url, identity_client_id=settings.azure_client_id)
        ),
        launcher=both,
        models=both,
        notifier=on_first_use(notifier),
        config=build_config(settings),
    )


def build_config(settings: Settings) -> Config:
    """Settings of the same names."""
    names = {field.name for field in fields(Config)}
    return Config(**{name: getattr(settings, name) for name in names})


@lazy
def services() -> Services:
    """The process's services, built on first use: importing the app must work with nothing configured."""
    return build_services(load_settings())
