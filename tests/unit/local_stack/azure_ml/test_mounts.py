"""Jobs and deployments whose datastores are containers of a blob store, here Azurite through the real SDK."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack import emulators
from local_stack.azure_ml import processes
from local_stack.azure_ml.config import EmulatorConfig, Environment, load_environments
from local_stack.azure_ml.mounts import BlobCopies
from shared.clients.blob import AzureBlobStore
from shared.domain.errors import BlobNotFound, PermanentFailure
from shared.domain.jobs import DeploymentState, JobStatus, ModelSpec
from shared.domain.prompts import Prompt
from shared.embedded.blobs import FileBlobStore
from tests.azure_ml_emulator import running
from tests.emulator_servers import azurite_url
from tests.unit.local_stack.azure_ml.support import ECHO, Local, client_of, deployment, eventually, job, started


@pytest.fixture(scope="module")
def blobs() -> Iterator[AzureBlobStore]:
    emulators.create_blob_containers(azurite_url(), ["curated", "runs", "models"])
    store = AzureBlobStore(azurite_url())
    store.write("curated/p/1/train.jsonl", [b"{}\n"])
    store.write("curated/p/recipe.json", [b'{"a": 1}'])
    yield store
    store.close()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, blobs: AzureBlobStore) -> Iterator[Local]:
    root = tmp_path_factory.mktemp("azure-ml-blobs")
    config = EmulatorConfig(
        root / "azure_ml",
        root / "no-blobs-here",
        0,
        blob_store=azurite_url(),
        tick_s=0.02,
        stop_grace_s=2.0,
        environments={**load_environments(None), "echo:1": Environment(serve=ECHO)},
    )
    with running(config, lambda _: None) as emulator:
        client = client_of(emulator.config.port, emulator.config.secret)
        yield Local(emulator, client, config.blob_root)
        client.close()
    assert not config.blob_root.exists()


def content(blobs: AzureBlobStore, path: str) -> bytes | None:
    try:
        return b"".join(blobs.read(path))
    except BlobNotFound:
        return None


def run(local: Local, command: str, **changes: object) -> str:
    spec = job(f"job-{uuid.uuid4().hex[:8]}", command, **changes)
    local.client.submit(spec)
    return spec.name


def names(blobs: AzureBlobStore, name: str) -> list[str]:
    folder = f"runs/{name}/model/"
    return [one.path.removeprefix(folder) for one in blobs.list(folder)]


def test_a_job_finds_the_blobs_of_its_inputs_and_its_files_become_blobs(local: Local, blobs: AzureBlobStore) -> None:
    inputs = "${{inputs.recipe}} ${{inputs.data}}/train.jsonl"
    name = run(local, f"mkdir ${{{{outputs.model}}}}/sub && cat {inputs} > ${{{{outputs.model}}}}/sub/out")
    assert local.finish(name).status is JobStatus.COMPLETED
    assert content(blobs, f"runs/{name}/model/sub/out") == b'{"a": 1}{}\n'


def test_what_a_running_job_writes_and_deletes_is_seen_while_it_runs(local: Local, blobs: AzureBlobStore) -> None:
    name = run(
        local,
        "cd ${{outputs.model}}; echo 1 > metrics.jsonl; echo x > checkpoint-1; echo x > .partial;"
        " while [ ! -e go ]; do sleep 0.1; done; echo 2 >> metrics.jsonl; rm checkpoint-1; sleep 60",
    )
    path = f"runs/{name}/model/metrics.jsonl"
    eventually(lambda: content(blobs, path) == b"1\n")
    eventually(lambda: names(blobs, name) == ["checkpoint-1", "metrics.jsonl"])
    claim = local.emulator.config.root / "jobs" / name / "files" / "1"
    (claim / f"runs/{name}/model/go").touch()
    eventually(lambda: content(blobs, path) == b"1\n2\n" and names(blobs, name) == ["go", "metrics.jsonl"])
    view = local.client.get_job(name)
    assert view is not None
    assert view.status is JobStatus.RUNNING
    local.client.begin_cancel(name)
    assert local.finish(name).status is JobStatus.CANCELLED


def test_the_last_words_of_a_cancelled_job_are_kept(local: Local, blobs: AzureBlobStore) -> None:
    name = run(
        local,
        "cd ${{outputs.model}}; trap 'echo saved > checkpoint; exit 1' TERM; touch ready; sleep 60 & wait",
    )
    started(local.client, name)
    eventually(lambda: names(blobs, name) == ["ready"])
    local.client.begin_cancel(name)
    assert local.finish(name).status is JobStatus.CANCELLED
    assert content(blobs, f"runs/{name}/model/checkpoint") == b"saved\n"


def test_a_job_on_another_machine_goes_on_from_what_was_saved(local: Local, blobs: AzureBlobStore) -> None:
    name = run(
        local,
        "cd ${{outputs.model}}; if [ -e checkpoint ]; then cp checkpoint resumed; exit 0; fi;"
        " echo 41 > checkpoint; sleep 60",
    )
    eventually(lambda: content(blobs, f"runs/{name}/model/checkpoint") == b"41\n")
    folder = local.emulator.config.root / "jobs" / name
    processes.send_signal(folder / "attempts" / "1", signal.SIGKILL)
    assert local.finish(name).status is JobStatus.COMPLETED
    assert content(blobs, f"runs/{name}/model/resumed") == b"41\n"
    assert sorted(one.name for one in (folder / "files").iterdir()) == ["1", "2"]


def test_a_job_cancelled_before_it_started_leaves_the_blobs_of_its_output_alone(
    local: Local, blobs: AzureBlobStore
) -> None:
    busy = run(local, "sleep 60")
    started(local.client, busy)
    name = f"job-{uuid.uuid4().hex[:8]}"
    blobs.write(f"runs/{name}/model/kept", [b"x"])
    local.client.submit(job(name, "true"))
    local.client.begin_cancel(name)
    assert local.finish(name).status is JobStatus.CANCELLED
    local.client.begin_cancel(busy)
    assert local.finish(busy).status is JobStatus.CANCELLED
    assert names(blobs, name) == ["kept"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": {"data": "azureml://datastores/curated/paths/nothing/"}}, "input 'data' was not found"),
        (
            {"outputs": {"model": "azureml://datastores/nowhere/paths/x/"}},
            "'azureml://datastores/nowhere/paths/x/' cannot",
        ),
    ],
)
def test_a_job_whose_data_is_not_there_fails_and_says_so(
    local: Local, changes: dict[str, dict[str, str]], message: str
) -> None:
    view = local.finish(run(local, "true", **changes))
    assert (view.status, view.error_code) == (JobStatus.FAILED, "UserError")
    assert view.error_message is not None
    assert message in view.error_message


def test_a_deployment_serves_the_blobs_of_its_model(local: Local, blobs: AzureBlobStore) -> None:
    with pytest.raises(PermanentFailure, match="no files at"):
        local.client.register_model(
            ModelSpec(name="absent", version="1", uri="azureml://datastores/models/paths/absent/")
        )
    blobs.write("models/champion/model.safetensors", [b"weights"])
    local.client.register_model(
        ModelSpec(name="champion", version="1", uri="azureml://datastores/models/paths/champion/")
    )
    eventually(lambda: local.client.begin_endpoint("mounts", {}))
    local.client.begin_deployment(deployment("mounts", "blue", "champion:1"))

    def ready() -> bool:
        view = local.client.get_deployment("mounts", "blue")
        return view is not None and view.state is DeploymentState.SUCCEEDED

    eventually(ready)
    answer = local.client.chat("mounts", Prompt([{"role": "user", "content": "hello"}]), deployment="blue")
    assert answer.text == "champion: hello"
    [file] = (local.emulator.config.root / "deployments").rglob("model.safetensors")
    assert file.read_bytes() == b"weights"


def test_files_are_copied_out_in_the_order_they_were_written(tmp_path: Path) -> None:
    """A completion mark must not be there before what it marks."""
    blobs = FileBlobStore(tmp_path / "blobs")
    copies = BlobCopies(blobs)
    folder = copies.path("azureml://datastores/runs/paths/x/", tmp_path / "place")
    folder.mkdir(parents=True)
    for second, name in enumerate(("z-weights", "m-config", "a-complete")):
        (folder / name).write_text(name)
        os.utime(folder / name, (second, second))
    copies.push("azureml://datastores/runs/paths/x/", tmp_path / "place", all=True)
    written = sorted(blobs.list("runs/x/"), key=lambda one: one.modified_at)
    assert [one.path for one in written] == ["runs/x/z-weights", "runs/x/m-config", "runs/x/a-complete"]
