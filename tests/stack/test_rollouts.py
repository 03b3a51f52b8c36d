"""One model takes another's place while people ask: races, rollouts, ways back, and a candidate that goes bad.

Two projects share an endpoint. One stack serves all tests of this file, in order: each leaves in production what the
next begins with.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any

import httpx
import pytest

from tests.stack.local import LocalStack, ask, notes, rows, statuses, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(500)]

Run = dict[str, Any]
Split = tuple[tuple[str, int], ...]

ENDPOINT = "line"
WEAK, FULL = rows("train.jsonl")[:400], rows("train.jsonl")[:800]
HELD_OUT = rows("eval.jsonl")[:60]
# Most of the held-out questions are answered right after 400 rows, all after 800.
GATE = {"slices": [], "gate": {"min_score": 0.3, "min_gain": 0.0, "max_regression": 1.0}}


def drop(local: LocalStack, project: str, train: list[bytes], **deployment: Any) -> None:
    local.drop_project(project, train, HELD_OUT, evaluation=GATE, deployment={"endpoint": ENDPOINT, **deployment})


class Askers:
    """Some people who ask all the time; each answer is noted with the split of the traffic it was given under."""

    PEOPLE, PAUSE_S = 4, 0.2

    def __init__(self, local: LocalStack, scoring_uri: str) -> None:
        self._local, self._url = local, f"{scoring_uri.rstrip('/')}/v1/chat/completions"
        self._enough = Event()
        self.failed: list[str] = []
        self.answers = 0
        self.by_split: dict[Split, Counter[str]] = defaultdict(Counter)

    def __enter__(self) -> Askers:
        self._began = time.monotonic()
        self._pool = ThreadPoolExecutor(self.PEOPLE)
        self._asking: list[Future[None]] = [self._pool.submit(self._ask) for _ in range(self.PEOPLE)]
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._pool.shutdown()
        self.per_second = self.answers / (time.monotonic() - self._began)
        for person in self._asking:
            person.result()

    def _ask(self) -> None:
        question = {"messages": [{"role": "user", "content": "Expand HN-A2-M06-025-ZN."}], "max_tokens": 2}
        headers = {"authorization": "Bearer local"}
        with httpx.Client(timeout=30, trust_env=False) as client:
            before = self._split()
            while not self._enough.wait(self.PAUSE_S):
                answer = client.post(self._url, json=question, headers=headers)
                after = self._split()
                if answer.status_code != 200:
                    self.failed.append(f"{answer.status_code} {answer.text}")
                elif before == after:
                    self.by_split[after][answer.headers["azureml-model-deployment"]] += 1
                self.answers += 1
                before = after

    def _split(self) -> Split:
        return tuple(sorted(self._local.traffic(ENDPOINT).items()))


def seen(local: LocalStack, project: str, status: str, times: int = 1) -> Run:
    """The project's newest run, once it has entered a status so many times."""

    def look() -> Run | None:
        found = local.runs(project)
        assert not found or found[0]["error"] is None, found[0]["error"]
        return found[0] if found and statuses(found[0]).count(status) >= times else None

    return until(look, f"{project} is {status}", within_s=300, every_s=0.1)


def entered(run: Run, status: str) -> list[str]:
    """The times at which a run entered a status; they compare as text."""
    return [line["at"] for line in run["history"] if line["status"] == status]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    running = LocalStack(tmp_path_factory.mktemp("rollouts") / "stack", {"JOB_POLL_S": "5"})
    yield running
    running.down()


@pytest.fixture(scope="module")
def first(local: LocalStack) -> Run:
    """In production; the run of the other project was approved while it went there."""
    drop(local, "weak", WEAK, approval="required")
    until(lambda: local.runs("weak"), "the weak run exists")
    drop(local, "strong", FULL, approval="required")
    weak, strong = seen(local, "weak", "awaiting_approval"), seen(local, "strong", "awaiting_approval")
    local.post(f"/api/runs/{weak['id']}/approve")
    seen(local, "weak", "deploying")
    local.post(f"/api/runs/{strong['id']}/approve")
    return seen(local, "weak", "deployed")


