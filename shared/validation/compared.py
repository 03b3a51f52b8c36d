"""What rows are compared by: all that the model reads before the answer, and the answer."""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

import orjson
from xxhash import xxh3_64_intdigest, xxh3_128

from shared.domain.graders import simple_graders
from shared.domain.recipe import Recipe, Reinforcement
from shared.grading.engine import read_fields
from shared.grading.errors import BadGrader, GradingFailed
from shared.grading.templates import Sample, Template
from shared.validation.messages import Message
from shared.validation.rows import ParsedRow
from shared.validation.strict import loaded

# Of dialogue and context: the words of a row of megabytes would take a hundred of them.
COMPARED_CHARACTERS = 100_000
# A longer answer is no label, however often it is given.
LABEL_CHARACTERS = 200
# Of an answer that is JSON: the fields that may be its label, and the characters of one.
FIELDS_MAX, FIELD_CHARACTERS = 16, 60
_OBJECT = re.compile(r"^(?:\w+ |\s*```\w*)?\s*(\{.*\})\s*(?:```)?\s*$", re.DOTALL)


class Turn(NamedTuple):
    """A message of the assistant: 64 signed bits of all before it (0: nothing), and with it (0: it is not learned)."""

    prompt: int
    answer: int


class Content(NamedTuple):
    """`key`: 128 bits, equal for rows that ask and answer the same. `turn`: the answer that is evaluated."""

    key: bytes
    turn: Turn
    earlier: tuple[Turn, ...]


def content_of(row: ParsedRow) -> Content:
    """Keys of the whole row and of each turn on the way to its answer: tools, and messages with roles and tool calls.
    Blanks around texts, ids of calls and the order of keys in arguments do not count; of a pair the preferred answer
    does."""
    end, learns = _answer_at(row)
    tools = tools_of(row.document)
    digest = xxh3_128(_sorted(tools).encode() if tools else b"")
    turns: list[Turn] = []
    for place, message in enumerate(row.messages):
        is_assistant = place == end or (place < end and message["role"] == "assistant")
        prompt = _signed(digest) if is_assistant and place else 0
        calls = calls_of(message) if "tool_calls" in message else ""
        digest.update(f"\0{message['role']}\0{message['content'].strip()}\0{calls}".encode())
        if is_assistant:
            turns.append(Turn(prompt, _signed(digest) if learns and "weight" not in message else 0))
    if end == len(row.messages):
        turns.append(Turn(_signed(digest), 0))
    elif not learns:  # the answer of a pair may be several messages
        turns[-1] = Turn(turns[-1].prompt, _signed(digest))
    return Content(digest.digest(), turns[-1], tuple(turns[:-1]))


def _answer_at(row: ParsedRow) -> tuple[int, bool]:
    """The place among the messages of the answer that is evaluated, and whether the turns before it are learned."""
    if "input" in row.document:
        return len(row.document["input"]["messages"]), False
    messages = row.messages
    if messages[-1]["role"] != "assistant":
        return len(messages), False
    weighed = (n for n, message in enumerate(messages) if message["role"] == "assistant" and "weight" not in message)
    return max(weighed, default=len(messages) - 1), True  # a weight is 0


def _signed(digest: xxh3_128) -> int:
    return int.from_bytes(digest.digest()[:8], signed=True)


def tools_of(document: dict[str, Any]) -> Any:
    """The tools of a canonical row, None if it has none."""
    return document.get("input", document).get("tools")


def calls_of(message: Message) -> str:
    """Names and arguments of a message's tool calls, as text that is equal for equal calls."""
    calls = [call["function"] for call in message["tool_calls"]]
    return " ".join(f"{call['name']} {_sorted_arguments(call['arguments'])}" for call in calls)


def _sorted_arguments(text: str) -> str:
    try:
        return _sorted(orjson.loads(text))
    except orjson.JSONEncodeError:  # nested deeper than the encoder goes
        return text


