"""Every check is seen to pass and to fail."""

from __future__ import annotations

import importlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from fastapi.testclient import TestClient

from functions.http import create_api
from functions.http.auth import LoopbackAuth
from shared.api.models import Check, CheckStatus
from shared.domain.catalog import CATALOG, SKUS
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.topology import TOPIC
from shared.embedded.blobs import FileBlobStore
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from shared.health.doctor import ROLES, attempt, examine
from shared.pipeline import TOPOLOGY
from shared.ports import BlobInfo, Write
from shared.records import ticks
from shared.services import services
from tests.unit.functions.http.support import asking_as
from tests.unit.shared.health.support import FIX, OK, SKIPPED, TINY, base_model, bundle, found


@pytest.mark.usefixtures("azure_ml")
def test_the_embedded_default_with_its_base_model_has_nothing_to_fix(app: Path) -> None:
    bundle(app, base_model(app))
    checks = found()
    others = [model for model, entry in CATALOG.items() if entry.asset and model != TINY]
    machines = [sku.name for sku in SKUS if sku.gpus]
    skipped = {f"quota {name}" for name in machines}
    skipped |= {f"image of {name}" for name in ("droptune-training:6", "droptune-serving:4")}
    skipped |= {f"{what} {id}" for id in others for what in ("base model", "template")}
    assert {name for name, check in checks.items() if check.status is SKIPPED} == skipped
    assert {name for name, check in checks.items() if check.status is OK} == {
        "settings",
        "run store",
        "documents",
        "timers",
        "subscriptions",
        "event bus",
        "blobs",
        "Azure ML jobs",
        "Azure ML endpoints",
        "Azure ML workspace",
        f"base model {TINY}",
        f"template {TINY}",
        "environment droptune-training:6",
        "environment droptune-serving:4",
        "quota Standard_E4ds_v4",
        "quota Local_CPU",
        "clock",
    }
    assert set(checks) == skipped | {name for name, check in checks.items() if check.status is OK}


@pytest.mark.usefixtures("azure_ml")
def test_looking_changes_nothing(app: Path) -> None:
    examine()
    assert [path for path in (app / "blobs").rglob("*") if path.is_file()] == []
    for file, table in (("state.db", "documents"), ("bus.db", "messages")):
        with sqlite3.connect(app / file) as database:
            assert database.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,)
        database.close()


@pytest.mark.parametrize(
    ("setting", "value", "detail"),
    [
        ("RUN_STORE_URL", "mongodb://somewhere", "RUN_STORE_URL: no client for mongodb:"),
        ("RUN_STORE_URL", "sqlite:////proc/none/state.db", "Error: "),
        ("DEBOUNCE_S", "-1", "DEBOUNCE_S: Input should be greater than or equal to 0"),
        ("AZURE_ML_URL", "azureml+http://example.com/nowhere", "not a workspace URL"),
    ],
)
def test_a_wrong_setting_is_the_only_thing_said(
    app: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, detail: str
) -> None:
    monkeypatch.setenv(setting, value)
    [check] = examine()
    assert (check.name, check.status) == ("settings", FIX)
    assert detail in check.detail


@pytest.mark.parametrize(
    ("name", "file", "table", "setting"),
    [("run store", "state.db", "documents", "RUN_STORE_URL"), ("event bus", "bus.db", "messages", "EVENT_BUS_URL")],
)
@pytest.mark.usefixtures("azure_ml")
def test_a_broken_store_or_bus_is_named(app: Path, name: str, file: str, table: str, setting: str) -> None:
    found()
    with sqlite3.connect(app / file) as database:
        database.execute(f"DROP TABLE {table}")
    database.close()
    checks = found()
    assert checks[name].status is FIX
    assert f"no such table: {table}" in checks[name].detail
    assert setting in checks[name].fix
    assert checks["blobs"].status is OK


