"""The manifest of a curated version."""

from __future__ import annotations

from shared.domain.dataset import DatasetRef, Policy
from shared.validation.curated import curated_version

RECIPE = b"base_model: droptune/tiny-llama\n"


def test_the_manifest_says_what_was_read_from_where_and_by_which_rules(check, rows) -> None:
    source = DatasetRef(path="datasets/part-codes/train.jsonl", etag="e", size_bytes=1, sha256="0" * 64)
    checked = check(b"\n" + rows(300, fault="pump"), recipe=b"data: {validation_split: 0.2, split_group: fault}")
    assert checked.errors == ["no_eval_rows"]
    checked = check(b"\n" + rows(300), recipe=b"data: {validation_split: 0.2}")
    manifest = curated_version(checked.result, "part-codes", source)
    assert manifest.version == checked.result.version
    assert (manifest.rows_read, manifest.rows_dropped, manifest.train_rows, manifest.eval_rows) == (300, 0, 240, 60)
    assert manifest.policy == Policy(
        eval_source="split", validation_split=0.2, split_group=None, seed=42, near_duplicates="grouped"
    )
    assert (manifest.format, manifest.container, manifest.validator) == ("chat", "jsonl", "4")
    assert curated_version(check(rows(60), rows(20, start=100)).result, "x", source).policy == Policy(
        eval_source="file"
    )