def _sorted(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


# 64 bits of what is read, and of what is answered: two rows with the same first ones should have the same second ones.
Statement = tuple[int, int]


class Texts(NamedTuple):
    """The parts of a row that are compared word by word. `question` and `answer` are the dialogue."""

    context: str
    question: str
    answer: str


def compared_texts(messages: list[Message], tools: Any = None) -> Texts:
    """`context`: system messages, results of tools, and the tools. A call counts as its JSON."""
    context: list[str] = []
    question: list[str] = []
    for message in messages[:-1]:
        (context if message["role"] in ("system", "tool") else question).append(_text(message))
    if tools:
        context.append(_sorted(tools))
    last = messages[-1]
    parts = ("\n".join(context), "\n".join(question), _text(last))
    return Texts(*(part[:COMPARED_CHARACTERS] for part in parts))


def _text(message: Message) -> str:
    content: str = message["content"]
    return f"{content} {calls_of(message)}" if "tool_calls" in message else content


def statement_of(row: ParsedRow, reference: Template | None) -> Statement | None:
    """Of a pair, which answer is better; of a prompt, which is right. None without a reference."""
    place, _ = _answer_at(row)
    read = _words_key(_sorted(tools_of(row.document)), *map(_text, row.messages[:place]))
    if "input" in row.document:
        other = row.document["non_preferred_output"]
        better, worse = (_words_key(*map(_text, answer)) for answer in (row.messages[place:], other))
        return read ^ better ^ worse, better
    answer = _answer_of(row, reference) if place else ""
    return (read, _words_key(answer)) if answer else None


def _words_key(*texts: str) -> int:
    return xxh3_64_intdigest(" ".join(" ".join(texts).lower().split()).encode("utf-8", "replace"))


def label_of(row: ParsedRow, reference: Template | None = None) -> str:
    """The last answer that is learned, of a prompt the `reference`, as it is written; empty of a long one."""
    text = _answer_of(row, reference)
    return text if len(text) <= LABEL_CHARACTERS else ""


def plain_label(text: str) -> str:
    """In lower case without blanks around words and without a last period."""
    return " ".join(text.lower().split()).rstrip(".")


def _answer_of(row: ParsedRow, reference: Template | None) -> str:
    place, _ = _answer_at(row)
    if place == len(row.messages):
        with suppress(GradingFailed):  # the row lacks the field, which is reported
            return reference.text(Sample(""), row.item) if reference else ""
        return ""
    answer = row.messages[-1 if "input" in row.document else place]
    content: str = answer["content"]
    return content if len(content) > LABEL_CHARACTERS else _text(answer)


def answer_fields(row: ParsedRow, reference: Template | None = None) -> list[tuple[str, str]]:
    """Paths and short values of the JSON that an answer is, also in a fence or in a call: one may be its label."""
    match = _OBJECT.search(_answer_of(row, reference)[:COMPARED_CHARACTERS])
    found = loaded(match[1]) if match else None
    return list(islice(_short_values(found or {}, ""), FIELDS_MAX))


def _short_values(value: dict[str, Any], at: str) -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if type(inner) is dict and not at:
            yield from _short_values(inner, f"{name}.")
        elif type(inner) in (str, int, bool) and 0 < len(plain_label(text := str(inner))) <= FIELD_CHARACTERS:
            yield f"{at}{name}", text


def reference_of(recipe: Recipe) -> Template | None:
    """What the answer to a prompt is compared with: the first reference to the row of the graders that score it."""
    if not isinstance(recipe.method, Reinforcement):
        return None
    for graders in (recipe.evaluation.graders, recipe.method.graders):
        sources = [getattr(one, "reference", "") for one in simple_graders(graders)]
        read = read_fields(graders) or set()  # of a Python grader or a judge
        sources += [f"{{{{item.{name}}}}}" for name in read if name == "answer" or len(read) == 1]
        for source in sources:
            with suppress(BadGrader):  # reported with the recipe
                template = Template("reference", source)
                if template.fields and not template.reads_answer:
                    return template
    return None


def label_key(label: str) -> int:
    """64 bits of a plain label, signed as SQLite has it; 0 for none."""
    return xxh3_64_intdigest(label.encode()) - 2**63 if label else 0
