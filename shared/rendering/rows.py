"""Rows become text and tokens, and the part of them that loss falls on: the assistant's messages with their end tokens,
but those of weight 0 or of tokens and blanks alone. What stands before an answer asks for it when served, to the
letter."""

import contextlib
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from typing import Any

import orjson
from tokenizers import Encoding

from shared.domain.prompts import Prompt, Row, learned_indices, message_of, tools_of, with_loss_on
from shared.rendering.bundle import SAMPLE, Bundle
from shared.rendering.template import Span, TemplateNotTrainable, TooManyTurns

# Tokens with their offsets take some 90 bytes each, so no more text than this is held as tokens at a time.
BATCH_CHARACTERS = 2**18
# Of one row. Both grow with the square of its turns: its texts, where each answer has one of its own (memory), and all
# that is rendered to ask for its answers (some seconds).
TEXT_CHARACTERS, PROMPT_CHARACTERS = 4_000_000, 100_000_000


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text, the ranges of characters that loss falls on, and what is read in it, as a row."""

    text: str
    spans: tuple[Span, ...]
    row: Row = field(default_factory=dict)


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


def render_row(bundle: Bundle, row: Row) -> tuple[Rendered, ...]:
    """The texts that are learned of one row: several where the template writes earlier turns anew; all of plain text.
    Raises TemplateNotTrainable where the template shows no answer behind what asks for it, TooManyTurns, and what it
    raises."""
    if "text" in row:
        text = f"{bundle.opening}{row['text']}{bundle.named_tokens.get('eos_token', '')}"
        return (Rendered(text, ((len(bundle.opening), len(text)),), row),)
    texts = []
    for text, spans in render_answers(bundle, row):
        read = row if len(spans) == len(learned_indices(row)) else with_loss_on(row, spans)
        seen = tuple(span for span in spans.values() if not bundle.says_nothing(text, span))
        texts.append(Rendered(text, seen, read))
    return tuple(text for text in texts if text.spans) or tuple(texts[:1])


def render_answers(bundle: Bundle, row: Row) -> Iterator[tuple[str, dict[int, Span]]]:
    """The texts of a dialogue, and where each message lies that loss falls on, by its index; raises as `render_row`."""
    messages, tools = normalized(row["messages"]), tools_of(row)
    text, spans, characters, rendered = "", dict[int, Span](), 0, 0
    for index in learned_indices(row):
        if index == 0:  # nothing asks for it
            continue
        prompt = bundle.template.render(messages[:index], tools, ask=True)
        if spans and not prompt.startswith(text[: max(spans.values())[1]]):
            yield text, spans
            spans, characters = {}, characters + len(text)
        rendered += len(prompt)
        if characters > TEXT_CHARACTERS or rendered > PROMPT_CHARACTERS:
            raise TooManyTurns
        answer = _answer(bundle, messages[: index + 1], tools, prompt)
        text, written = prompt + answer, answer.rstrip()
        # Generation stops at the end token; the newline many templates put after it is never generated.
        seen = written if written.endswith(bundle.special_tokens) else answer
        spans[index] = (len(prompt), len(prompt) + len(seen))
    yield (text, spans) if spans else (bundle.template.render(messages, tools), {})


def _answer(bundle: Bundle, messages: list[Row], tools: Any, prompt: str) -> str:
    """What the template writes of the last message, to follow the prompt that asks for it."""
    whole = bundle.template.render(messages, tools).removesuffix(bundle.trailer)
    if whole.startswith(prompt):
        return whole[len(prompt) :]
    if whole.startswith(prompt.rstrip()):  # Nemotron's asks with a line feed after the mark of a thought
        return _own_blanks(messages[-1].get("content") or "", whole[len(prompt.rstrip()) :])
    opening = bundle.answer_opening
    before = prompt.removesuffix(opening) if opening else prompt
    if len(before) < len(prompt) and whole.startswith(before):
        return _after_opening(messages[-1]["content"], opening, whole[len(before) :])
    # Mistral's writes the system message only where the last message is the user's. An answer alone shows its text.
    alone = [{"role": "user", "content": SAMPLE}, messages[-1]]
    before, shown = bundle.template.render(alone[:1], ask=True), bundle.template.render(alone)
    answer, end = shown.removeprefix(before).removesuffix(bundle.trailer), before.rpartition(SAMPLE)[2]
    if shown.startswith(before) and end and prompt.endswith(end) and whole.endswith(end + answer):
        return answer
    raise TemplateNotTrainable


def _own_blanks(content: str, written: str) -> str:
    """What is written, without the blanks before it but for those that the answer itself begins with."""
    rest, own = written.lstrip(), content[: len(content) - len(content.lstrip())]
    return own + rest if rest.startswith(content.strip()) and written.endswith(own + rest) else rest


def _after_opening(content: str, opening: str, written: str) -> str:
    """An answer whose beginning the prompt has; a thought that the template cuts off is what the model writes first."""
    content, answer = content.strip(), content.rpartition("</think>")[2].strip()
    if content.startswith(opening.strip()) and written.lstrip().startswith(answer):
        exact = content.removeprefix(opening)
        thought = content.removeprefix(opening.strip()).lstrip() if exact == content else exact
        return thought + written.lstrip()[len(answer) :]
    return written


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
