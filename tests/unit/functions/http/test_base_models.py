"""Base models over the API and from the command line; the import job runs in the Azure ML emulator."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient

from cli.main import main
from functions.http import create_api
from functions.http.auth import LoopbackAuth
from local_stack.azure_ml.app import listen
from local_stack.azure_ml.config import EmulatorConfig
from shared.base_models.bundles import bundle_manifest
from shared.base_models.import_job import import_job, start_import
from shared.domain.catalog import CATALOG, find_entry
from shared.domain.policy import PlatformPolicy
from shared.ports import Services
from shared.records import policies
from shared.settings import Settings
from shared.step_support.policy import terms_sha256
from tests.azure_ml_emulator import running
from tests.unit.functions.http.support import asking_as
from tests.unit.training_job.tiny_folder import write_folder

TINY, LLAMA = find_entry("droptune/tiny-llama"), find_entry("meta-llama/Llama-3.1-8B-Instruct")
PHI = "microsoft/Phi-4"
WORKSPACE = "subscriptions/local/resourceGroups/local/workspaces/local"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """With a workspace of its own. The parameter: how many jobs may run at once."""
    slots = getattr(request, "param", 1)
    config = EmulatorConfig(tmp_path / "azure_ml", tmp_path / "blobs", 0, tick_s=0.02, slots=slots)
    with running(config, lambda event: None) as emulator:
        url = f"azureml+http://127.0.0.1:{emulator.config.port}/{WORKSPACE}"
        yield settings.model_copy(update={"azure_ml_url": url, "azure_ml_secret": emulator.config.secret})


@pytest.fixture
def base(services: Services, tmp_path: Path) -> Path:
    """The tiny base where its asset says."""
    return write_folder(tmp_path / "blobs" / "models" / "tiny-llama")


@pytest.fixture
def droptune(
    services: Services, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str]]]:
    """Run the command line against the app; its exit code and what it printed."""
    listener = listen(0)
    server = uvicorn.Server(
        uvicorn.Config(create_api(lambda: services, LoopbackAuth), log_level="warning", lifespan="off")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    monkeypatch.setenv("DROPTUNE_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["droptune", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out + output.err

    yield run
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.mark.usefixtures("base")
def test_an_imported_base_model_has_its_bundle_and_shows_it(
    services: Services, droptune: Callable[..., tuple[int, str]]
) -> None:
    code, before = droptune("base-models", "list")
    assert code == 0
    assert before.count("not imported") == len(CATALOG)

    code, output = droptune("base-models", "import", TINY.id)
    assert code == 0, output
    manifest = bundle_manifest(TINY, services.blobs)
    assert manifest is not None
    assert TINY.terms.obligations[0] in output
    assert output.endswith(f"tokenizer bundle {manifest.sha256}\n")

    code, listed = droptune("base-models", "list", "--json")
    found = {each["id"]: each["tokenizer_sha256"] for each in json.loads(listed)}
    assert {id for id, sha256 in found.items() if sha256} == {TINY.id}
    assert found[TINY.id] == manifest.sha256


@pytest.mark.ci
def test_what_the_job_has_against_a_folder_is_what_the_user_reads(
    services: Services, base: Path, droptune: Callable[..., tuple[int, str]]
) -> None:
    (base / "pytorch_model.bin").touch()
    code, output = droptune("base-models", "import", TINY.id)
    assert code == 1
    assert output.endswith("failed: base_model_unfit: pytorch_model.bin is no safetensors file\n")
    assert bundle_manifest(TINY, services.blobs) is None

    (base / "pytorch_model.bin").unlink()
    code, output = droptune("base-models", "import", TINY.id)
    assert code == 0, "the next attempt is a job of its own"
    assert bundle_manifest(TINY, services.blobs) is not None


@pytest.mark.ci
def test_a_folder_of_the_tenants_own_becomes_a_base_model_that_is_imported_and_taken_away_again(
    services: Services, tmp_path: Path, droptune: Callable[..., tuple[int, str]]
) -> None:
    folder, id = write_folder(tmp_path / "blobs" / "models" / "acme" / "clinic-1"), "acme/clinic-1"
    unknown = droptune("base-models", "add", str(folder), "--id", id, "--license", "WTFPL")
    assert unknown[0] == 1
    assert "base_models[0]: no license WTFPL: one of LicenseRef-droptune-project, Apache-2.0" in unknown[1]
    code, output = droptune(
        "base-models", "add", str(folder), "--id", id, "--license", "Apache-2.0", "--accelerator", "cpu"
    )
    assert (code, output.splitlines()[0]) == (
        0,
        f"version 1 of the policy offers {id}, 565,888 parameters, license Apache-2.0",
    )
    assert "GPU" not in output
    gpu = droptune("base-models", "add", str(folder), "--id", "acme/clinic-2", "--license", "Apache-2.0")
    assert (gpu[0], gpu[1].splitlines()[-1]) == (
        0,
        "Jobs on it need a machine with a GPU; if it needs none, add it again with --accelerator cpu",
    )
    code, output = droptune("base-models", "import", id)
    assert code == 0, output
    own = policies.read(services.store).policy.own_base(id)
    assert own is not None
    assert own.dims == TINY.dims
    assert bundle_manifest(own, services.blobs) is not None
    assert json.loads(droptune("base-models", "list", "--json")[1])[-2]["id"] == id

    policies.apply(services.store, PlatformPolicy(), 2, "ada", "ada", services.clock.now())
    code, output = droptune("base-models", "import", id)
    assert code == 1
    assert f"{id} is not in the catalog" in output


@pytest.mark.usefixtures("services")
def test_a_base_model_whose_folder_is_not_there_says_so(droptune: Callable[..., tuple[int, str]]) -> None:
    code, output = droptune("base-models", "import", PHI)
    assert code == 1
    assert f"input 'base_model' was not found at {CATALOG[PHI].asset}" in output


@pytest.mark.parametrize("settings", [0], indirect=True)
def test_asked_again_while_it_is_under_way_it_is_one_job(
    services: Services, droptune: Callable[..., tuple[int, str]]
) -> None:
    first = start_import(TINY, services).name
    assert first == import_job(TINY, 1, services.config).name
    assert droptune("base-models", "import", TINY.id, "--no-wait") == (0, f"job {first} checks {TINY.id}\n")
    assert services.launcher.get_job(import_job(TINY, 2, services.config).name) is None


def test_who_may_import_what(client: TestClient) -> None:
    with asking_as(client, "ada", "reader"):
        refused = client.post(f"/api/base-models/{TINY.id}/import")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "role_needed")
        assert client.get(f"/api/base-models/{TINY.id}").json()["import"] is None
    with asking_as(client, "ada", "operator"):
        for id, status, problem in (
            ("acme/gpt", 404, "unknown_base_model"),
            ("Qwen/Qwen2.5-3B-Instruct", 409, "license_denied"),
        ):
            refused = client.post(f"/api/base-models/{id}/import")
            assert (refused.status_code, refused.json()["error"]["code"]) == (status, problem)


def test_a_license_is_accepted_by_a_person_and_again_when_the_files_of_the_base_change(
    services: Services, base: Path, droptune: Callable[..., tuple[int, str]], client: TestClient
) -> None:
    problem = f"the license of {LLAMA.id} ({LLAMA.terms.id}): "
    code, shown = droptune("license", "show", LLAMA.id)
    assert code == 0
    assert shown.endswith(f"{problem}nobody has accepted it yet; `droptune license show {LLAMA.id}`\n")
    read = ("--terms", terms_sha256(LLAMA, services.blobs))
    assert f"hash of its terms {read[1]}\n" in shown
    assert droptune("license", "accept", LLAMA.id, *read)[0] == 2, "a reason is needed"
    code, output = droptune("license", "accept", LLAMA.id, "--comment", "our lawyers", "--terms", "0" * 64)
    assert code == 1
    assert "license_changed: it is not what you have read: read it again" in output
    assert droptune("license", "accept", LLAMA.id, *read, "--comment", "our lawyers")[0] == 0
    (decided,) = client.get(f"/api/base-models/{LLAMA.id}").json()["decisions"]
    shas = {"terms_sha256": terms_sha256(LLAMA, services.blobs), "comment": "our lawyers", "at": decided["at"]}
    assert decided == {"base_model": LLAMA.id, "accepted": True, "by": "local", "by_id": "local", **shas}
    assert droptune("license", "show", LLAMA.id)[1].endswith("our lawyers\nmodels of it may be tuned\n")
    code, output = droptune("license", "refuse", LLAMA.id, *read, "--comment", "no")
    assert (code, output) == (0, f"refused the license of {LLAMA.id}\n")
    assert f"{problem}it was refused by local" in droptune("license", "show", LLAMA.id)[1]

    before = terms_sha256(TINY, services.blobs)
    (base / "LICENSE").write_text("Ours.")
    assert droptune("base-models", "import", TINY.id)[0] == 0
    assert terms_sha256(TINY, services.blobs) != before


@pytest.mark.parametrize("role", ["reader", "operator", "approver"])
def test_nobody_but_an_administrator_decides_about_a_license(client: TestClient, role: str, services: Services) -> None:
    body = {"accepted": True, "terms_sha256": terms_sha256(LLAMA, services.blobs), "comment": "yes"}
    with asking_as(client, "ada", role):
        refused = client.post(f"/api/base-models/{LLAMA.id}/license", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "role_needed")
    with asking_as(client, "root", "administrator"):
        assert client.post(f"/api/base-models/{LLAMA.id}/license", json=body).status_code == 200
        assert client.get(f"/api/base-models/{LLAMA.id}").json()["decisions"][0]["by_id"] == "root"
        denied = "/api/base-models/Qwen/Qwen2.5-3B-Instruct"
        assert client.get(denied).json()["review_problem"]["code"] == "license_denied"
        refused = client.post(f"{denied}/license", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "license_denied")
        empty = client.post(f"/api/base-models/{LLAMA.id}/license", json={**body, "comment": ""})
        assert (empty.status_code, empty.json()["error"]["param"]) == (400, "comment")
