"""Rows become text and tokens, and the part of them that loss falls on.

Loss falls on the assistant's messages, end-of-turn token included, and on no message of weight 0. A message of which
the template writes nothing but tokens and blanks is not learned.
"""

import contextlib
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import orjson
from tokenizers import Encoding

from shared.domain.prompts import Prompt, Row, learned_indices, message_of, tools_of
from shared.rendering.bundle import Bundle
from shared.rendering.template import Span, TemplateNotTrainable

# Tokens with their offsets take some 90 bytes each, so no more text than this is held as tokens at a time.
BATCH_CHARACTERS = 2**18


@dataclass(frozen=True, slots=True)
class Rendered:
    """A row's text, and the ranges of characters that loss falls on."""

    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """A row's tokens, and the ranges of token indices that loss falls on."""

    encoding: Encoding
    spans: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.encoding)

    def trained(self, limit: int | None = None) -> int:
        """How many tokens loss falls on, of the first `limit`."""
        end = len(self) if limit is None else limit
        return sum(max(0, min(last, end) - first) for first, last in self.spans)


def render_row(bundle: Bundle, row: Row) -> Rendered:
    """One row's text; assistant messages are found by the template's generation blocks, or by prefixes.

    Of plain text everything is learned, its end token too. Raises TemplateNotTrainable where the template has no
    blocks and does not preserve prefixes, and whatever the template raises.
    """
    if "text" in row:
        text = f"{bundle.opening}{row['text']}{bundle.named_tokens.get('eos_token', '')}"
        return Rendered(text, ((len(bundle.opening), len(text)),))
    text, spans = render_answers(bundle, row)
    return Rendered(text, tuple(span for span in spans.values() if not bundle.says_nothing(text, span)))


def render_answers(bundle: Bundle, row: Row) -> tuple[str, dict[int, Span]]:
    """The text of a dialogue, and where each message lies that loss falls on, by its index; raises as `render_row`."""
    find = _by_blocks if bundle.template.marked else _by_prefixes
    text, spans = find(bundle, normalized(row["messages"]), tools_of(row), learned_indices(row))
    return text, {index: _without_space_after_end_token(bundle, text, span) for index, span in spans.items()}


def render_prompt(bundle: Bundle, prompt: Prompt) -> Rendered:
    """The text that asks for the next answer; raises whatever the template raises."""
    return Rendered(bundle.template.render(normalized(prompt.messages), prompt.tools, ask=True), ())


def normalized(messages: Iterable[Row]) -> list[Row]:
    """Messages as chat templates expect them: no weight, no empty key, tool arguments as objects."""
    found = [message_of(message) for message in messages]
    for call in [call for message in found for call in message.get("tool_calls", ())]:
        function = call["function"]
        if isinstance(function["arguments"], str):
            with contextlib.suppress(orjson.JSONDecodeError):
                function["arguments"] = orjson.loads(function["arguments"])
    return found


def _by_blocks(bundle: Bundle, messages: list[Row], tools: Any, learned: list[int]) -> tuple[str, dict[int, Span]]:
    text, spans = bundle.template.render_marked(messages, tools)
    assistant = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    if len(spans) != len(assistant):
        raise TemplateNotTrainable(f"the chat template marks {len(spans)} of {len(assistant)} assistant messages")
    at = dict(zip(assistant, spans, strict=True))
    return text, {index: at[index] for index in learned}


def _by_prefixes(bundle: Bundle, messages: list[Row], tools: Any, learned: list[int]) -> tuple[str, dict[int, Span]]:
    """An answer is what its message adds to the text that asks for it."""
    template = bundle.template
    text = template.render(messages, tools)
    spans = {}
    for index in learned:
        before = template.render(messages[:index], tools, ask=True)
        after = template.render(messages[: index + 1], tools)
        if not (text.startswith(before) and text.startswith(after) and len(before) <= len(after)):
            message = "the chat template has no generation blocks and rewrites earlier messages when later ones come"
            raise TemplateNotTrainable(message)
        spans[index] = (len(before), len(after))
    return text, spans


def _without_space_after_end_token(bundle: Bundle, text: str, span: Span) -> Span:
    # Generation stops at the end token; the newline many templates put after it is never generated.
    stripped = text[slice(*span)].rstrip()
    return (span[0], span[0] + len(stripped)) if stripped.endswith(bundle.special_tokens) else span


def tokenize(bundle: Bundle, rows: Sequence[Rendered]) -> Iterator[Tokens]:
    """The rows' tokens in order, encoded in batches of about `BATCH_CHARACTERS`."""
    ends = accumulate(len(row.text) for row in rows)
    for _, some in groupby(zip(rows, ends, strict=True), lambda one: one[1] // BATCH_CHARACTERS):
        batch = [row for row, _ in some]
        encodings = bundle.tokenizer.encode_batch([row.text for row in batch], add_special_tokens=False)
        for row, encoding in zip(batch, encodings, strict=True):
            yield Tokens(encoding, tuple(_token_span(encoding, span, bundle.added) for span in row.spans))


def _token_span(encoding: Encoding, span: Span, added: Container[int]) -> Span:
    """Every token that holds a character of the span; a token may reach beyond it, a character be several."""
    start, end = span
    if start == end:
        return 0, 0
    first, last = encoding.char_to_token(start), encoding.char_to_token(end - 1)
    if first is None or last is None:  # the span begins or ends in text that the tokenizer drops
        return _token_span_by_search(encoding, span)
    if encoding.ids[first] in added and bounds(encoding, first)[0] < start:
        first += 1  # Phi-3's `<|assistant|>` takes the blanks of the answer
    following = max(first, last + 1)
    while following < len(encoding) and bounds(encoding, following)[0] < end:
        following += 1
    return first, following


def _token_span_by_search(encoding: Encoding, span: Span) -> Span:
    start, end = span
    indices = range(len(encoding))
    first = bisect_right(indices, start, key=lambda index: bounds(encoding, index)[1])
    return first, bisect_left(indices, end, lo=first, key=lambda index: bounds(encoding, index)[0])


def bounds(encoding: Encoding, index: int) -> Span:
    """The range of characters of a token."""
    span = encoding.token_to_chars(index)
    assert span is not None, "every token is of the text, for none is added to it"
    return span
