"""Clients that send requests to an endpoint continuously while something happens to it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

import httpx

from tests.stack.local import LocalStack, bearer

Split = tuple[tuple[str, int], ...]


def split_of(shares: dict[str, int]) -> Split:
    return tuple(sorted((name, share) for name, share in shares.items() if share))


@dataclass(frozen=True, slots=True)
class TimedRequest:
    """One request; times are monotonic seconds. `failure` is None for an answer of `deployment`."""

    began: float
    ended: float
    failure: str | None
    deployment: str


@dataclass(frozen=True, slots=True)
class TrafficSample:
    """The traffic split at one time."""

    began: float
    ended: float
    split: Split


class LoadClients:
    """Each client sends a request every second and a half, or at once if the last answer took longer.

    So many, because together they are to send ten requests a second on a machine that is busy with other things too.
    """

    CLIENTS, EVERY_S, POLL_EVERY_S = 24, 1.5, 0.05

    def __init__(self, local: LocalStack, endpoint: str, scoring_uri: str, clients: int = CLIENTS) -> None:
        self._local, self._endpoint, self._clients = local, endpoint, clients
        self._url = f"{scoring_uri.rstrip('/')}/v1/chat/completions"
        self._stopped = Event()
        self.requests: list[TimedRequest] = []
        self.traffic_samples: list[TrafficSample] = []

    def __enter__(self) -> LoadClients:
        self._began = time.monotonic()
        self._http = httpx.Client(
            timeout=60,
            trust_env=False,
            headers=bearer(self._local.root),
            # The server closes an idle connection after five seconds; who uses one at that moment is cut off.
            limits=httpx.Limits(keepalive_expiry=2),
        )
        self._pool = ThreadPoolExecutor(self._clients + 1)
        self._busy: list[Future[None]] = [self._pool.submit(self._sample_traffic)]
        self._busy += [self._pool.submit(self._send, number) for number in range(self._clients)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown()
        self._http.close()
        for thread in self._busy:
            thread.result()

    def failed(self) -> list[TimedRequest]:
        return [request for request in self.requests if request.failure is not None]

    def by_split(self) -> dict[Split, Counter[str]]:
        """How many each deployment answered under each split; without requests during which it changed."""
        counted: dict[Split, Counter[str]] = defaultdict(Counter)
        for request in self.requests:
            before = [sample.split for sample in self.traffic_samples if sample.ended <= request.began][-1:]
            during = [
                sample.split
                for sample in self.traffic_samples
                if sample.ended > request.began and sample.began < request.ended
            ]
            after = [sample.split for sample in self.traffic_samples if sample.began >= request.ended][:1]
            if request.failure is None and before and after and len(splits := {*before, *during, *after}) == 1:
                counted[splits.pop()][request.deployment] += 1
        return counted

    def _sample_traffic(self) -> None:
        while not self._stopped.wait(self.POLL_EVERY_S):
            began = time.monotonic()
            split = split_of(self._local.traffic(self._endpoint))
            self.traffic_samples.append(TrafficSample(began, time.monotonic(), split))

    def _send(self, number: int) -> None:
        question = {"messages": [{"role": "user", "content": "Expand HN-A2-M06-025-ZN."}], "max_tokens": 2}
        due = self._began + self.EVERY_S * number / self._clients
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            began = time.monotonic()
            answer = self._http.post(self._url, json=question)
            failure = None if answer.status_code == 200 else f"{answer.status_code} {answer.text}"
            deployment = answer.headers.get("azureml-model-deployment", "")
            self.requests.append(TimedRequest(began, time.monotonic(), failure, deployment))
            due = max(due + self.EVERY_S, time.monotonic())
