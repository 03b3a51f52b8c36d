"""People who ask an endpoint all the time while something happens to it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

import httpx

from tests.stack.local import LocalStack

Split = tuple[tuple[str, int], ...]


def split_of(shares: dict[str, int]) -> Split:
    return tuple(sorted((name, share) for name, share in shares.items() if share))


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; times are monotonic seconds. `split` is the traffic's before and after it, None if it changed."""

    began: float
    ended: float
    failure: str | None
    deployment: str
    split: Split | None


class Askers:
    """A few people, each of whom asks again soon after an answer; each answer is noted with the traffic's split."""

    PEOPLE, PAUSE_S = 8, 0.4

    def __init__(self, local: LocalStack, endpoint: str, scoring_uri: str) -> None:
        self._local, self._endpoint = local, endpoint
        self._url = f"{scoring_uri.rstrip('/')}/v1/chat/completions"
        self._enough = Event()
        self.asked: list[Asked] = []

    def __enter__(self) -> Askers:
        self._began = time.monotonic()
        self._pool = ThreadPoolExecutor(self.PEOPLE)
        self._asking: list[Future[None]] = [self._pool.submit(self._ask) for _ in range(self.PEOPLE)]
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._pool.shutdown()
        self.per_second = len(self.asked) / (time.monotonic() - self._began)
        for person in self._asking:
            person.result()

    def failed(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.failure is not None]

    def by_split(self) -> dict[Split, Counter[str]]:
        """How many each deployment answered, by the split they were asked under."""
        counted: dict[Split, Counter[str]] = defaultdict(Counter)
        for asked in self.asked:
            if asked.failure is None and asked.split is not None:
                counted[asked.split][asked.deployment] += 1
        return counted

    def _ask(self) -> None:
        question = {"messages": [{"role": "user", "content": "Expand HN-A2-M06-025-ZN."}], "max_tokens": 2}
        headers = {"authorization": "Bearer local"}
        with httpx.Client(timeout=60, trust_env=False) as client:
            before = self._split()
            while not self._enough.wait(self.PAUSE_S):
                began = time.monotonic()
                answer = client.post(self._url, json=question, headers=headers)
                ended, after = time.monotonic(), self._split()
                failure = None if answer.status_code == 200 else f"{answer.status_code} {answer.text}"
                deployment = answer.headers.get("azureml-model-deployment", "")
                self.asked.append(Asked(began, ended, failure, deployment, after if after == before else None))
                before = after

    def _split(self) -> Split:
        return split_of(self._local.traffic(self._endpoint))