@pytest.mark.usefixtures("azure_ml")
def test_a_missing_subscription_is_named(app: Path) -> None:
    others = tuple(one for one in TOPOLOGY.topics[TOPIC] if one.name != "notify")
    with closing(SqliteEventBus(app / "other.db", replace(TOPOLOGY, topics={TOPIC: others}), SystemClock())) as bus:
        check = found(lambda: replace(services(), bus=bus))["event bus"]
    assert check.status is FIX
    assert check.detail.startswith("pipeline/notify: ")


class BrokenDisk(FileBlobStore):
    def list(self, prefix: str) -> Iterator[BlobInfo]:
        raise OSError(f"Input/output error: {prefix}")


@pytest.mark.usefixtures("azure_ml")
def test_without_blobs_nothing_is_said_about_base_models(app: Path) -> None:
    checks = found(lambda: replace(services(), blobs=BrokenDisk(app / "blobs")))
    assert (checks["blobs"].status, checks["blobs"].detail) == (FIX, "OSError: Input/output error: datasets/")
    assert checks["base models"].status is SKIPPED
    assert not any(TINY in name for name in checks)


class RefusedReads(FileBlobStore):
    def read(self, path: str, *, etag: str | None = None) -> Iterator[bytes]:
        raise PermanentFailure(FailureClass.PLATFORM, "blob_refused", f"blob {path}: not permitted")


@pytest.mark.usefixtures("azure_ml")
def test_base_models_whose_blobs_are_refused_are_to_be_fixed(app: Path) -> None:
    bundle(app, base_model(app))
    checks = found(lambda: replace(services(), blobs=RefusedReads(app / "blobs")))
    assert checks["blobs"].status is OK
    refused = [one for one in checks.values() if one.detail.endswith(": not permitted")]
    assert [one.status for one in refused] == [FIX]


@pytest.mark.usefixtures("impatient")
def test_an_azure_ml_that_does_not_answer_is_said_of_all_that_it_has_and_no_clock(app: Path) -> None:
    checks = found()
    environments = ("environment droptune-training:6", "environment droptune-serving:4")
    for name in ("Azure ML jobs", "Azure ML endpoints", "Azure ML workspace", *environments):
        assert checks[name].status is FIX
        assert checks[name].fix == "see that what AZURE_ML_URL names runs and can be reached from the app"
    assert checks["quota"].status is SKIPPED
    assert checks["clock"].status is SKIPPED


def test_an_azure_ml_that_denies_access_names_the_missing_role(app: Path, answering: Callable[..., None]) -> None:
    answering(403, "AuthorizationFailed")
    checks = found()
    for name in ("Azure ML jobs", "Azure ML endpoints", "Azure ML workspace"):
        assert checks[name].status is FIX
        assert "role orchestrator of infra/modules/workspace.bicep on workspace" in checks[name].fix
    assert checks["quota"].status is FIX
    assert "infra/modules/quota-access.bicep" in checks["quota"].fix


def test_a_workspace_that_does_not_exist_is_found_out(app: Path, answering: Callable[..., None]) -> None:
    answering(404, "ResourceNotFound")
    checks = found()
    assert checks["Azure ML jobs"].status is OK  # a missing job and a missing workspace are the same 404
    workspace = checks["Azure ML workspace"]
    assert (workspace.status, workspace.detail) == (FIX, "the workspace does not exist")


@pytest.mark.parametrize(
    ("ahead_s", "status", "detail"), [(30, OK, "within 60 s"), (600, FIX, "behind"), (-600, FIX, "ahead of")]
)
def test_a_clock_that_is_off_by_minutes_is_to_be_fixed(
    app: Path, answering: Callable[..., None], ahead_s: float, status: CheckStatus, detail: str
) -> None:
    answering(404, "ResourceNotFound", clock_ahead_s=ahead_s)
    clock = found()["clock"]
    assert clock.status is status
    assert detail in clock.detail


