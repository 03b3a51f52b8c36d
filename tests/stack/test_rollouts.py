"""One model takes another's place while people ask: races, rollouts, ways back, and data that grows.

A project has two files of data, each with runs of its own. One stack serves all tests of this file, in order: each
leaves in production what the next begins with.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from local_stack import stack
from shared.embedded.clock import SystemClock
from shared.embedded.store import SqliteRunStore
from shared.records import endpoints
from tests.stack.load_clients import LoadClients, split_of
from tests.stack.local import TERMINAL, LocalStack, ask, notes, rows, statuses, until

pytestmark = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(1500)]

Run = dict[str, Any]

ENDPOINT = "line"
WEAK, FULL = rows("train.jsonl")[:100], rows("train.jsonl")[:800]
HELD_OUT = rows("eval.jsonl")[:60]
# After 100 rows the answers are in the plant's words, after 800 they are right. In between lies a steep curve, at
# another place for every build of the base model: one grader alone would find 100 rows worth nothing or all.
GATE = {
    "graders": [
        {"name": "own_words", "type": "regex", "pattern": "nickel|zinc|electro|oxide|ptfe|loctite|plain"},
        {"name": "exact", "type": "string_check", "operation": "eq"},
    ],
    "slices": [],
    "gate": {"min_score": 0.3, "min_gain": 0.0, "max_regression": 1.0},
}
DEBOUNCE_S = 4  # a drop is taken once it is this old
HOUR = timedelta(hours=1)


def drop(
    local: LocalStack, name: str, train: list[bytes], approval: str = "automatic", **changes: dict[str, Any]
) -> None:
    changes |= {"deployment": {"approval": approval}, "evaluation": GATE}
    changes["method"] = {"hyperparameters": {"n_epochs": 4}}  # for half of the recipe's rows, or fewer
    local.drop_project(ENDPOINT, train, HELD_OUT, f"{name}.jsonl", **changes)


def runs_of(local: LocalStack, name: str) -> list[Run]:
    return local.runs(ENDPOINT, f"{name}.jsonl")


def seen(local: LocalStack, name: str, status: str, times: int = 1) -> Run:
    """The newest run of that data, once it has entered a status so many times."""

    def check() -> Run | None:
        found = runs_of(local, name)
        assert not found or found[0]["error"] is None, found[0]["error"]
        return found[0] if found and statuses(found[0]).count(status) >= times else None

    return until(check, f"{name} is {status}", within_s=600, every_s=0.1)


def entered(run: Run, status: str) -> list[str]:
    """The times at which a run entered a status; they compare as text."""
    return [line["at"] for line in run["history"] if line["status"] == status]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    settings = {"JOB_POLL_S": "5", "DEBOUNCE_S": str(DEBOUNCE_S), "RETRAIN_SCHEDULE": "* * * * * *"}
    running = LocalStack(tmp_path_factory.mktemp("rollouts") / "stack", settings)
    yield running
    running.down()


@pytest.fixture(scope="module")
def first(local: LocalStack) -> Run:
    """In production; the run of the other data was approved while it went there."""
    drop(local, "weak", WEAK, approval="required")
    until(lambda: runs_of(local, "weak"), "the weak run exists")
    drop(local, "strong", FULL, approval="required")
    weak, strong = seen(local, "weak", "awaiting_approval"), seen(local, "strong", "awaiting_approval")
    local.approve(weak["id"])
    seen(local, "weak", "deploying")
    local.approve(strong["id"])
    return seen(local, "weak", "deployed")


@pytest.fixture(scope="module")
def rolled_out(local: LocalStack, first: Run) -> tuple[Run, LoadClients]:
    """The run of the other data, in production instead of the first, and who asked meanwhile."""
    strong = seen(local, "strong", "awaiting_approval", times=3)  # twice for the two approvals before
    with LoadClients(local, ENDPOINT, first["rollout"]["scoring_uri"]) as load_clients:
        local.approve(strong["id"])
        strong = seen(local, "strong", "deployed")
        time.sleep(1)
    return strong, load_clients


@pytest.fixture(scope="module")
def second(rolled_out: tuple[Run, LoadClients]) -> Run:
    return rolled_out[0]


@pytest.fixture(scope="module")
def third(local: LocalStack, first: Run, second: Run) -> Run:
    """Begun: the data whose model is in production no more have grown, in two goes."""
    drop(local, "weak", FULL[:600], retrain={"every_days": HOUR / timedelta(days=1)})
    log = stack.Stack.load(local.root).log("host")
    until(lambda: log.read_text().count(f"posted path=datasets/{ENDPOINT}/weak.jsonl") == 2, "its event is sent")
    local.drop(ENDPOINT, "weak.jsonl", b"".join(FULL))
    return until(lambda: [run for run in runs_of(local, "weak") if run["id"] != first["id"]], "it is received")[0]


def an_hour_passes(local: LocalStack) -> None:
    """The record of the endpoint is dated back: the shortest time between two looks at the project's data."""
    with closing(SqliteRunStore(local.root / "state.db", SystemClock())) as store:
        record = endpoints.read(store, ENDPOINT)
        assert record is not None
        dated_back = record.model_copy(update={"promoted_at": record.promoted_at - HOUR})
        endpoints.write(store, dated_back, replacing=record)


