"""Prompts as the trainer reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.rendering.check import LengthPolicy


def test_prompts_have_the_tokens_that_are_asked_with_at_evaluation_and_that_trl_would_make(
    tmp_path: Path, tokenizer: Any, bundle: Any, write_data: Any, prompts: list[Any]
) -> None:
    from training_job.data.chat_rows import encode_prompts
    from training_job.evaluation.answers import question

    talk = {"messages": [{"role": "system", "content": "Be short."}, *prompts[3]["messages"]], "item": {}}
    data = write_data(tmp_path / "d", [prompts[0], talk], prompts[:1])
    read = encode_prompts(data / "train.jsonl", bundle, LengthPolicy(256, "reject")).rows
    for row, ours in zip((prompts[0], talk), read, strict=True):
        theirs = tokenizer.apply_chat_template([row["messages"]], add_generation_prompt=True, return_dict=True)
        assert ours.ids == theirs["input_ids"][0] == question(bundle, row, 1).ids


def test_a_prompt_that_is_too_long_is_never_cut(
    tmp_path: Path, bundle: Any, write_data: Any, prompts: list[Any]
) -> None:
    from shared.domain.errors import PermanentFailure
    from training_job.data.chat_rows import encode_prompts

    long = {"messages": [{"role": "user", "content": "bolt " * 200}], "item": {}}
    file = write_data(tmp_path / "d", [*prompts[:2], long], prompts[:1]) / "train.jsonl"
    dropped = encode_prompts(file, bundle, LengthPolicy(100, "drop"))
    assert (len(dropped.rows), dropped.dropped) == (2, [3])
    for policy in ("reject", "truncate"):
        with pytest.raises(PermanentFailure) as failure:
            encode_prompts(file, bundle, LengthPolicy(100, policy))
        assert failure.value.problem.code == "row_too_long"
