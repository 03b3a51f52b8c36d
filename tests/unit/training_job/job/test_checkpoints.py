"""Which checkpoint a job goes on from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MARK = "complete.json"


def zero(path: Path, keep: int = 0) -> None:
    """What a mount that lost pages leaves: the right size, without the bytes."""
    content = path.read_bytes()
    path.write_bytes(content[:keep] + bytes(len(content) - keep))


def header_bytes(weights: Path) -> int:
    return 8 + int.from_bytes(weights.read_bytes()[:8], "little")


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "zeros in the adapter": lambda here, _: zero(
        here / "adapter_model.safetensors", header_bytes(here / "adapter_model.safetensors")
    ),
    "zeros in the optimizer": lambda here, _: zero(here / "optimizer.pt"),
    "zeros in the state": lambda here, _: zero(here / "trainer_state.json"),
    "zeros in the mark": lambda here, _: zero(here / MARK),
    "torn": lambda here, _: (here / "optimizer.pt").write_bytes(b"half"),
    "unmarked": lambda here, _: (here / MARK).unlink(),
    "a file gone": lambda here, _: (here / "scheduler.pt").unlink(),
    "a file more": lambda here, _: (here / "model.safetensors").write_bytes(b"x"),
    "an older file": lambda here, older: shutil.copy(older / "adapter_model.safetensors", here),
    "all of an older one": lambda here, older: shutil.copytree(older, here, dirs_exist_ok=True),
    "a mark that is no object": lambda here, _: (here / MARK).write_text("[]"),
    "another file as the mark": lambda here, _: shutil.copy(here / "trainer_state.json", here / MARK),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_is_not_as_it_was_written_is_never_resumed(
    damage: str, finished: Any, tmp_path: Path
) -> None:
    from training_job.job.checkpoints import Identity, newest_complete

    folder = tmp_path / "checkpoints"
    shutil.copytree(finished.output / "checkpoints", folder)
    ours = Identity(**json.loads((folder / "checkpoint-20" / MARK).read_text())["identity"])
    assert newest_complete(folder, ours) == folder / "checkpoint-20"
    DAMAGES[damage](folder / "checkpoint-20", folder / "checkpoint-18")
    assert newest_complete(folder, ours) == folder / "checkpoint-18"
    assert not (folder / "checkpoint-20").exists()
    assert (folder / "set-aside-20").exists() == (damage != "unmarked")


@pytest.mark.parametrize("difference", ["run", "data_sha256", "recipe_sha256"])
def test_a_checkpoint_of_another_run_data_or_recipe_is_never_resumed(
    difference: str, finished: Any, tmp_path: Path
) -> None:
    from training_job.job.checkpoints import Identity, newest_complete

    folder = tmp_path / "checkpoints"
    shutil.copytree(finished.output / "checkpoints", folder)
    ours = json.loads((folder / "checkpoint-20" / MARK).read_text())["identity"]
    assert newest_complete(folder, Identity(**ours | {difference: "another"})) is None
    assert not list(folder.glob("checkpoint-*"))
