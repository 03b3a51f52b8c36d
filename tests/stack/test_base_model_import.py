"""The tiny base model on a running stack: its bundle is there from the start, and an import makes the same again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.stack.local import LocalStack

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