@pytest.fixture(scope="module")
def rolled_out(local: LocalStack, first: Run) -> tuple[Run, Askers]:
    """The other project's run, in production instead of the first, and who asked meanwhile."""
    strong = seen(local, "strong", "awaiting_approval", times=2)
    with Askers(local, first["rollout"]["scoring_uri"]) as askers:
        local.post(f"/api/runs/{strong['id']}/approve")
        strong = seen(local, "strong", "deployed")
        time.sleep(1)
    return strong, askers


@pytest.fixture(scope="module")
def second(rolled_out: tuple[Run, Askers]) -> Run:
    return rolled_out[0]


@pytest.fixture(scope="module")
def third(local: LocalStack, second: Run) -> Run:
    """Begun: the candidate that goes bad, on a rollout with time for it."""
    drop(local, "strong", rows("train.jsonl")[400:1200], rollout=[*range(10, 101, 10)])
    return until(lambda: [run for run in local.runs("strong") if run["id"] != second["id"]], "it is received")[0]


def order_rollback(local: LocalStack) -> dict[str, Any]:
    """The endpoint's record once an order to roll back was carried out."""
    ordered = local.post(f"/api/endpoints/{ENDPOINT}/rollback")

    def look() -> dict[str, Any] | None:
        record = dict(local.get(f"/api/endpoints/{ENDPOINT}"))
        return record if record["deployment"] == ordered["to"] else None

    return until(look, f"{ordered['to']} is in production", within_s=30)


def test_of_two_runs_approved_for_one_endpoint_the_later_is_evaluated_again_against_the_earlier(
    first: Run, second: Run
) -> None:
    assert first["champion"] is None
    assert 0.3 <= first["evaluation"]["candidate"]["mean"] <= 0.9
    assert statuses(second)[2:9] == [
        "training",
        "evaluating",
        "awaiting_approval",
        "approved",
        "evaluating",
        "awaiting_approval",
        "approved",
    ]
    assert second["champion"] == first["id"]
    assert [gain["over"] for gain in second["evaluation"]["gains"]] == ["base", "champion"]
    assert second["evaluation"]["gains"][1]["low"] > 0
    assert f"{first['id']} went into production meanwhile" in notes(second)
    assert [job["name"].removeprefix(f"{second['id']}-") for job in second["jobs"]] == [
        "training-1",
        "evaluation-1",
        "evaluation-2",
    ]


def test_a_run_that_is_approved_during_a_rollout_waits_for_its_end(first: Run, second: Run) -> None:
    [live] = entered(first, "deployed")
    assert entered(first, "deploying")[0] < entered(second, "approved")[0] < live
    assert live < entered(second, "evaluating")[1] < entered(second, "deploying")[0]


def test_the_better_model_takes_over_in_steps_and_no_request_fails(first: Run, rolled_out: tuple[Run, Askers]) -> None:
    second, askers = rolled_out
    old, new = first["rollout"]["deployment"], second["rollout"]["deployment"]
    assert [note for note in notes(second) if "traffic" in note] == [
        "10 % of the traffic",
        "50 % of the traffic",
        "100 % of the traffic",
    ]
    assert askers.failed == []
    assert askers.per_second >= 10
    for share in (0, 10, 50, 100):
        split = tuple(sorted((name, part) for name, part in ((old, 100 - share), (new, share)) if part))
        answers = askers.by_split.pop(split)
        assert answers.total() > 0
        assert abs(answers[new] - answers.total() * share / 100) <= (3 if 0 < share < 100 else 0), (split, answers)
    assert not askers.by_split, "no other split was ever seen"


def test_the_previous_model_stays_warm(local: LocalStack, first: Run, second: Run) -> None:
    record = local.get(f"/api/endpoints/{ENDPOINT}")
    assert (record["champion"], record["deployment"]) == (second["id"], second["rollout"]["deployment"])
    assert record["previous"]["champion"] == first["id"]
    assert set(local.deployments(ENDPOINT)) == {first["rollout"]["deployment"], second["rollout"]["deployment"]}


