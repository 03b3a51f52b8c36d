"""approve, deny, retry, endpoints, rollback, dlq: what is sent, what is said, exact exit codes."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from cli.exit_codes import Exit
from shared.domain.run import Status
from tests.unit.cli.fake_api import RUN_ID, START, FakeDroptune, make_run

Cli = Callable[..., int]
Capture = pytest.CaptureFixture[str]

COMMANDS = (
    ("approve", RUN_ID),
    ("deny", RUN_ID),
    ("retry", RUN_ID),
    ("rollback", "shop"),
    ("dlq", "replay", "job-events"),
    ("dlq", "release", RUN_ID),
)


def endpoint(name: str = "shop", *, kept: bool = True) -> dict[str, Any]:
    keep_until = START + timedelta(days=36500 if kept else -1)
    return {
        "endpoint": name,
        "project": "plant",
        "champion": RUN_ID,
        "deployment": "d-new",
        "model": "shop:2",
        "scoring_uri": "http://127.0.0.1:1/",
        "promoted_at": START.isoformat(),
        "previous": {
            "champion": "r-0",
            "project": "plant",
            "deployment": "d-old",
            "model": "shop:1",
            "keep_until": keep_until.isoformat(),
            "a_field_of_a_newer_server": 1,
        },
    }


def dead(entity: str, count: int = 1) -> dict[str, Any]:
    message = {
        "id": "m1",
        "subject": "droptune.run.failed.v1",
        "reason": "MaxDeliveryCountExceeded",
        "description": "delivered 10 times [red]",
        "enqueued_at": START.isoformat(),
        "delivery_count": 10,
    }
    return {"entity": entity, "count": count, "messages": [message]}


@pytest.mark.parametrize("command", ["approve", "deny"])
def test_a_decision_is_sent_with_its_comment(fake: FakeDroptune, droptune: Cli, capsys: Capture, command: str) -> None:
    assert droptune(command, RUN_ID, "-m", "seen by [me]") == 0
    assert fake.commands == [(f"{command} {RUN_ID}", {"comment": "seen by [me]"})]
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    assert RUN_ID in output
    assert droptune(command, RUN_ID, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "id": RUN_ID,
        "decision": {"approve": "approved", "deny": "denied"}[command],
    }
    assert fake.commands[1] == (f"{command} {RUN_ID}", {"comment": ""})


def test_a_retry_says_the_new_run(fake: FakeDroptune, droptune: Cli, capsys: Capture) -> None:
    assert droptune("retry", RUN_ID) == 0
    assert capsys.readouterr().out == "started run r-2; follow it with: droptune watch r-2\n"
    assert droptune("retry", RUN_ID, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"id": "r-2", "parent_run": RUN_ID}
    assert fake.commands == [(f"retry {RUN_ID}", None)] * 2


def test_endpoints_are_listed_with_the_way_back(fake: FakeDroptune, droptune: Cli, capsys: Capture) -> None:
    assert droptune("endpoints") == 0
    assert capsys.readouterr().out == "nothing is in production yet\n"
    fake.endpoints = [endpoint(), endpoint("bank", kept=False)]
    assert droptune("endpoints") == 0
    _, shop, bank = capsys.readouterr().out.splitlines()
    assert shop.split()[:3] == ["shop", RUN_ID, "d-new"]
    assert "d-old until 21" in shop
    assert "d-old" not in bank, "its time is over"
    assert droptune("endpoints", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["previous"]["deployment"] == "d-old"


def test_a_rollback_says_from_where_to_where(fake: FakeDroptune, droptune: Cli, capsys: Capture) -> None:
    assert droptune("rollback", "shop") == 0
    assert (
        capsys.readouterr().out == "rollback of shop requested: from d-new to d-old; see it with: droptune endpoints\n"
    )
    assert fake.commands == [("rollback shop", {"comment": ""})]
    assert droptune("rollback", "shop", "--json", "-m", "wrong torque") == 0
    assert fake.commands[1:] == [("rollback shop", {"comment": "wrong torque"})]
    assert json.loads(capsys.readouterr().out) == {"endpoint": "shop", "from": "d-new", "to": "d-old"}


def test_dead_letters_are_listed_and_the_rest_is_counted(fake: FakeDroptune, droptune: Cli, capsys: Capture) -> None:
    assert droptune("dlq", "list") == 0
    assert capsys.readouterr().out == "no dead letters\n"
    fake.dead = [dead("job-events", 7)]
    assert droptune("dlq", "list") == 0
    _, first, rest = capsys.readouterr().out.splitlines()
    assert first.split()[:4] == ["job-events", "m1", "droptune.run.failed.v1", "10"]
    assert first.endswith("MaxDeliveryCountExceeded: delivered 10 times [red]")
    assert rest.split() == ["job-events", "and", "6", "more"]
    assert droptune("dlq", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"][0]["count"] == 7


def test_documents_that_cannot_be_read_are_listed_and_released(
    fake: FakeDroptune, droptune: Cli, capsys: Capture
) -> None:
    fake.unreadable = [{"type": "run", "partition": RUN_ID, "id": "run", "problem": "KeyError: [red]"}]
    assert droptune("dlq", "list") == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["run", RUN_ID, "run", "KeyError:", "[red]"]
    assert droptune("dlq", "release", RUN_ID) == 0
    assert capsys.readouterr().out == "kept as quarantine/document-1.json\n"
    assert fake.commands == [("release", {"partition": RUN_ID, "id": "run"})]
    fake.released = RUN_ID
    assert droptune("dlq", "release", RUN_ID, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"path": "quarantine/document-1.json", "run": RUN_ID}
    assert droptune("dlq", "release", RUN_ID) == 0
    assert capsys.readouterr().out.endswith(f"; of run {RUN_ID} what can be read stays: droptune watch {RUN_ID}\n")


@pytest.mark.parametrize("command", ["runs", "endpoints"])
@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
def test_a_list_names_what_it_leaves_out_why_and_what_to_do(
    fake: FakeDroptune, droptune: Cli, capsys: Capture, command: str, as_json: bool
) -> None:
    fake.unreadable = [{"type": "run", "partition": "run-7", "id": "run", "problem": "KeyError: [red]"}]
    assert droptune(command, *(["--json"] if as_json else [])) == 0
    shown = capsys.readouterr()
    assert shown.out == ("[]\n" if as_json else "")
    assert shown.err == "left out: run of run-7: KeyError: [red]; repair it with: droptune dlq release run-7 --id run\n"


def test_an_entity_that_was_not_looked_at_is_listed(fake: FakeDroptune, droptune: Cli, capsys: Capture) -> None:
    fake.dead = [{"entity": "job-events", "count": 0, "messages": [], "problem": "no [job-events]"}]
    assert droptune("dlq", "list") == 0
    assert capsys.readouterr().out.split()[6:] == ["job-events", "not", "looked", "at:", "no", "[job-events]"]


def test_a_replay_is_of_all_of_one_entity_or_of_one_message(fake: FakeDroptune, droptune: Cli, capsys: Capture) -> None:
    assert droptune("dlq", "replay") == 0
    assert capsys.readouterr().out == "no dead letters\n"
    fake.dead = [dead("job-events"), dead("pipeline/notify")]
    assert droptune("dlq", "replay") == 0
    assert capsys.readouterr().out == "job-events: 3 sent again\npipeline/notify: 3 sent again\n"
    assert droptune("dlq", "replay", "job-events", "--id", "m1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"job-events": 3}
    sent = [(body["entity"], body["message_id"]) for _, body in fake.commands]
    assert sent == [("job-events", None), ("pipeline/notify", None), ("job-events", "m1")]
    assert droptune("dlq", "replay", "--id", "m1") == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_a_refused_command_is_one_line_and_exit_code_1(
    fake: FakeDroptune, droptune: Cli, capsys: Capture, command: tuple[str, ...]
) -> None:
    fake.refusal = (409, "cannot_be")
    for arguments in (command, (*command, "--json")):
        assert droptune(*arguments) == Exit.REFUSED.value == 1
        output = capsys.readouterr()
        assert (output.out, output.err) == ("", f"cannot_be: so it is ({RUN_ID})\n")


@pytest.mark.parametrize("command", [*COMMANDS, ("endpoints",), ("dlq", "list"), ("dlq", "replay")])
def test_where_nothing_answers_the_exit_code_is_2(droptune: Cli, capsys: Capture, command: tuple[str, ...]) -> None:
    with socket.socket() as unused:  # bound, not listening: nothing answers there
        unused.bind(("127.0.0.1", 0))
        assert droptune(*command, "--url", f"http://127.0.0.1:{unused.getsockname()[1]}") == Exit.UNREACHABLE.value == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", ["approve", "deny", "retry", "rollback"])
def test_an_order_without_its_object_is_wrong_usage(fake: FakeDroptune, droptune: Cli, command: str) -> None:
    assert droptune(command) == 2
    assert fake.commands == []


def test_the_list_of_runs_shows_which_one_waits(fake: FakeDroptune, droptune: Cli, capsys: Capture) -> None:
    fake.states = [make_run(Status.EVALUATING, Status.AWAITING_APPROVAL)]
    assert droptune("runs") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == [RUN_ID, "plant", "awaiting_approval"]
