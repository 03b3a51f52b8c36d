"""What rows are compared by: all that the model reads before the answer, and the answer."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
from xxhash import xxh3_64_intdigest

from shared.validation.messages import Message
from shared.validation.rows import ParsedRow

# Of dialogue and context: the words of a row of megabytes would take a hundred of them.
COMPARED_CHARACTERS = 100_000
# A longer answer is no label, however often it is given.
LABEL_CHARACTERS = 200


def content_of(row: ParsedRow) -> bytes:
    """Equal for rows that ask and answer the same: every message with its role and its tool calls, and the tools.

    Blanks around texts, ids of calls, and the order of keys in arguments do not count. Of a preference pair the
    preferred answer counts.
    """
    parts = []
    for message in row.messages:
        parts += [message["role"], message["content"].strip()]
        if "tool_calls" in message:
            parts.append(calls_of(message))
    tools = tools_of(row.document)
    if tools:
        parts.append(_sorted(tools))
    return "\0".join(parts).encode()


def tools_of(document: dict[str, Any]) -> Any:
    """The tools of a canonical row, None if it has none."""
    found = document.get("input", document)
    return found.get("tools")


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


class Texts(NamedTuple):
    """The parts of a row that are compared word by word. `asked` and `answer` are the dialogue."""

    context: str
    asked: str
    answer: str


def compared_texts(messages: list[Message], tools: Any = None) -> Texts:
    """`context`: system messages, results of tools, and the tools. A call counts as its JSON."""
    context: list[str] = []
    asked: list[str] = []
    for message in messages[:-1]:
        (context if message["role"] in ("system", "tool") else asked).append(_text(message))
    if tools:
        context.append(_sorted(tools))
    last = messages[-1]
    parts = ("\n".join(context), "\n".join(asked), _text(last))
    return Texts(*(part[:COMPARED_CHARACTERS] for part in parts))


def _text(message: Message) -> str:
    content: str = message["content"]
    return f"{content} {calls_of(message)}" if "tool_calls" in message else content


def label_of(row: ParsedRow) -> str:
    """The answer that the row is judged by, in lower case without blanks around words and without a last period.

    That is the last that is learned. Empty of a long one, and of a prompt without an answer.
    """
    answer = row.messages[-1]
    if answer["role"] != "assistant":
        return ""
    if "weight" in answer:  # which is 0 then
        learned = (one for one in reversed(row.messages) if one["role"] == "assistant" and "weight" not in one)
        answer = next(learned, answer)
    if len(answer["content"]) > LABEL_CHARACTERS:
        return ""
    return " ".join(_text(answer).lower().split()).rstrip(".")[:LABEL_CHARACTERS]


def label_key(label: str) -> int:
    """64 bits, signed as SQLite has it; 0 for no label."""
    return xxh3_64_intdigest(label.encode()) - 2**63 if label else 0