@pytest.fixture(scope="module")
def unhelpful(local: LocalStack, third: Run) -> Run:
    """The run of the same data after half of its answers were dealt to other questions; its end.

    Meanwhile the project's time to be trained again comes.
    """
    records = [json.loads(line) for line in FULL[400:]]
    answers = [record["messages"][1] for record in records]
    random.Random(5).shuffle(answers)
    shuffled = [
        json.dumps({**record, "messages": [record["messages"][0], answer]}).encode() + b"\n"
        for record, answer in zip(records, answers, strict=True)
    ]
    known = len(runs_of(local, "weak"))
    drop(local, "weak", WEAK + shuffled)
    dropped = until(lambda: runs_of(local, "weak")[:-known], "it is received")[0]
    an_hour_passes(local)

    def over() -> Run | None:
        now = local.run(dropped["id"])
        return now if now["status"] in TERMINAL else None

    return until(over, "its run is over", within_s=600)


def request_rollback(local: LocalStack) -> dict[str, Any]:
    """The endpoint's record once a requested rollback was done."""
    accepted = local.post(f"/api/endpoints/{ENDPOINT}/rollback")

    def check() -> dict[str, Any] | None:
        record = dict(local.get(f"/api/endpoints/{ENDPOINT}"))
        return record if record["deployment"] == accepted["to"] else None

    return until(check, f"{accepted['to']} is in production", within_s=30)