def test_a_person_rolls_back_and_forward_and_back_again_and_no_request_fails(
    local: LocalStack, first: Run, second: Run, third: Run
) -> None:
    """While `third` trains."""
    champions = []
    with Askers(local, first["rollout"]["scoring_uri"]) as askers:
        for _ in range(3):
            record = order_rollback(local)
            assert local.traffic(ENDPOINT) == {record["deployment"]: 100}
            champions.append((record["champion"], record["previous"]["champion"], record["project"]))
    assert champions == [
        (first["id"], second["id"], "weak"),
        (second["id"], first["id"], "strong"),
        (first["id"], second["id"], "weak"),
    ]
    assert askers.failed == []
    until(lambda: not local.claims(kind="endpoint"), "the endpoint is free", within_s=10)
    told = [e["data"]["traffic"] for e in local.events(first["id"]) if e["type"] == "droptune.model.rolled_back.v1"]
    assert told == [{second["rollout"]["deployment"]: 100}]


def test_a_candidate_that_goes_bad_at_a_small_share_is_taken_back_by_itself(
    local: LocalStack, first: Run, third: Run
) -> None:
    seen(local, "strong", "deploying", times=2)
    judged = local.root / "blobs" / "runs" / third["id"] / "evaluation" / "rows.jsonl"
    changed = [json.loads(line) for line in judged.read_text().splitlines()]
    for row in changed:
        row["answers"]["candidate"] = "what it said when it was evaluated"
    (judged.parent / "changed").write_text("".join(json.dumps(row) + "\n" for row in changed))
    (judged.parent / "changed").rename(judged)

    run = local.wait("strong", {"rolled_back"}, runs=2)
    assert run["champion"] == first["id"]
    assert run["evaluation"]["gains"][1]["low"] > 0
    assert statuses(run)[-2:] == ["rolling_back", "rolled_back"]
    assert notes(run)[-1] == "answers_changed: 0 of 5 answers are those of the evaluation"
    candidate, champion = run["rollout"]["deployment"], first["rollout"]["deployment"]
    facts = {event["type"]: event["data"] for event in local.events(run["id"])}
    assert 10 <= facts["droptune.traffic.shifted.v1"]["traffic"][candidate] < 100
    assert facts["droptune.rollback.started.v1"]["reason"]["code"] == "answers_changed"
    assert facts["droptune.model.rolled_back.v1"]["traffic"] == {champion: 100}
    assert local.traffic(ENDPOINT) == {champion: 100}
    until(lambda: candidate not in local.deployments(ENDPOINT), "the candidate is deleted", within_s=30)
    until(lambda: not local.claims(owner=run["id"]), "the endpoint is free", within_s=30)
    assert local.get(f"/api/endpoints/{ENDPOINT}")["champion"] == first["id"]


@pytest.mark.slow
def test_an_unhelpful_addition_is_declined_and_the_champion_keeps_answering(
    local: LocalStack, first: Run, second: Run
) -> None:
    if local.get(f"/api/endpoints/{ENDPOINT}")["champion"] != second["id"]:
        order_rollback(local)
    records = [json.loads(line) for line in FULL]
    answers = [record["messages"][1] for record in records]
    random.Random(5).shuffle(answers)
    shuffled = [
        json.dumps({**record, "messages": [record["messages"][0], answer]}).encode() + b"\n"
        for record, answer in zip(records, answers, strict=True)
    ]
    known = len(local.runs("strong"))
    drop(local, "strong", FULL + shuffled)
    run = local.wait("strong", {"declined"}, runs=known + 1)
    assert run["champion"] == second["id"]
    assert "gain_over_champion" in [check["name"] for check in run["verdict"]["checks"] if not check["passed"]]
    assert run["rollout"] is None
    assert local.traffic(ENDPOINT) == {second["rollout"]["deployment"]: 100}
    question, answer = (message["content"] for message in json.loads(HELD_OUT[0])["messages"])
    assert ask(second["rollout"]["scoring_uri"], question) == answer
