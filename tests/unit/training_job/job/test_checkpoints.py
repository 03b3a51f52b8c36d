"""Which checkpoint a job goes on from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("difference", ["job", "data", "recipe", "torn", "unmarked"])
def test_a_checkpoint_that_is_not_whole_or_not_ours_is_never_resumed(
    difference: str, finished: Any, tmp_path: Path
) -> None:
    from training_job.job.checkpoints import MARK, Identity, newest_complete

    folder = tmp_path / "checkpoints"
    shutil.copytree(finished.output / "checkpoints", folder)
    ours = json.loads((folder / "checkpoint-20" / MARK).read_text())["identity"]
    assert newest_complete(folder, Identity(**ours)) == folder / "checkpoint-20"
    expected = None
    match difference:
        case "job":
            ours["job"] = "another"
        case "data":
            ours["data_sha256"] = "another"
        case "recipe":
            ours["recipe_sha256"] = "another"
        case "torn":
            (folder / "checkpoint-20" / "optimizer.pt").write_bytes(b"half")
            expected = folder / "checkpoint-18"
        case "unmarked":
            (folder / "checkpoint-20" / MARK).unlink()
            expected = folder / "checkpoint-18"
    assert newest_complete(folder, Identity(**ours)) == expected
    assert not (folder / "checkpoint-20").exists()
