"""Reinforcement rows become prompts for the model and fields for the graders. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.domain.errors import FailureClass, PermanentFailure
from shared.rendering import Bundle, normalised
from shared.rendering.check import LengthPolicy
from training_job.chat_rows import Row, data_failure, read_rows


@dataclass(frozen=True)
class Prompt:
    """A row as it is asked: token ids `[length]`, up to the assistant's turn, and the fields graders read."""

    number: int
    ids: list[int]
    item: dict[str, Any]


@dataclass(frozen=True)
class EncodedPrompts:
    """The prompts of one file that are used, and the numbers of those left out for their length."""

    prompts: list[Prompt]
    dropped: list[int]


def asked(bundle: Bundle, row: Row) -> list[int]:
    """Token ids of the text that asks for the next answer."""
    text = bundle.template.render(normalised(row["messages"]), row.get("tools"), ask=True)
    return list(bundle.tokenizer.encode(text, add_special_tokens=False).ids)


def encode_prompts(path: Path, bundle: Bundle, policy: LengthPolicy) -> EncodedPrompts:
    """Encode every prompt of a curated file. One that is too long is left out or refused: cut, it asks for less.

    Raises PermanentFailure of class data: `bad_row`, `row_not_renderable`, `row_too_long`, `no_rows`.
    """
    prompts, broken, long = [], [], []
    for number, row in enumerate(read_rows(path), start=1):
        try:
            ids = asked(bundle, row)
        except Exception:  # a template may raise anything, and may quote the row while doing so
            broken.append(number)
            continue
        if policy.limit is not None and len(ids) > policy.limit:
            long.append(number)
        else:
            prompts.append(Prompt(number, ids, row.get("item", {})))
    if broken:
        raise data_failure("row_not_renderable", "refused by the chat template", broken, path)
    if long and policy.over_length != "drop":
        raise data_failure("row_too_long", f"longer than {policy.limit} tokens", long, path)
    if not prompts:
        raise PermanentFailure(FailureClass.DATA, "no_rows", f"{path.name}: no row is left", path.name)
    return EncodedPrompts(prompts, long)
