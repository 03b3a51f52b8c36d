"""Which checkpoint a job goes on from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
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


ODD_FACTS: dict[str, list[object]] = {"micro_batch_size": [None, "4", 0, 1.5], "probe_loss": ["x", [], True]}


def change_mark(name: str, value: object, checkpoint: Path, _: Path) -> None:
    mark = json.loads((checkpoint / MARK).read_text())
    (checkpoint / MARK).write_text(json.dumps({**mark, name: value}))


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
    **{
        f"{name} {value!r} in the mark": partial(change_mark, name, value)
        for name, values in ODD_FACTS.items()
        for value in values
    },
    "another file as the mark": lambda here, _: shutil.copy(here / "trainer_state.json", here / MARK),
}


@pytest.mark.few_cases(3)
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


@pytest.mark.parametrize("name", ["checkpoint-20.partial", "checkpoint-old", "checkpoint-", "checkpoint-020"])
def test_what_is_no_checkpoint_is_left_alone(name: str, finished: Any, tmp_path: Path) -> None:
    from training_job.job.checkpoints import Identity, newest_complete

    folder = tmp_path / "checkpoints"
    shutil.copytree(finished.output / "checkpoints", folder)
    ours = Identity(**json.loads((folder / "checkpoint-20" / MARK).read_text())["identity"])
    (folder / name).mkdir()
    (folder / "checkpoint-30").write_text("a file")
    assert newest_complete(folder, ours) == folder / "checkpoint-20"
    assert (folder / name).is_dir()


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
