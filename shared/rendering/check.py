"""What the validator learns of each row from the base model's tokenizer and template."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import orjson

from shared.domain.findings import ProblemCode, error, warning
from shared.rendering.bundle import Bundle
from shared.rendering.rows import SIDES, Rendered, Row, Tokens, answered, render_prompt, render_row, tokenize
from shared.rendering.template import TemplateNotTrainable

OverLength = Literal["reject", "drop", "truncate"]
Readings = tuple[Rendered, ...]

TOKEN_CODES: dict[str, ProblemCode] = {
    "tokenizer_missing": warning(
        "The tokenizer of {detail} is not in the store, so rows are counted in characters: what is too long, and what "
        "teaches nothing, is found only when the training job runs.",
        "Import the base model (droptune base-models import), which puts its tokenizer there.",
    ),
    "no_tokenizer": error("{detail}.", "Import the base model again."),
    "tokenizer_damaged": error("{detail}.", "Import the base model again."),
    "no_chat_template": error("{detail}.", "Take another base model, or give this one a chat template."),
    "invalid_chat_template": error("{detail}.", "Mend the base model's chat template."),
    "multiple_chat_templates": error("{detail}.", "Keep one chat template in the base model's folder."),
    "template_not_trainable": error(
        "The base model's chat template does not show which part of the row is the assistant's.",
        "Add {% generation %} blocks around the answer and its end token in the template, or take another base model.",
    ),
    "row_not_renderable": error(
        "The base model's chat template refuses the row (often: roles that do not take turns).",
        "Bring the messages into order: an optional system message, then user and assistant in turn.",
    ),
    "no_trainable_tokens": error(
        "Not one token of the row would be learned from.",
        "Give at least one assistant message text and a weight other than 0.",
    ),
    "special_token_in_text": error(
        "The text holds a control token of the base model, which would end or forge a message.",
        "Remove it from the text, or write it with a space in between.",
    ),
    "too_many_tokens": error(
        "The row has more tokens than the longest row allowed.",
        "Shorten or split it, raise method.hyperparameters.max_length_tokens, or set data.over_length.",
    ),
    "row_dropped": warning(
        "The row has more tokens than the longest row allowed and is left out (data.over_length: drop).",
        "Shorten or split it to keep it.",
    ),
    "row_truncated": warning(
        "The row has more tokens than the longest row allowed; its end is cut off (data.over_length: truncate).",
        "Shorten or split it to keep its end.",
    ),
    "truncated_to_nothing": warning(
        "Cut to the longest row allowed, nothing of the answer is left; the row is left out.",
        "Shorten what comes before the answer.",
    ),
    "no_row_left": error(
        "Every row has more tokens than the longest row allowed, and none is left.",
        "Raise method.hyperparameters.max_length_tokens, or split the rows.",
    ),
}


@dataclass(frozen=True, slots=True)
class LengthPolicy:
    """`limit`: most tokens a row may have, None for no limit."""

    limit: int | None
    over_length: OverLength


@dataclass(frozen=True, slots=True)
class RowTokens:
    """One row in tokens: all of them, those that are kept (0 where it is left out), those that loss falls on.

    `codes` are keys of `TOKEN_CODES`. A row the template refuses has no tokens.
    """

    tokens: int = 0
    kept: int = 0
    trained: int = 0
    codes: tuple[str, ...] = ()


def apply_length_policy(row: Tokens, policy: LengthPolicy) -> RowTokens:
    """What becomes of a row by its length. Validator and trainer share it."""
    tokens, trained = len(row), row.trained()
    if not trained:
        return RowTokens(tokens, codes=("no_trainable_tokens",))
    if policy.limit is None or tokens <= policy.limit:
        return RowTokens(tokens, tokens, trained)
    if policy.over_length == "reject":
        return RowTokens(tokens, codes=("too_many_tokens",))
    if policy.over_length == "drop":
        return RowTokens(tokens, codes=("row_dropped",))
    left = row.trained(policy.limit)
    if not left:
        return RowTokens(tokens, codes=("truncated_to_nothing",))
    return RowTokens(tokens, policy.limit, left, ("row_truncated",))


def apply_length_policy_to_prompt(row: Tokens, policy: LengthPolicy) -> RowTokens:
    """The same for a prompt. A cut prompt would ask something else, so one that is too long is refused or dropped."""
    tokens = len(row)
    if policy.limit is None or tokens <= policy.limit:
        return RowTokens(tokens, tokens)
    return RowTokens(tokens, codes=("row_dropped" if policy.over_length == "drop" else "too_many_tokens",))


class TokenCheck:
    """Counts tokens of canonical rows as the trainer will see them.

    A preference pair is two readings, the prompt with either answer; it has the tokens of the longer one. A prompt
    for reinforcement is read up to the answer, and nothing of it is learned.
    """

    def __init__(self, bundle: Bundle, policy: LengthPolicy) -> None:
        self.bundle, self.policy = bundle, policy

    def rows(self, batch: Sequence[Row]) -> list[RowTokens]:
        """The batch's rows in order. Some hundred rows at a time keep the tokenizer busy and memory flat."""
        return self.count(batch, self.render(batch))

    def render(self, batch: Sequence[Row]) -> list[Readings | str]:
        """Each row's texts, or the code of why the template refuses it."""
        return [self._render(row) for row in batch]

    def count(self, batch: Sequence[Row], rendered: Sequence[Readings | str]) -> list[RowTokens]:
        """The second half of `rows`."""
        counted = tokenize(self.bundle, [one for row in rendered if not isinstance(row, str) for one in row])
        return [
            RowTokens(codes=(texts,)) if isinstance(texts, str) else self._count(row, [next(counted) for _ in texts])
            for row, texts in zip(batch, rendered, strict=True)
        ]

    def _render(self, row: Row) -> Readings | str:
        try:
            return readings(self.bundle, row)
        except TemplateNotTrainable:
            return "template_not_trainable"
        except Exception:  # a template may raise anything
            return "row_not_renderable"

    def _count(self, row: Row, texts: list[Tokens]) -> RowTokens:
        if asks_only(row):
            counted = apply_length_policy_to_prompt(texts[0], self.policy)
        else:
            counted = _pair([apply_length_policy(text, self.policy) for text in texts])
        if not self._holds_special_token(row):
            return counted
        return RowTokens(counted.tokens, counted.kept, counted.trained, (*counted.codes, "special_token_in_text"))

    def _holds_special_token(self, row: Row) -> bool:
        # One search through the row's JSON costs less than a walk through its parts.
        written = orjson.dumps([part for name, part in row.items() if name != "item"])
        return self._special.search(written) is not None

    @cached_property
    def _special(self) -> re.Pattern[bytes]:
        longest_first = sorted(self.bundle.special_tokens, key=len, reverse=True)
        return re.compile(b"|".join(re.escape(orjson.dumps(token)[1:-1]) for token in longest_first) or b"(?!)")


def readings(bundle: Bundle, row: Row) -> Readings:
    """A canonical row of any kind as the texts that a trainer reads of it. Raises as `render_row` does."""
    if "input" in row:
        return tuple(render_row(bundle, answered(row, side)) for side in SIDES)
    return ((render_prompt if asks_only(row) else render_row)(bundle, row),)


def asks_only(row: Row) -> bool:
    """Whether it is a prompt for reinforcement."""
    return "messages" in row and row["messages"][-1]["role"] != "assistant"


def _pair(sides: list[RowTokens]) -> RowTokens:
    """Both answers of a pair as one row: what is wrong with one is wrong with the pair."""
    codes = tuple(dict.fromkeys(code for side in sides for code in side.codes))
    kept = max(side.kept for side in sides) if all(side.kept for side in sides) else 0
    trained = sum(side.trained for side in sides) if kept else 0
    return RowTokens(max(side.tokens for side in sides), kept, trained, codes)
