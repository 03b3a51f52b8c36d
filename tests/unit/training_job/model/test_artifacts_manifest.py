"""Where a model comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training_job.job.files import ADAPTER_FILE, sha256_of
from training_job.job.setup import Setup
from training_job.model.artifacts import lineage


@pytest.mark.parametrize("run", [None, "run-0123456789ab"])
def test_a_model_names_the_run_and_the_adapter_that_it_was_trained_from(
    run: str | None, resolved: Any, tokenizer: Any, tmp_path: Path
) -> None:
    (tmp_path / ADAPTER_FILE).write_bytes(b"weights")
    setup = Setup(tmp_path, tmp_path, resolved(continued_from=run), tokenizer, 20, 4, tmp_path if run else None)
    sha256 = sha256_of(tmp_path / ADAPTER_FILE)
    assert lineage(setup) == ({"run": run, "adapter_sha256": sha256} if run else None)
