"""Reinforcement rows become prompts for the model and fields for the graders. Free of torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.rendering import Bundle, tokenize
from shared.rendering.check import LengthPolicy, apply_length_policy_to_prompt
from training_job.data.chat_rows import Codes, EncodedFile, encoded_file, read_all, read_rows


@dataclass(frozen=True)
class EncodedPrompt:
    """A row without its answer: token ids `[length]`, up to the assistant's turn, and the fields graders read."""

    number: int
    ids: list[int]
    item: dict[str, Any]


def encode_prompts(path: Path, bundle: Bundle, policy: LengthPolicy) -> EncodedFile[EncodedPrompt]:
    """Encode every prompt of a curated file. One that is too long is left out or refused: cut, it asks for less.

    Raises PermanentFailure of class data: `bad_row`, `row_not_renderable`, `row_too_long`, `no_rows`.
    """
    rows = read_rows(path, lambda row: row["messages"][0]["role"])
    texts = [text for (text,) in read_all(path, bundle, rows)]
    found: Codes = {}
    prompts = []
    for number, (row, tokens) in enumerate(zip(rows, tokenize(bundle, texts), strict=True), start=1):
        checked = apply_length_policy_to_prompt(tokens, policy)
        for code in checked.codes:
            found.setdefault(code, []).append(number)
        if checked.kept:
            prompts.append(EncodedPrompt(number, list(tokens.encoding.ids), row.get("item", {})))
    return encoded_file(prompts, found, policy, path)
