"""Chat rows become token ids and labels, with the tokenizer's own template. Free of torch.

Loss falls on assistant tokens only, end-of-turn token included, and not on messages of weight 0.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson

from shared.domain.errors import FailureClass, PermanentFailure

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
Row = dict[str, Any]
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


class TemplateNotTrainable(Exception):
    """The chat template does not show which tokens an assistant message adds."""


@dataclass(frozen=True)
class Encoded:
    """One row: token ids `[length]` and labels `[length]`, IGNORED where no loss falls."""

    number: int
    input_ids: list[int]
    labels: list[int]

    @property
    def trainable(self) -> bool:
        return any(label != IGNORED for label in self.labels)


@dataclass(frozen=True)
class EncodedRows:
    """The rows of one file that are used, and the numbers of those dropped for their length."""

    rows: list[Encoded]
    dropped: list[int]


def read_rows(path: Path) -> list[Row]:
    """Canonical rows of a curated file, in order; row n is line n."""
    rows, broken = [], []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = orjson.loads(line)
            row["messages"][0]["role"]
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
            broken.append(number)
        else:
            rows.append(row)
    if broken:
        raise data_failure("bad_row", "not chat rows", broken, path)
    return rows


def encode_file(
    path: Path, tokenizer: PreTrainedTokenizerBase, max_tokens: int, over_length: Literal["reject", "drop"]
) -> EncodedRows:
    """Encode every row of a curated file.

    Raises PermanentFailure of class data, listing all rows concerned: `row_not_renderable`,
    `no_trainable_tokens`, `row_too_long` (only where over_length is reject), `no_rows`; of class recipe:
    `template_not_trainable`.
    """
    encoded, broken = [], []
    for number, row in enumerate(read_rows(path), start=1):
        try:
            encoded.append(encode_row(tokenizer, row, number))
        except TemplateNotTrainable as error:
            raise PermanentFailure(FailureClass.RECIPE, "template_not_trainable", str(error)) from error
        except Exception:  # a template may raise anything, and may quote the row while doing so
            broken.append(number)
    if broken:
        raise data_failure("row_not_renderable", "refused by the chat template", broken, path)
    silent = [row.number for row in encoded if not row.trainable]
    if silent:
        raise data_failure("no_trainable_tokens", "without a single token to learn from", silent, path)
    long = [row.number for row in encoded if len(row.input_ids) > max_tokens]
    if long and over_length == "reject":
        raise data_failure("row_too_long", f"longer than {max_tokens} tokens", long, path)
    kept = [row for row in encoded if len(row.input_ids) <= max_tokens]
    if not kept:
        raise PermanentFailure(FailureClass.DATA, "no_rows", f"{path.name}: no row is left", path.name)
    return EncodedRows(kept, long)


def encode_row(tokenizer: PreTrainedTokenizerBase, row: Row, number: int = 1) -> Encoded:
    """Encode one row; its assistant messages are found by the template's generation markers, or by prefixes.

    Raises TemplateNotTrainable where the template has no markers and does not preserve prefixes.
    """
    messages, tools = normalised(row["messages"]), row.get("tools")
    if _GENERATION.search(str(tokenizer.chat_template)):
        ids, spans = _spans_by_markers(tokenizer, messages, tools)
    else:
        ids, spans = _spans_by_prefixes(tokenizer, messages, tools)
    labels = [IGNORED] * len(ids)
    spoken = [message for message in row["messages"] if message["role"] == "assistant"]
    for message, (start, end) in zip(spoken, spans, strict=True):
        if message.get("weight", 1):
            labels[start:end] = ids[start:end]
    return Encoded(number, ids, labels)


def normalised(messages: Iterable[Row]) -> list[Row]:
    """Messages as chat templates expect them: no weight, tool arguments as objects rather than JSON text."""
    return [_normalised(message) for message in messages]


def _normalised(message: Row) -> Row:
    kept = {key: value for key, value in message.items() if key != "weight"}
    if kept.get("tool_calls"):
        kept["tool_calls"] = [_with_object_arguments(call) for call in kept["tool_calls"]]
    return kept


def _with_object_arguments(call: Row) -> Row:
    function = dict(call["function"])
    if isinstance(function.get("arguments"), str):
        with contextlib.suppress(orjson.JSONDecodeError):
            function["arguments"] = orjson.loads(function["arguments"])
    return {**call, "function": function}


def render(tokenizer: PreTrainedTokenizerBase, messages: list[Row], tools: Any, *, ask: bool = False) -> str:
    """The template's text; `ask` opens the assistant's turn."""
    text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=ask)
    assert isinstance(text, str)
    return text


def _spans_by_markers(
    tokenizer: PreTrainedTokenizerBase, messages: list[Row], tools: Any
) -> tuple[list[int], list[tuple[int, int]]]:
    answer = tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = list(answer["input_ids"]), list(answer["assistant_masks"])
    spans = _runs(mask)
    expected = sum(message["role"] == "assistant" for message in messages)
    if len(spans) != expected:
        raise TemplateNotTrainable(f"the template marks {len(spans)} of {expected} assistant messages")
    return ids, spans


def _runs(mask: list[int]) -> list[tuple[int, int]]:
    """Half-open index ranges of consecutive ones."""
    framed = [0, *mask, 0]
    edges = [i for i in range(len(mask) + 1) if framed[i] != framed[i + 1]]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _spans_by_prefixes(
    tokenizer: PreTrainedTokenizerBase, messages: list[Row], tools: Any
) -> tuple[list[int], list[tuple[int, int]]]:
    text = render(tokenizer, messages, tools)
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoding["offset_mapping"]
    spans = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = render(tokenizer, messages[:index], tools, ask=True)
        after = render(tokenizer, messages[: index + 1], tools)
        if not (text.startswith(before) and text.startswith(after)):
            raise TemplateNotTrainable("the chat template has no generation markers and rewrites earlier messages")
        end = _without_space_after_end_token(tokenizer, after)
        inside = [i for i, (a, b) in enumerate(offsets) if a >= len(before) and b <= end and a < b]
        spans.append((inside[0], inside[-1] + 1) if inside else (0, 0))
    return list(encoding["input_ids"]), spans


def _without_space_after_end_token(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    # Generation stops at the end token; the newline many templates put after it is never generated.
    stripped = text.rstrip()
    ends = tuple(token for token in tokenizer.all_special_tokens if token)
    return len(stripped) if ends and stripped.endswith(ends) else len(text)


def template_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of the chat template, compared between validation, training and serving."""
    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()


def data_failure(code: str, what: str, numbers: list[int], path: Path) -> PermanentFailure:
    """A data failure that names rows by number and quotes none of them."""
    shown = ", ".join(map(str, numbers[:20]))
    if len(numbers) > 20:
        shown += f" and {len(numbers) - 20} more"
    rows = "row" if len(numbers) == 1 else "rows"
    message = f"{path.name}: {len(numbers)} {rows} {what}: {rows} {shown}"
    return PermanentFailure(FailureClass.DATA, code, message, path.name)