def test_of_two_runs_approved_for_one_endpoint_the_later_is_evaluated_again_against_the_earlier(
    first: Run, second: Run
) -> None:
    assert first["champion"] is None
    assert 0.3 <= first["evaluation"]["candidate"]["mean"] <= 0.9
    # `trained` is a wait for the turn at the endpoint, if another run is evaluated there at that moment.
    assert [status for status in statuses(second) if status != "trained"][2:11] == [
        "training",
        "evaluating",
        *("awaiting_approval", "awaiting_approval", "approved"),
        "evaluating",
        *("awaiting_approval", "awaiting_approval", "approved"),
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


def test_the_better_model_takes_over_in_steps_and_no_request_fails(
    first: Run, rolled_out: tuple[Run, LoadClients]
) -> None:
    second, load_clients = rolled_out
    old, new = first["rollout"]["deployment"], second["rollout"]["deployment"]
    assert [note for note in notes(second) if "traffic" in note] == [
        "10 % of the traffic",
        "50 % of the traffic",
        "100 % of the traffic",
    ]
    assert load_clients.failed() == []
    assert len(load_clients.requests) >= 100
    by_split = load_clients.by_split()
    for share in (0, 10, 50, 100):
        split = split_of({old: 100 - share, new: share})
        answers = by_split.pop(split)
        assert answers.total() > 0
        assert abs(answers[new] - answers.total() * share / 100) <= (3 if 0 < share < 100 else 0), (split, answers)
    assert not by_split, "no other split was ever seen"


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
    with LoadClients(local, ENDPOINT, first["rollout"]["scoring_uri"]) as load_clients:
        for _ in range(3):
            record = request_rollback(local)
            assert local.traffic(ENDPOINT) == {record["deployment"]: 100}
            champions.append((record["champion"], record["previous"]["champion"]))
    assert champions == [(first["id"], second["id"]), (second["id"], first["id"]), (first["id"], second["id"])]
    assert load_clients.failed() == []
    until(lambda: not local.claims(kind="endpoint"), "the endpoint is free", within_s=10)
    traffic = [e["data"]["traffic"] for e in local.events(first["id"]) if e["type"] == "droptune.model.rolled_back.v1"]
    assert traffic == [{second["rollout"]["deployment"]: 100}]


def test_data_that_grew_is_trained_on_once_and_the_better_model_goes_live_by_itself(
    local: LocalStack, first: Run, second: Run, third: Run
) -> None:
    run = local.wait(ENDPOINT, {"deployed"}, runs=2, file="weak.jsonl")
    assert [known["id"] for known in runs_of(local, "weak")] == [third["id"], first["id"]]
    assert run["dataset"]["sha256"] == hashlib.sha256(b"".join(FULL)).hexdigest()
    assert (run["requested_by"], run["parent_run"], run["decision"]) == (None, None, None)
    assert run["champion"] == first["id"]
    assert run["evaluation"]["gains"][1]["low"] > 0
    assert [note for note in notes(run) if "traffic" in note][-1] == "100 % of the traffic"
    record = local.get(f"/api/endpoints/{ENDPOINT}")
    assert (record["champion"], record["previous"]["champion"]) == (third["id"], first["id"])
    assert local.traffic(ENDPOINT) == {run["rollout"]["deployment"]: 100}
    until(lambda: second["rollout"]["deployment"] not in local.deployments(ENDPOINT), "the one before is retired")


def test_an_unhelpful_addition_is_declined_and_the_champion_keeps_answering(
    local: LocalStack, third: Run, unhelpful: Run
) -> None:
    champion = local.run(third["id"])
    assert unhelpful["status"] == "declined"
    assert unhelpful["champion"] == champion["id"]
    assert "gain_over_champion" in [check["name"] for check in unhelpful["verdict"]["checks"] if not check["passed"]]
    assert unhelpful["rollout"] is None
    assert local.traffic(ENDPOINT) == {champion["rollout"]["deployment"]: 100}
    question, answer = (message["content"] for message in json.loads(HELD_OUT[0])["messages"])
    assert ask(local.root, champion["rollout"]["scoring_uri"], question) == answer


def test_a_schedule_looks_at_the_newest_data_once_a_period_and_trains_on_what_was_declined_no_second_time(
    local: LocalStack, third: Run, unhelpful: Run
) -> None:
    """The timer looks every second. The time had come before the run of the unhelpful data was over."""

    def scheduled() -> list[Run]:
        """Newest first."""
        return [run for run in runs_of(local, "weak") if run["parent_run"] == third["id"]]

    assert scheduled() == []
    an_hour_passes(local)
    [again] = until(scheduled, "it is looked at again")
    log = stack.Stack.load(local.root).log("host")
    ticks = log.read_text().count("function=retrain ")
    until(lambda: log.read_text().count("function=retrain ") > ticks + 2, "the timer looks again")
    assert len(scheduled()) == 1
    assert again["dataset"] == unhelpful["dataset"]
    assert (again["status"], again["duplicate_of"], again["jobs"]) == ("duplicate", unhelpful["id"], [])
    assert entered(again, "duplicate")[0] > entered(unhelpful, "declined")[0]
