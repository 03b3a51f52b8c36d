"""endpoints, rollback: what is listed, sent and said."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.endpoint import PRICE_NOTE, ServedDeployment, ServingCosts
from tests.unit.cli.fake_api import RUN_ID, START, FakeDroptune

Cli = Callable[..., int]


Capture = pytest.CaptureFixture[str]


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


def test_the_list_has_what_each_endpoint_costs_and_the_sum_with_those_that_have_no_model_in_production(
    fake: FakeDroptune, droptune: Cli, capsys: Capture
) -> None:
    fake.endpoints = [endpoint()]
    of_shop = {"endpoint": "shop", "usd_per_hour": 7.34, "usd_this_month": 100.5}
    fake.costs = [of_shop, {"endpoint": "gone", "usd_per_hour": 0.0, "usd_this_month": 2.25}]
    assert droptune("endpoints") == 0
    _, shop, gone, total = capsys.readouterr().out.splitlines()
    assert shop.split()[-3:] == ["7.34", "100.50", "serves"]
    assert gone.split() == ["gone", "0.00", "2.25", "no", "model", "in", "production"]
    assert total == f"USD per hour now: 7.34; this month: 102.75; {PRICE_NOTE}"
    assert droptune("endpoints", "--json") == 0
    listed, without_model = json.loads(capsys.readouterr().out)
    assert {name: listed[name] for name in of_shop} == of_shop
    assert without_model == dict.fromkeys(listed) | fake.costs[1]
    fake.endpoints, fake.costs[1]["usd_per_hour"] = [], None
    assert droptune("endpoints") == 0
    assert f"USD per hour now: unknown price; this month: 102.75; {PRICE_NOTE}" in capsys.readouterr().out


def test_a_rollback_says_from_where_to_where(fake: FakeDroptune, droptune: Cli, capsys: Capture) -> None:
    assert droptune("rollback", "shop") == 0
    assert (
        capsys.readouterr().out == "rollback of shop requested: from d-new to d-old; see it with: droptune endpoints\n"
    )
    assert fake.commands == [("rollback shop", {"comment": ""})]
    assert droptune("rollback", "shop", "--json", "-m", "wrong torque") == 0
    assert fake.commands[1:] == [("rollback shop", {"comment": "wrong torque"})]
    assert json.loads(capsys.readouterr().out) == {"endpoint": "shop", "from": "d-new", "to": "d-old"}


def test_a_deletion_is_requested_with_its_reason(fake: FakeDroptune, droptune: Cli, capsys: Capture) -> None:
    assert droptune("endpoints", "delete", "shop", "--yes", "-m", "it is over") == 0
    expected = f"deletion of shop requested; the history of {RUN_ID} says when it is done\n"
    assert capsys.readouterr().out == expected
    assert fake.commands == [("delete shop", {"comment": "it is over"})]
    assert droptune("endpoints", "delete", "shop", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"run": RUN_ID}


def test_a_deletion_that_is_not_confirmed_is_not_requested(
    fake: FakeDroptune, droptune: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert droptune("endpoints", "delete", "shop") == 1
    assert fake.commands == []


def test_a_stopped_endpoint_is_shown_with_when_and_why_and_its_restore_is_requested(
    fake: FakeDroptune, droptune: Cli, capsys: Capture
) -> None:
    stopped = {"deployment": "d-new", "at": START.isoformat(), "reason": "no request for 8:00:00"}
    fake.endpoints = [endpoint() | {"stopped": stopped}, endpoint("bank")]
    assert droptune("endpoints") == 0
    _, shop, bank = capsys.readouterr().out.splitlines()
    assert shop.rstrip().endswith(f"stopped {START:%Y-%m-%d %H:%M} UTC: no request for 8:00:00")
    assert bank.rstrip().endswith("serves")
    assert droptune("endpoints", "restore", "shop", "-m", "a new season") == 0
    assert fake.commands == [("restore shop", {"comment": "a new season"})]
    capsys.readouterr()
    fake.refusal = (409, "endpoint_serves")
    assert droptune("endpoints", "restore", "bank") == 1
    assert "endpoint_serves" in capsys.readouterr().err


def test_an_endpoint_is_shown_with_what_it_costs_and_that_this_is_not_the_bill(
    fake: FakeDroptune, droptune: Cli, capsys: Capture
) -> None:
    new, old = (
        ServedDeployment(
            deployment=name, run=RUN_ID, instance_type="Standard_X", instances=2, usd_per_hour=usd, since=START
        )
        for name, usd in (("d-new", 7.34), ("d-old", None))
    )
    new = new.model_copy(update={"max_instances": 4})
    costs = ServingCosts(endpoint="shop", running=(new,), ended=(old.model_copy(update={"until": START}),))
    found = {"costs": costs.model_dump(mode="json"), "usd_per_hour": 7.34, "usd_this_month": None, "later": 1}
    fake.endpoints = [endpoint() | found]
    assert droptune("endpoints", "show", "shop") == 0
    _, in_production, _, first, second, total = capsys.readouterr().out.splitlines()
    assert (in_production.split()[0], in_production.split()[-1]) == ("shop", "serves")
    local = f"{START.astimezone():%Y-%m-%d %H:%M}".split()
    assert first.split() == ["d-new", RUN_ID, "2", "x", "Standard_X,", "at", "most", "4", "7.34", *local]
    assert second.split() == ["d-old", RUN_ID, "2", "x", "Standard_X", "unknown", "price", *local, *local]
    assert total == f"USD per hour now: 7.34; this month: unknown price; {PRICE_NOTE}"
    assert droptune("endpoints", "show", "shop", "--json") == 0
    assert json.loads(capsys.readouterr().out)["costs"] == found["costs"]
