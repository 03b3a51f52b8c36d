"""Do the services answer that every run needs? For load balancers and monitors: cheap, without a token, and so without
the words of an error, which `doctor` has."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime

from shared.api.models import ServiceState
from shared.domain import paths
from shared.domain.topology import STORAGE_EVENTS
from shared.ports import Services

FRESH_S = 10.0  # so often at most services are asked, however often and by whomever this is
WITHIN_S = 5.0  # an answer that takes longer counts as none for now
NO_JOB = "run-000000000000-ready-1"


def _requests(services: Services) -> dict[str, Callable[[], object]]:
    return {
        "run_store": lambda: services.store.get("ready", "ready"),
        "event_bus": lambda: services.bus.depth(STORAGE_EVENTS),
        "blobs": lambda: services.blobs.info(f"{paths.DATASETS}/_ready"),
        "azure_ml": lambda: services.launcher.get_job(NO_JOB),
    }


class Readiness:
    """What the services of one app answered last. One that does not return is not asked again until it has."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now, self._pool = now, ThreadPoolExecutor(4, "ready")
        self._requested: dict[str, tuple[datetime, Future[object]]] = {}
        self._answered: dict[str, datetime] = {}

    def check(self, build: Callable[[], Services]) -> tuple[ServiceState, ...]:
        """Takes WITHIN_S at most. A setting that cannot be read is a service that does not answer."""
        now = self._now()
        try:
            requests = _requests(build())
        except Exception:  # whatever fails, nothing of it is said here
            return (ServiceState(name="settings", ok=False),)
        for name, request in requests.items():
            at, future = self._requested.get(name, (now, None))
            if future is None or (future.done() and abs(now - at).total_seconds() >= FRESH_S):
                self._requested[name] = now, self._pool.submit(request)
        wait([future for _, future in self._requested.values()], WITHIN_S)
        return tuple(self._state(name) for name in requests)

    def _state(self, name: str) -> ServiceState:
        at, future = self._requested[name]
        ok = future.done() and future.exception() is None
        if ok:
            self._answered[name] = at
        return ServiceState(name=name, ok=ok, last_success_at=self._answered.get(name))
