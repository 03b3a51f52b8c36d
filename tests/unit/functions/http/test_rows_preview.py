"""Training rows as the model reads them: what is shown, and what is answered where nothing can be."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from fastapi.testclient import TestClient

from shared.base_models import bundles as base_models
from shared.domain import paths
from shared.domain.catalog import find_entry
from shared.domain.dataset import CuratedVersion, DatasetRef
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe
from shared.domain.run import Run, Status
from shared.ports import Services
from shared.rendering.bundle import export_bundle
from shared.runner import Runner
from tests.unit.functions.http.support import enter
from tests.unit.shared.rendering import families
from tests.unit.shared.rendering.families import ROWS, message
from tests.unit.shared.support import drop

BASE_MODEL = "droptune/tiny-llama"


def curated(services: Services, rows: list[object]) -> Run:
    run = drop(services, Runner(services))
    assert run is not None
    ref = DatasetRef(path="datasets/shop/train.jsonl", etag="e", size_bytes=1, sha256="1" * 64)
    version = CuratedVersion(
        project="shop", version="a" * 64, source=ref, train_rows=len(rows), eval_rows=1, characters_max=90
    )
    lines = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    # In small chunks, for a line may end anywhere in one.
    chunks = [lines[at : at + 50] for at in range(0, len(lines), 50)]
    services.blobs.write(paths.curated(version, "train.jsonl"), chunks)
    resolved = resolve(Recipe(base_model=BASE_MODEL), "shop", train_rows=60, characters_max=90)
    return enter(services, run, Status.VALIDATED, curated=version, recipe=resolved)


def place(services: Services, folder: str, source: Path) -> None:
    for file in source.iterdir():
        services.blobs.write(f"{folder}{file.name}", [file.read_bytes()])


def export(services: Services, source: Path) -> None:
    for name, content in export_bundle(find_entry(BASE_MODEL), source).items():
        services.blobs.write(f"models/{BASE_MODEL}/tokenizer/{name}", [content])


def test_rows_are_shown_as_the_model_reads_them(client: TestClient, services: Services, tmp_path: Path) -> None:
    run = curated(services, [row for row, _ in ROWS.values()])
    place(services, "models/tiny-llama/", families.write("qwen", tmp_path / "base"))
    answer = client.get(f"/api/runs/{run.id}/preview?rows=2")
    assert answer.status_code == 200
    first, second = answer.json()["data"]
    assert (first["file"], first["row"], second["row"]) == ("train", 1, 2)
    assert first["pieces"] == [
        {
            "text": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhich part is this?<|im_end|>\n"
            "<|im_start|>assistant\n",
            "has_loss": False,
        },
        {"text": "A bolt.<|im_end|>", "has_loss": True},
        {"text": "\n", "has_loss": False},
    ]
    assert 0 < first["trained_tokens"] < first["tokens"]


def test_the_exported_bundle_comes_before_the_model_and_a_new_one_is_noticed(
    client: TestClient, services: Services, tmp_path: Path
) -> None:
    run = curated(services, [ROWS["several turns"][0]])
    place(services, "models/tiny-llama/", families.write("qwen", tmp_path / "base"))
    export(services, families.write("phi", tmp_path / "bundle"))

    def starts() -> str:
        return str(client.get(f"/api/runs/{run.id}/preview").json()["data"][0]["pieces"][0]["text"][:12])

    assert starts() == "<|user|>Whic"
    export(services, families.write("llama3", tmp_path / "newer"))
    assert starts() == "<|begin_of_t"
    assert base_models._bundle.cache_info().maxsize == 2


def test_without_curated_data_there_is_no_preview(client: TestClient, services: Services) -> None:
    run = drop(services, Runner(services))
    assert run is not None
    answer = client.get(f"/api/runs/{run.id}/preview")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_preview")


def test_without_the_tokenizer_the_answer_names_the_base_model(client: TestClient, services: Services) -> None:
    other = curated(services, [ROWS["several turns"][0]])
    answer = client.get(f"/api/runs/{other.id}/preview")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_tokenizer")


def test_a_row_the_template_refuses_is_named_and_not_quoted(
    client: TestClient, services: Services, tmp_path: Path
) -> None:
    late = {"messages": [message("user", "secret"), message("system", "secret"), message("assistant", "A bolt.")]}
    run = curated(services, [late])
    place(services, "models/tiny-llama/", families.write("mistral", tmp_path / "base"))
    answer = client.get(f"/api/runs/{run.id}/preview")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (409, "row_not_renderable")
    assert error["message"].endswith('row 1: "only user, assistant and tool follow the system message"')
    assert "secret" not in answer.text


@pytest.mark.parametrize("rows", ["0", "51", "all"])
def test_no_more_than_fifty_rows_are_shown(client: TestClient, services: Services, rows: str) -> None:
    run = curated(services, [ROWS["several turns"][0]])
    answer = client.get(f"/api/runs/{run.id}/preview?rows={rows}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


def test_rows_that_cannot_be_read_are_no_error_of_the_server(
    client: TestClient, services: Services, tmp_path: Path
) -> None:
    run = curated(services, [row for row, _ in ROWS.values()])
    place(services, "models/tiny-llama/", families.write("qwen", tmp_path / "base"))
    assert run.curated is not None
    services.blobs.write(paths.curated(run.curated, "train.jsonl"), [b'{"messages": '])
    answer = client.get(f"/api/runs/{run.id}/preview")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "unreadable_document")
