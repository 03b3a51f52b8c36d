"""What an idle functions host takes, and how fast its API answers, beside how many runs ever finished."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil

from benchmarks import history
from benchmarks.measure import Figure, load, percentile
from benchmarks.stack import busy_percent, running
from shared.domain.run import Status
from shared.embedded.clock import SystemClock
from shared.embedded.store import SqliteRunStore
from shared.records import runs
from shared.tls import tls_context

SETTLE_S, IDLE_S, REQUESTS, POLLS, WATCHERS = 20.0, 60.0, 200, 20, 20
WAIT_S = 1.0
WAITING = "run-that-waits"


def run(
    finished: Sequence[int] = history.FINISHED,
    settle_s: float = SETTLE_S,
    idle_s: float = IDLE_S,
    requests: int = REQUESTS,
    polls: int = POLLS,
) -> list[Figure]:
    """A stack of its own for each number of finished runs. Its timers have their default schedules: every second."""
    rows: dict[str, Figure] = {}
    for count in finished:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name).resolve()
            _seed(root / "state.db", count)
            with running(root):
                time.sleep(settle_s)  # the host imports the Azure ML SDK once it is ready
                found = list(_measured(root, idle_s, requests, polls))
                history.add(rows, found, count, finished[0], f"load {load()}")
    return list(rows.values())


def _seed(path: Path, finished: int) -> None:
    """Finished runs, and one that waits for a person: something to watch that no timer moves."""
    never = datetime(2200, 1, 1, tzinfo=UTC)
    waiting = history.run_of(WAITING, "waits", Status.AWAITING_APPROVAL, datetime.now(UTC), never)
    with closing(SqliteRunStore(path, SystemClock())) as store:
        store.batch(WAITING, [runs.creation(waiting)])
    history.fill(path, 0, finished)


def _measured(root: Path, idle_s: float, requests: int, polls: int) -> Iterator[tuple[str, str, float]]:
    body = json.loads((root / "stack.json").read_text())
    host = psutil.Process(body["parts"]["host"]["pid"])
    yield "idle host, of one core", "%", busy_percent([host], idle_s)
    yield "idle host, resident memory", "MB", host.memory_info().rss / 1e6
    with httpx.Client(verify=tls_context(), base_url=body["api_url"], trust_env=False, timeout=60) as client:
        for name, path in _requests(client).items():
            taken = [_ms(client, path) for _ in range(requests)]
            yield f"GET {name}, p50", "ms", percentile(taken, 50)
            yield f"GET {name}, p95", "ms", percentile(taken, 95)
        late = [_ms(client, f"/api/runs/{WAITING}?wait_s={WAIT_S}", 304) - WAIT_S * 1000 for _ in range(polls)]
        yield f"long poll of {WAIT_S:g} s, answered late by, p50", "ms", percentile(late, 50)
        yield f"long poll of {WAIT_S:g} s, answered late by, p95", "ms", percentile(late, 95)
        taken = _beside_watchers(client, lambda: _ms(client, "/api/runs?limit=20"), polls)
        yield f"GET list beside {WATCHERS} long polls, p50", "ms", percentile(taken, 50)
        yield f"GET list beside {WATCHERS} long polls, p95", "ms", percentile(taken, 95)


def _requests(client: httpx.Client) -> dict[str, str]:
    return {
        "list": "/api/runs?limit=20",
        "list of a project": "/api/runs?limit=20&project=p1",
        "list of a status that none has": "/api/runs?limit=20&status=training",
        "run": f"/api/runs/{WAITING}",
        "page in the middle": _page_in_the_middle(client),
    }


def _page_in_the_middle(client: httpx.Client) -> str:
    """Ten pages behind the newest run, where there are so many."""
    path = "/api/runs?limit=20"
    for _ in range(10):
        after = client.get(path).raise_for_status().json()["next"]
        path = f"/api/runs?limit=20&after={after}" if after else "/api/runs?limit=20"
    return path


def _beside_watchers(client: httpx.Client, request: Callable[[], float], times: int) -> list[float]:
    """The request's times while others watch a run, each in a connection of its own."""
    over = False

    def watch() -> None:
        while not over:
            _ms(client, f"/api/runs/{WAITING}?wait_s={WAIT_S}", 304)

    with ThreadPoolExecutor(WATCHERS) as pool:
        watching = [pool.submit(watch) for _ in range(WATCHERS)]
        time.sleep(WAIT_S)
        taken = [request() for _ in range(times)]
        over = True
    for one in watching:
        one.result()
    return taken


def _ms(client: httpx.Client, path: str, status: int = 200) -> float:
    """How long the answer takes. A watcher knows the run in its only revision."""
    began = time.perf_counter()
    answer = client.get(path, headers={"If-None-Match": '"1"'} if status == 304 else {})
    assert answer.status_code == status, answer.text
    return (time.perf_counter() - began) * 1000
