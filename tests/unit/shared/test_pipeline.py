"""The table STAGES and the functions the app registers agree."""

from __future__ import annotations

from typing import Any

import pytest

from function_app import app
from shared.domain.run import NON_TERMINAL, Status
from shared.domain.topology import TOPIC
from shared.pipeline import STAGES, TOPOLOGY, stage_of


def trigger_of(function: Any) -> Any:
    return function.get_trigger().get_dict_repr()


def test_every_stage_is_one_function_with_exactly_its_trigger() -> None:
    found = {function.get_function_name(): trigger_of(function) for function in app.get_functions()}
    http = found.pop("http")
    assert str(http["type"]) == "httpTrigger"
    assert set(found) == {stage.name for stage in STAGES}
    for stage in STAGES:
        trigger = found[stage.name]
        if stage.timer:
            assert trigger["schedule"] == f"%{stage.timer}%"
        elif stage.queue:
            assert trigger["queueName"] == stage.queue
        else:
            assert (trigger["topicName"], trigger["subscriptionName"]) == (TOPIC, stage.name)


def test_every_event_a_stage_publishes_wakes_somebody_besides_notify_or_ends_the_run() -> None:
    woken = {cls for stage in STAGES if stage.name != "notify" for cls in stage.wakes}
    published = {cls for stage in STAGES for cls in stage.publishes}
    notified_only = {cls.short_type() for cls in published - woken}
    assert notified_only == {
        "validation.started",
        "validation.failed",
        "training.started",
        "budget.warning",
        "approval.requested",
        "approval.reminder",
        "model.declined",
        "deployment.retired",
        "endpoint.changed",
        "endpoint.degraded",
        "endpoint.down",
        "endpoint.recovered",
        "evaluation.started",
        "evaluation.failed",
        "deployment.started",
        "traffic.shifted",
        "model.promoted",
        "rollback.started",
        "model.rolled_back",
        "quota.missing",
        "run.failed",
        "run.cancelled",
        "subscription.disabled",
    }


def test_every_non_terminal_status_can_be_left_and_every_status_entered() -> None:
    left = {status for stage in STAGES if stage.name not in ("fail_run", "cancel_run") for status in stage.before}
    left -= {Status.DEPLOYED, Status.DECLINED, Status.ROLLED_BACK}  # a person wants its model back, or another's
    assert left == NON_TERMINAL - {Status.CANCELLING}  # only a stopped job ends that one
    assert {status for stage in STAGES for _, status in stage.moves} == set(Status)


def test_a_subscription_gets_the_wire_types_of_its_stage_and_notify_gets_all() -> None:
    subjects = {subscription.name: subscription.subjects for subscription in TOPOLOGY.topics[TOPIC]}
    assert subjects["notify"] is None
    assert subjects["submit_training"] == frozenset({"droptune.validation.passed.v1", "droptune.training.retry_due.v1"})
    assert all(name in subjects for name in (stage.name for stage in STAGES if stage.wakes))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"wakes": ["data.uploaded"]}, KeyError),
        ({"moves": ["received -> valid"]}, ValueError),
        ({"moves": ["nowhere -> validated"]}, ValueError),
        ({"publish": ["run.failed"]}, TypeError),
    ],
)
def test_a_table_that_names_what_is_not_there_is_refused(row: dict[str, list[str]], problem: type[Exception]) -> None:
    with pytest.raises(problem):
        stage_of("receive_dataset", {"description": "Receives.", **row})
