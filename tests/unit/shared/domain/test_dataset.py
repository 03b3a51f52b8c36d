"""Curated versions."""

from __future__ import annotations

import pytest

from shared.domain.dataset import Policy
from tests.unit.shared.support import CURATED


@pytest.mark.parametrize(("source", "files"), [("file", ("train.jsonl",)), ("split", ("train.jsonl", "eval.jsonl"))])
def test_rows_that_were_dropped_are_in_the_held_out_file_too_if_it_was_split_off(
    source: str, files: tuple[str, ...]
) -> None:
    version = CURATED.model_copy(update={"policy": Policy(eval_source=source)})
    assert version.files_of_rows == files
