"""Checkpoints that count only when whole (`complete.json`, written last), and only for their run, data, recipe and
base. See docs/explanation/training.md for what is resumed, set aside or removed."""

import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from training_job.job.files import sha256_of, sync, write_json

MARK = "complete.json"


@dataclass(frozen=True)
class Identity:
    """What a checkpoint must agree on to be continued. Attempts of a run agree: another one goes on."""

    run: str
    data_sha256: str
    recipe_sha256: str
    base_sha256: str


class UnreadableCheckpoint(Exception):
    """The checkpoint at this path cannot be loaded, or was damaged while the job ran."""


def mark_complete(
    checkpoint: Path, identity: Identity, micro_batch_size: int, probe_loss: float | None = None, seconds: float = 0.0
) -> None:
    """Declare a checkpoint whole, with the loss of the rows probed and the `seconds` of all attempts."""
    facts: dict[str, Any] = {"micro_batch_size": micro_batch_size, "probe_loss": probe_loss, "seconds": seconds}
    facts |= {"identity": asdict(identity), "step": step_of(checkpoint), "sha256": hashes(checkpoint)}
    write_json(checkpoint / MARK, facts)
    sync(*(path for path in checkpoint.rglob("*") if path.is_file()))  # PEFT keeps a reference adapter in a folder


def keep_two(newest: Path, best_step: int | None) -> None:
    """Delete all checkpoints but the newest, which is complete, and the best; if that is the newest, the one before."""
    older = [path for path in by_step(newest.parent) if step_of(path) < step_of(newest)]
    kept = [path for path in older if step_of(path) == best_step] or older[-1:]
    for checkpoint in set(older).difference(kept):
        (checkpoint / MARK).unlink(missing_ok=True)  # first: half of a checkpoint is not to look like a damaged one
        shutil.rmtree(checkpoint, ignore_errors=True)


def by_step(folder: Path) -> list[Path]:
    """All checkpoints, the oldest first."""
    found = (path for path in folder.glob("checkpoint-*") if path.is_dir())
    return sorted((path for path in found if re.fullmatch(r"checkpoint-[1-9]\d*", path.name)), key=step_of)


def newest_complete(folder: Path, identity: Identity) -> Path | None:
    """The newest whole checkpoint of this very run. Deletes those without a mark, and sets others aside."""
    good: list[Path] = []
    for checkpoint in reversed(by_step(folder)):
        try:
            whole = is_whole(checkpoint, identity)
        except OSError:
            if not good:
                raise
            continue
        if whole:
            good.append(checkpoint)
        elif (checkpoint / MARK).exists():
            set_aside(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return good[0] if good else None


def set_aside(checkpoint: Path) -> None:
    """Keep a checkpoint for people to look at, under a name from which nothing is resumed."""
    print(f"{checkpoint.name} is damaged, or of other data or another recipe; it is set aside", flush=True)
    aside = checkpoint.with_name(f"set-aside-{step_of(checkpoint)}")
    shutil.rmtree(aside, ignore_errors=True)
    checkpoint.rename(aside)


def withdraw(folder: Path) -> None:
    """Nothing goes on from these checkpoints any more: the run failed because of its own state."""
    for mark in folder.glob(f"checkpoint-*/{MARK}"):
        mark.unlink(missing_ok=True)


def mark_of(checkpoint: Path) -> dict[str, Any]:
    """What its completion mark says; empty if there is none, or something else in its place."""
    try:
        mark = orjson.loads((checkpoint / MARK).read_bytes())
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, orjson.JSONDecodeError):
        return {}
    return mark if isinstance(mark, dict) else {}


def step_of(checkpoint: Path) -> int:
    """Optimizer step at which a checkpoint was taken."""
    return int(checkpoint.name.rpartition("-")[2])


def is_whole(checkpoint: Path, identity: Identity) -> bool:
    """Whether each file is as it was when the checkpoint of this step was completed."""
    expected = {"identity": asdict(identity), "step": step_of(checkpoint), "sha256": hashes(checkpoint)}
    mark = mark_of(checkpoint)
    size, loss = mark.get("micro_batch_size"), mark.get("probe_loss")
    can_be_used = type(size) is int and size > 0 and (loss is None or type(loss) is float)
    return can_be_used and expected.items() <= mark.items()


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 by path of the files of a folder but its mark, and hidden ones, which only mounts leave."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: sha256_of(path) for name, path in files.items() if MARK not in path.name and "/." not in f"/{name}"}
