"""Checkpoints that count only when whole, and only for the job they belong to.

The trainer writes many files; `complete.json` is written last and lists them with their sizes. What a kill
or a torn upload left is removed, never resumed from.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import orjson

from training_job.job.files import write_json

MARK = "complete.json"


@dataclass(frozen=True)
class Identity:
    """What a checkpoint must agree on to be continued."""

    job: str
    data_sha256: str
    recipe_sha256: str


def mark_complete(checkpoint: Path, identity: Identity, micro_batch_size: int) -> None:
    """Declare a checkpoint whole, written with micro batches of so many rows."""
    mark = {"identity": identity.__dict__, "micro_batch_size": micro_batch_size, "sizes": _sizes(checkpoint)}
    write_json(checkpoint / MARK, mark)


def newest_complete(folder: Path, identity: Identity, *, delete_others: bool = True) -> Path | None:
    """The newest whole checkpoint of this very job; `delete_others` deletes those that are not whole or another's."""
    found = sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True)
    good = [checkpoint for checkpoint in found if _is_complete(checkpoint, identity)]
    for checkpoint in set(found) - set(good) if delete_others else ():
        shutil.rmtree(checkpoint)
    return good[0] if good else None


def micro_batch_size_of(checkpoint: Path) -> int:
    """Rows of its micro batches: less than planned where memory had run out."""
    return int(orjson.loads((checkpoint / MARK).read_bytes())["micro_batch_size"])


def step_of(checkpoint: Path) -> int:
    """Optimizer step at which a checkpoint was taken."""
    return int(checkpoint.name.rpartition("-")[2])


def _is_complete(checkpoint: Path, identity: Identity) -> bool:
    try:
        mark = orjson.loads((checkpoint / MARK).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return bool((mark["identity"], mark["sizes"]) == (identity.__dict__, _sizes(checkpoint)))


def _sizes(checkpoint: Path) -> dict[str, int]:
    files = (path for path in sorted(checkpoint.rglob("*")) if path.is_file())
    return {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files if MARK not in path.name}
