"""People who ask an endpoint all the time while something happens to it."""

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
class Asked:
    """One request; times are monotonic seconds. `failure` is None for an answer of `deployment`."""

    began: float
    ended: float
    failure: str | None
    deployment: str


@dataclass(frozen=True, slots=True)
class Look:
    """At the traffic."""

    began: float
    ended: float
    split: Split


class Askers:
    """Each of the people asks every second and a half, or at once if the last answer took longer.

    So many, because together they are to ask ten times a second on a machine that is busy with other things too.
    """

    PEOPLE, EVERY_S, LOOK_EVERY_S = 24, 1.5, 0.05

    def __init__(self, local: LocalStack, endpoint: str, scoring_uri: str) -> None:
        self._local, self._endpoint = local, endpoint
        self._url = f"{scoring_uri.rstrip('/')}/v1/chat/completions"
        self._enough = Event()
        self.asked: list[Asked] = []
        self.looks: list[Look] = []

    def __enter__(self) -> Askers:
        self._began = time.monotonic()
        self._http = httpx.Client(
            timeout=60,
            trust_env=False,
            headers=bearer(self._local.root),
            # The server closes an idle connection after five seconds; who uses one at that moment is cut off.
            limits=httpx.Limits(keepalive_expiry=2),
        )
        self._pool = ThreadPoolExecutor(self.PEOPLE + 1)
        self._busy: list[Future[None]] = [self._pool.submit(self._look)]
        self._busy += [self._pool.submit(self._ask, number) for number in range(self.PEOPLE)]
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._pool.shutdown()
        self._http.close()
        self.per_second = len(self.asked) / (time.monotonic() - self._began)
        for thread in self._busy:
            thread.result()

    def failed(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.failure is not None]

    def by_split(self) -> dict[Split, Counter[str]]:
        """How many each deployment answered under each split; without requests during which it changed."""
        counted: dict[Split, Counter[str]] = defaultdict(Counter)
        for asked in self.asked:
            before = [look.split for look in self.looks if look.ended <= asked.began][-1:]
            during = [look.split for look in self.looks if look.ended > asked.began and look.began < asked.ended]
            after = [look.split for look in self.looks if look.began >= asked.ended][:1]
            if asked.failure is None and before and after and len(splits := {*before, *during, *after}) == 1:
                counted[splits.pop()][asked.deployment] += 1
        return counted

    def _look(self) -> None:
        while not self._enough.wait(self.LOOK_EVERY_S):
            began = time.monotonic()
            split = split_of(self._local.traffic(self._endpoint))
            self.looks.append(Look(began, time.monotonic(), split))

    def _ask(self, number: int) -> None:
        question = {"messages": [{"role": "user", "content": "Expand HN-A2-M06-025-ZN."}], "max_tokens": 2}
        due = self._began + self.EVERY_S * number / self.PEOPLE
        while not self._enough.wait(max(0.0, due - time.monotonic())):
            began = time.monotonic()
            answer = self._http.post(self._url, json=question)
            failure = None if answer.status_code == 200 else f"{answer.status_code} {answer.text}"
            deployment = answer.headers.get("azureml-model-deployment", "")
            self.asked.append(Asked(began, time.monotonic(), failure, deployment))
            due = max(due + self.EVERY_S, time.monotonic())