def denials() -> list[Exception]:
    refused = HttpResponseError("denied")
    refused.status_code = 403
    denied: list[Exception] = [refused, ClientAuthenticationError("no token")]
    for module, name in (
        ("azure.servicebus.exceptions", "ServiceBusAuthorizationError"),
        ("azure.servicebus.exceptions", "ServiceBusAuthenticationError"),
    ):
        try:
            denied.append(getattr(importlib.import_module(module), name)(message="denied"))
        except ImportError:
            continue
    return denied


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("setting", ROLES)
@pytest.mark.parametrize("denial", denials(), ids=lambda denial: type(denial).__name__)
def test_a_denied_call_names_the_role_of_its_service(denial: Exception, setting: str, wrapped: bool) -> None:
    def request() -> str:
        if wrapped:
            raise PermanentFailure(FailureClass.PLATFORM, "refused", "the service refused") from denial
        raise denial

    check = attempt("some service", setting, request)
    assert check.status is FIX
    assert ROLES[setting] in check.fix


@pytest.mark.usefixtures("azure_ml")
def test_an_environment_that_is_not_registered_is_named(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINING_ENVIRONMENT", "droptune-training:99")
    check = found()["environment droptune-training:99"]
    assert (check.status, check.detail) == (FIX, "is not registered in the workspace")
    assert "image of droptune-training:99" not in found()


@pytest.mark.parametrize(
    ("image", "detail"),
    [
        (
            "shop.azurecr.io/droptune-training:6",
            "show --name shop --image droptune-training:6` says",
        ),
        ("local/droptune-training:6", "local/droptune-training:6 names no Azure container registry"),
        ("", "it is built by Azure ML at its first job"),
    ],
)
@pytest.mark.usefixtures("azure_ml")
def test_an_image_that_nobody_looked_for_is_said_to_be_skipped_and_how_to_look(
    app: Path, image: str, detail: str
) -> None:
    class RegisteredWith:
        """The platform, but for the image of an environment."""

        def environment_image(self, environment: str) -> str:
            return image

        def __getattr__(self, name: str) -> Any:
            return getattr(services().launcher, name)

    checks = examine(lambda: replace(services(), launcher=RegisteredWith()))
    [check] = [check for check in checks if check.name == "image of droptune-training:6"]
    assert check.status is SKIPPED
    assert detail in check.detail


@pytest.mark.usefixtures("azure_ml")
def test_the_image_of_an_environment_is_the_one_it_was_registered_with(app: Path) -> None:
    launcher = services().launcher
    assert launcher.environment_image("droptune-training:6") == "local/droptune-training:6"
    assert launcher.environment_image("droptune-training:99") is None


@pytest.mark.usefixtures("azure_ml")
def test_the_route_answers_operators_only(app: Path) -> None:
    with TestClient(create_api(services, LoopbackAuth), base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        with asking_as(client, "ada", "reader"):
            refused = client.get("/api/doctor")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "role_needed")
        with asking_as(client, "ada", "operator"):
            answer = client.get("/api/doctor")
    assert answer.status_code == 200
    assert Check.model_validate(answer.json()["data"][0]).name == "settings"


@pytest.mark.usefixtures("azure_ml")
def test_what_timers_failed_at_and_documents_that_cannot_be_read_are_named(app: Path) -> None:
    built = services()
    ticks.record_failures(built.store, "probe_deployments", built.clock.now(), {"run-1": "it hangs"})
    built.store.batch("run-2", [Write("create", "run", {"id": "run", "type": "run", "finished": 0})])
    checks = {check.name: check for check in examine()}
    assert checks["timers"].status is checks["documents"].status is CheckStatus.FIX
    assert "run-1 (it hangs)" in checks["timers"].detail
    assert "run run of run-2" in checks["documents"].detail


@pytest.mark.usefixtures("azure_ml")
def test_a_run_of_a_later_version_is_named_with_what_helps(app: Path) -> None:
    later = {"id": "run", "type": "run", "finished": 0, "schema_version": 99, "run": {}}
    services().store.batch("run-3", [Write("create", "run", later)])
    found = next(check for check in examine() if check.name == "documents")
    assert found.status is CheckStatus.FIX
    assert found.detail == "run run of run-3: run: schema version 99 is for a host of a later version"
    assert found.fix is not None
    assert "run the version that wrote them" in found.fix
    assert "`droptune dlq release PARTITION --id ID`" in found.fix
