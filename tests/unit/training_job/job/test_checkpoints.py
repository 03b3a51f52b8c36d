"""Which checkpoint a job goes on from."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

MARK = "complete.json"
DISK_OR_MEMORY = (
    *(OSError(number, errno.errorcode[number]) for number in (errno.EIO, errno.EINTR, errno.ENOSPC, errno.EACCES)),
    MemoryError(),
)


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


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


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
    "a folder as the mark": lambda here, _: put_folder(here / MARK),
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


@pytest.mark.parametrize("difference", ["run", "data_sha256", "recipe_sha256", "base_sha256"])
def test_a_checkpoint_of_another_run_data_recipe_or_base_is_never_resumed(
    difference: str, finished: Any, tmp_path: Path
) -> None:
    from training_job.job.checkpoints import Identity, newest_complete
    from training_job.model.base_folder import content_sha256

    folder = tmp_path / "checkpoints"
    shutil.copytree(finished.output / "checkpoints", folder)
    ours = json.loads((folder / "checkpoint-20" / MARK).read_text())["identity"]
    assert ours["base_sha256"] == content_sha256(finished.base)
    assert newest_complete(folder, Identity(**ours | {difference: "another"})) is None
    assert not list(folder.glob("checkpoint-*"))


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("place", ["hashes", "mark"])
@pytest.mark.parametrize("error", DISK_OR_MEMORY, ids=repr)
def test_a_checkpoint_that_could_not_be_read_is_not_said_to_be_damaged(
    error: Exception, place: str, finished: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training_job.job import checkpoints

    def fail(*_: Any) -> Any:
        raise error

    folder = finished.output / "checkpoints"
    ours = checkpoints.Identity(**json.loads((folder / "checkpoint-20" / MARK).read_text())["identity"])
    if place == "hashes":
        monkeypatch.setattr(checkpoints, "sha256_of", fail)
    else:
        monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(type(error)):
        checkpoints.newest_complete(folder, ours)
    monkeypatch.undo()
    assert checkpoints.newest_complete(folder, ours) == folder / "checkpoint-20"


def test_an_older_checkpoint_that_cannot_be_read_does_not_keep_the_newest_from_use(
    finished: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training_job.job import checkpoints
    from training_job.job.files import sha256_of

    def read(path: Path) -> str:
        if path.parent.name != "checkpoint-20":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return sha256_of(path)

    folder = finished.output / "checkpoints"
    ours = checkpoints.Identity(**json.loads((folder / "checkpoint-20" / MARK).read_text())["identity"])
    monkeypatch.setattr(checkpoints, "sha256_of", read)
    assert checkpoints.newest_complete(folder, ours) == folder / "checkpoint-20"
    assert len(list(folder.glob(f"checkpoint-*/{MARK}"))) == 2, "the older one is as it was"


class Killed(BaseException):
    """Nothing in between takes it for an error."""


class Operations:
    """Counts what changes files, and ends the process's work before the one of this number."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        import peft.peft_model
        import torch

        self.names: list[str] = []
        self.last: int | None = None
        places = [(torch, "save"), (peft.peft_model, "safe_save_file"), (os, "mkdir"), (os, "rmdir")]
        for place, name in [*places, *((os, name) for name in ("fsync", "replace", "unlink"))]:
            patch.setattr(place, name, partial(self.call, name, getattr(place, name)))

    def call(self, name: str, operation: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if len(self.names) == self.last:
            raise Killed
        self.names.append(name)
        return operation(*arguments, **named)


def test_a_kill_at_any_point_of_saving_loses_neither_the_newest_nor_the_best_checkpoint(
    bench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 10 is the best. At the save of step 30 the one of 20 must stay until that of 30 is complete."""
    from transformers import TrainerState
    from transformers.trainer_callback import ExportableState

    from shared.domain.results import TimeLimit
    from training_job.job import checkpoints
    from training_job.job.curve import Curve
    from training_job.job.runtime import RunningMetrics
    from training_job.methods.watch import Watch

    trainer, ours = bench(tmp_path).trainer(), checkpoints.Identity("run", "data", "recipe", "base")
    trainer.create_optimizer_and_scheduler(40)
    callbacks: list[Any] = [*trainer.callback_handler.callbacks, trainer.control]
    stateful: list[Any] = [one for one in callbacks if isinstance(one, ExportableState)]
    trainer.state = TrainerState(stateful_callbacks=stateful)
    watch = Watch(Curve(tmp_path), RunningMetrics(micro_batch_size=4), ours, {}, TimeLimit(60, "deadline"))
    folder, kept, problems = Path(trainer.args.output_dir), tmp_path / "kept", []

    def save(step: int) -> None:
        trainer.state.global_step, trainer.state.best_global_step = step, 10
        trainer._save_checkpoint(trainer.model, None)
        watch.on_save(trainer.args, trainer.state, trainer.control)

    save(10)
    save(20)
    shutil.copytree(folder, kept)
    operations = Operations(monkeypatch)
    save(30)
    names = list(operations.names)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-10", "checkpoint-30"]
    assert {"save", "safe_save_file"} <= set(names)
    deleting, files = names.index("unlink"), sum(1 for _ in (folder / "checkpoint-30").iterdir())
    assert names[names.index("replace") + 1 : deleting] == ["fsync"] * files, "it is on the disk before"
    assert set(names[deleting:]) == {"unlink", "rmdir"}
    for last in range(len(names)):
        operations.last = None
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        operations.names, operations.last = [], last
        with pytest.raises(Killed):
            save(30)
        operations.last = None
        found = checkpoints.newest_complete(folder, ours)
        marked = "replace" in names[:last]
        if found != folder / f"checkpoint-{30 if marked else 20}" or not checkpoints.is_whole(
            folder / "checkpoint-10", ours
        ):
            problems.append(f"before {names[last]}, operation {last}: {found}")
        if list(folder.glob("set-aside-*")):
            problems.append(f"before {names[last]}, operation {last}: set aside")
    assert problems == []
