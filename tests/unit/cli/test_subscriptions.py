"""`droptune subscriptions` against the real API over embedded services, with a real receiver."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from standardwebhooks import Webhook

from functions.http import create_api
from functions.http.auth import LoopbackAuth
from shared.ports import Services
from shared.records import subscriptions as records
from shared.services import build_services
from shared.settings import Settings
from shared.steps.notify import deliver_notification, delivery
from tests.receiver import Receiver
from tests.unit.shared.steps.failed_run import failed
from tests.unit.shared.support import take

EVENT = failed("run-000000000000").to_cloudevent()
Droptune = Callable[..., int]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    built = build_services(
        Settings(
            run_store_url=f"sqlite:///{tmp_path / 'state.db'}",
            event_bus_url=f"sqlite:///{tmp_path / 'bus.db'}",
            blob_store_url=f"file:{tmp_path / 'blobs'}",
            notify_private_hosts="127.0.0.1",
        )
    )
    yield built
    built.store.close()
    built.bus.close()
    built.notifier.close()  # type: ignore[attr-defined]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def served(services: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        app = create_api(lambda: services, LoopbackAuth)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        monkeypatch.setenv("DROPTUNE_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("DROPTUNE_TARGET_URL", f"{receiver.url}?token=zzz")
        monkeypatch.chdir(tmp_path)
        yield
        server.should_exit = True
        thread.join()


def test_one_is_added_tried_rotated_and_removed(
    droptune: Droptune, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    assert droptune("subscriptions", "add", "ops", "--type", "webhook", "--event", "run.*", "--project", "shop") == 0
    created, *keys = capsys.readouterr().out.splitlines()
    assert created.startswith("created ops-")
    assert len(keys) == 2
    assert droptune("subscriptions", "test", "ops") == 0
    [(headers, body)] = receiver.got
    Webhook(keys[0]).verify(body, headers)
    assert capsys.readouterr().out.startswith("204 in ")
    receiver.status = 401
    assert droptune("subscriptions", "test", "ops") == 1
    assert capsys.readouterr().out.startswith("401 target_refused in ")
    assert droptune("subscriptions", "rotate", "ops") == 0
    assert capsys.readouterr().out.startswith("whsec_")
    assert droptune("subscriptions", "list") == 0
    listed = capsys.readouterr().out
    assert droptune("subscriptions", "show", "ops") == 0
    shown = capsys.readouterr().out
    assert ("run.*" in shown, '"severity": "info"' in shown, "enabled" in listed) == (True, True, True)
    assert "zzz" not in listed + shown
    assert droptune("subscriptions", "remove", "ops") == 0
    capsys.readouterr()
    assert droptune("subscriptions", "list") == 0
    assert capsys.readouterr().out == "no subscriptions\n"


def test_what_was_not_delivered_is_listed_and_sent_again(
    droptune: Droptune, receiver: Receiver, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    assert droptune("subscriptions", "add", "ops", "--type", "webhook") == 0
    [made] = records.every(services.store)
    receiver.status = 410
    deliver_notification(delivery(EVENT, made), services)
    capsys.readouterr()
    assert droptune("subscriptions", "log", "ops") == 0
    logged = capsys.readouterr().out
    assert EVENT["id"] in logged
    assert "failed" in logged
    assert "410 target_gone in " in logged
    assert droptune("subscriptions", "list") == 0
    assert "disabled: 127.0.0.1 answered 410" in capsys.readouterr().out
    assert droptune("subscriptions", "redeliver", "ops", "--since", "2026-01-01") == 1
    assert "subscription_disabled" in capsys.readouterr().err
    assert droptune("subscriptions", "enable", "ops") == 0
    assert droptune("subscriptions", "redeliver", "ops", "--since", "2000-01-01") == 0
    assert capsys.readouterr().out.endswith("1 sent again\n")
    receiver.status = 200
    for received in take(services, "deliveries"):
        deliver_notification(received.message, services)
    assert droptune("subscriptions", "log", "ops", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "delivered"
    assert droptune("subscriptions", "redeliver", "ops", "--event", EVENT["id"], "--all") == 0
    assert droptune("subscriptions", "redeliver", "ops") == 1


def test_a_name_of_several_or_of_none_is_said(droptune: Droptune, capsys: pytest.CaptureFixture[str]) -> None:
    for project in ((), ("--project", "shop")):
        assert droptune("subscriptions", "add", "ops", "--type", "webhook", *project) == 0
    assert droptune("subscriptions", "test", "ops") == 1
    assert "ops is the name of 2 subscriptions: ops-" in capsys.readouterr().err
    assert droptune("subscriptions", "test", "ops", "--project", "shop") == 0
    assert droptune("subscriptions", "test", "gone") == 1
    assert "gone is the name of no subscriptions" in capsys.readouterr().err


def test_all_problems_of_one_are_printed_and_not_the_url(
    droptune: Droptune, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DROPTUNE_TARGET_URL", "https://10.0.0.4/zzz")
    assert droptune("subscriptions", "add", "ops", "--type", "teams", "--event", "run.faild") == 1
    output = capsys.readouterr().err
    assert "no event is named run.faild; did you mean run.failed" in output
    assert "10.0.0.4 is not a public address" in output
    assert "zzz" not in output
