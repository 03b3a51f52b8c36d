"""Training rows that choose the checkpoint and are not trained on; training never reads eval.jsonl. Free of torch."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from shared.domain.planning.methods import MOST_SELECTED, selection_rows
from shared.domain.prompts import Row, prompt_of
from shared.domain.recipe import ResolvedRecipe
from shared.domain.row_fields import group_of, joined
from training_job.data.chat_rows import Encoded, EncodedFile

PROBED_ROWS = 8


@dataclass(frozen=True)
class EncodedData:
    """The training rows of a version, encoded: those that are trained on, and those of selection, if any."""

    train: Sequence[Any]
    selection: Sequence[Any]

    @classmethod
    def of(cls, file: EncodedFile[Any], path: Path, recipe: ResolvedRecipe) -> Self:
        """The rows of a file that are used, divided."""
        lines, used = path.read_bytes().splitlines(), sorted({row.number for row in file.rows})
        drawn = selected([lines[n - 1] for n in used], recipe.requested.data.split_group, recipe.hyperparameters.seed)
        chosen = {used[i] for i in drawn}
        parts: tuple[list[Any], list[Any]] = ([], [])
        for row in file.rows:  # there may be several of a row
            parts[row.number in chosen].append(row)
        return cls(*parts)

    @property
    def probe(self) -> Sequence[Encoded]:
        """Some rows on which the merged model is compared with its adapter."""
        return [row.probed for row in (self.selection or self.train)[:PROBED_ROWS]]


def selected(lines: Sequence[bytes], group: str | None, seed: int) -> frozenset[int]:
    """Indices of the canonical rows that select, a function of the set of rows and the seed. Rows with one prompt, or
    one value of `group`, stay together. None where that is more than may be left out of training."""
    units = _units([_keys(orjson.loads(line), line, group) for line in lines])
    hashes = [hashlib.sha256(b"%d\0%b" % (seed, line)).digest() for line in lines]
    drawn = sorted(units, key=lambda unit: min(hashes[i] for i in unit))
    target, found = selection_rows(len(lines)), set[int]()
    for unit in drawn:
        if len(found) + len(unit) <= target:
            found.update(unit)
    smallest = min(drawn, key=len, default=[])
    if not found and len(smallest) <= min(MOST_SELECTED, len(lines) // 5):
        found.update(smallest)
    return frozenset(found)


def _keys(row: Row, line: bytes, group: str | None) -> tuple[Any, ...]:
    """What other rows may share with this one: its prompt, and its group."""
    prompt = line if "text" in row else orjson.dumps(prompt_of(row).body(), option=orjson.OPT_SORT_KEYS)
    of_group = None if group is None else group_of(row.get("item", {}), group)
    return hashlib.sha256(prompt).digest(), of_group


def _units(rows: Sequence[tuple[Any, ...]]) -> list[list[int]]:
    """Indices of the rows that share something, also by way of others."""
    first: dict[tuple[int, Any], int] = {}
    shared = ((place, key, i) for i, keys in enumerate(rows) for place, key in enumerate(keys) if key is not None)
    smallest = dict(joined((first.setdefault((place, key), i), i) for place, key, i in shared))
    units: dict[int, list[int]] = {}
    for i in range(len(rows)):
        units.setdefault(smallest.get(i, i), []).append(i)
    return list(units.values())
