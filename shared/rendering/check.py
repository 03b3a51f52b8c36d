"""What the validator learns of each row from the base model's tokenizer and template."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import orjson

from shared.rendering.bundle import Bundle
from shared.rendering.rows import Rendered, Row, Tokens, render_row, tokenise
from shared.rendering.template import TemplateNotTrainable

OverLength = Literal["reject", "drop", "truncate"]

# code -> severity, message, fix: rows of the validator's table of codes.
TOKEN_CODES: dict[str, tuple[Literal["error", "warning"], str, str]] = {
    "template_not_trainable": (
        "error",
        "The base model's chat template does not show which part of the row is the assistant's.",
        "Add {% generation %} blocks around the answer and its end token in the template, or take another base model.",
    ),
    "row_not_renderable": (
        "error",
        "The base model's chat template refuses the row (often: roles that do not take turns).",
        "Bring the messages into order: an optional system message, then user and assistant in turn.",
    ),
    "no_trainable_tokens": (
        "error",
        "Not one token of the row would be learned from.",
        "Give at least one assistant message text and a weight other than 0.",
    ),
    "special_token_in_text": (
        "error",
        "The text holds a control token of the base model, which would end or forge a message.",
        "Remove it from the text, or write it with a space in between.",
    ),
    "too_many_tokens": (
        "error",
        "The row has more tokens than the longest row allowed.",
        "Shorten or split it, raise method.hyperparameters.max_length_tokens, or set data.over_length.",
    ),
    "row_dropped": (
        "warning",
        "The row has more tokens than the longest row allowed and is left out (data.over_length: drop).",
        "Shorten or split it to keep it.",
    ),
    "row_truncated": (
        "warning",
        "The row has more tokens than the longest row allowed; its end is cut off (data.over_length: truncate).",
        "Shorten or split it to keep its end.",
    ),
    "truncated_to_nothing": (
        "warning",
        "Cut to the longest row allowed, nothing of the answer is left; the row is left out.",
        "Shorten what comes before the answer.",
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


def judge(row: Tokens, policy: LengthPolicy) -> RowTokens:
    """What becomes of a row by its length; the trainer asks the same."""
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


class TokenCheck:
    """Counts tokens of rows as the trainer will see them."""

    def __init__(self, bundle: Bundle, policy: LengthPolicy) -> None:
        self.bundle, self.policy = bundle, policy

    def rows(self, batch: Sequence[Row]) -> list[RowTokens]:
        """The batch's rows in order. Some hundred rows at a time keep the tokenizer busy and memory flat."""
        return self.judged(batch, self.rendered(batch))

    def rendered(self, batch: Sequence[Row]) -> list[Rendered | str]:
        """Each row's text, or the code of what the template has against it."""
        return [self._rendered(row) for row in batch]

    def judged(self, batch: Sequence[Row], rendered: Sequence[Rendered | str]) -> list[RowTokens]:
        """The second half of `rows`."""
        counted = tokenise(self.bundle, [row for row in rendered if isinstance(row, Rendered)])
        return [
            RowTokens(codes=(text,)) if isinstance(text, str) else self._judged(row, next(counted))
            for row, text in zip(batch, rendered, strict=True)
        ]

    def _rendered(self, row: Row) -> Rendered | str:
        try:
            return render_row(self.bundle, row)
        except TemplateNotTrainable:
            return "template_not_trainable"
        except Exception:  # a template may raise anything
            return "row_not_renderable"

    def _judged(self, row: Row, tokens: Tokens) -> RowTokens:
        judged = judge(tokens, self.policy)
        if not self._forged(row):
            return judged
        return RowTokens(judged.tokens, judged.kept, judged.trained, (*judged.codes, "special_token_in_text"))

    def _forged(self, row: Row) -> bool:
        # One search through the row's JSON costs less than a walk through its parts.
        written = orjson.dumps([row["messages"], row.get("tools")])
        return self._special.search(written) is not None

    @cached_property
    def _special(self) -> re.Pattern[bytes]:
        longest_first = sorted(self.bundle.special_tokens, key=len, reverse=True)
        return re.compile(b"|".join(re.escape(orjson.dumps(token)[1:-1]) for token in longest_first) or b"(?!)")
