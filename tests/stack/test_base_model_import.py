"""The tiny base model on a running stack: its bundle is there from the start, and an import makes the same again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.stack.local import LocalStack, merged, rows
from tests.stack.scenarios import QUICK

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

TINY = "droptune/tiny-llama"


def droptune(local: LocalStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "base-models", *arguments, "--url", local.url]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True)


def bundle(local: LocalStack) -> dict[str, bytes]:
    folder = local.root / "blobs" / "models" / TINY / "tokenizer"
    return {file.name: file.read_bytes() for file in folder.iterdir()} if folder.exists() else {}


def import_check(local: LocalStack) -> tuple[str, str]:
    """What the doctor says of the bundle: status and fix."""
    [check] = [one for one in local.get("/api/doctor")["data"] if one["name"] == f"template {TINY}"]
    return check["status"], check["fix"]


@pytest.mark.ci
def test_an_import_leaves_the_bundle_that_the_stack_placed(local: LocalStack) -> None:
    placed = bundle(local)
    assert sorted(placed) == ["bundle.json", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"]
    assert import_check(local) == ("ok", "")

    shutil.rmtree(local.root / "blobs" / "models" / TINY)
    assert import_check(local) == ("fix", f"droptune base-models import {TINY}")

    imported = droptune(local, "import", TINY)
    assert imported.returncode == 0, imported.stdout + imported.stderr
    assert bundle(local) == placed
    assert import_check(local) == ("ok", "")


@pytest.mark.ci
def test_a_base_model_that_is_not_what_it_should_be_is_refused_by_the_job(local: LocalStack, tmp_path: Path) -> None:
    before = bundle(local)
    pickle = local.root / "blobs" / "models" / "tiny-llama" / "pytorch_model.bin"
    pickle.touch()
    refused = droptune(local, "import", TINY)
    pickle.unlink()
    assert refused.returncode == 1
    assert refused.stdout.endswith("failed: base_model_unfit: pytorch_model.bin is no safetensors file\n")
    assert bundle(local) == before, "what was imported before stays"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_base_model_of_the_tenants_own_is_added_imported_tuned_and_served(tmp_path: Path) -> None:
    local = LocalStack(tmp_path / "stack", {"INLINE_VALIDATION_MAX_BYTES": "1000"})  # validation is a job too
    try:
        models, own = local.root / "blobs" / "models", "acme/clinic-1"
        shutil.copytree(models / "tiny-llama", models / own)
        added = droptune(
            local, "add", str(models / own), "--id", own, "--license", "Apache-2.0", "--accelerator", "cpu"
        )
        assert added.returncode == 0, added.stdout + added.stderr
        imported = droptune(local, "import", own)
        assert imported.returncode == 0, imported.stdout + imported.stderr
        changes = merged(QUICK, {"base_model": own, "deployment": {"approval": "automatic", "rollout": [100]}})
        local.drop_project("clinic", rows("train.jsonl")[:64], rows("eval.jsonl")[:16], **changes)
        run = local.wait("clinic", {"deployed"}, within_s=600)
    finally:
        local.down()
    recipe = run["recipe"]
    assert (recipe["requested"]["base_model"], recipe["base"]["id"], recipe["base"]["terms"]["id"]) == (
        own,
        own,
        "Apache-2.0",
    )
