"""What the training image gives to a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_stack.azure_ml.image import variables_of
from tests.paths import ROOT
from tests.unit.local_stack.azure_ml.support import Local, job


def test_a_job_finds_our_code_because_the_training_image_says_where_it_is(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    local.client.submit(job("path", "echo $PYTHONPATH > ${{outputs.model}}/path"))
    local.finish("path")
    assert (local.blobs / "runs/path/model/path").read_text().strip() == str(ROOT)


def test_without_the_image_s_word_a_job_has_no_path_to_our_code(tmp_path: Path) -> None:
    silent = tmp_path / "Dockerfile"
    silent.write_text("WORKDIR /app\nENV A=1 \\\n  PATH=/opt/venv/bin:$PATH\n")
    assert variables_of(silent) == {"A": "1"}
