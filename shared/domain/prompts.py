"""The prompt of a row: what a model is asked, in validation, training, evaluation and behind an endpoint. Nothing else
builds one (a test looks for it). Rows are canonical. Chat templates get no argument beside messages and tools: the
catalog's `template_arguments` are written into the template."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from shared.domain.errors import shortened

Row = dict[str, Any]
ROLES = ("system", "user", "assistant", "tool")
OUTPUTS = ("preferred_output", "non_preferred_output")
SHOWN_BEFORE_LAST = 300  # characters of each earlier message, where a conversation is shown


@dataclass(frozen=True, slots=True)
class Prompt:
    """Messages in the form of the chat completions API, and the tools that may be called."""

    messages: list[Row]
    tools: list[Row] | None = None

    def body(self) -> Row:
        """The fields of a chat completions request that ask this prompt. `tool_choice: none` leaves the tools in the
        prompt and calls in the answer (vLLM: `--exclude-tools-when-tool-choice-none` is off); `auto` needs a parser,
        which takes them out."""
        return {"messages": self.messages} | ({"tools": self.tools, "tool_choice": "none"} if self.tools else {})

    def conversation(self) -> str:
        """To be read by people: the text of a single message, else a line for each with who speaks."""
        *before, last = [_text_of(message) for message in self.messages]
        if not before:
            return last
        texts = [*(shortened(text, SHOWN_BEFORE_LAST) for text in before), last]
        return "\n".join(f"{message['role']}: {text}" for message, text in zip(self.messages, texts, strict=True))

    def item(self) -> Row:
        """The field `messages` that graders read: the texts of each role."""
        texts = {role: "\n".join(_text_of(one) for one in self.messages if one["role"] == role) for role in ROLES}
        return {"messages": texts}


def prompt_of(row: Row) -> Prompt:
    """What is asked of a row: all before the evaluated answer, if it has one. Raises KeyError for plain text."""
    dialogue = as_dialogue(row)
    return prompt_before(dialogue, reference_index(dialogue))


def prompt_before(dialogue: Row, index: int | None) -> Prompt:
    """What asks for the message of this index; None for the message after the last."""
    return Prompt([message_of(one) for one in dialogue["messages"][:index]], tools_of(dialogue))


def message_of(message: Row) -> Row:
    """Without weight and empty keys; its calls in vLLM's order, that of the types of the package `openai`."""
    kept = {key: value for key, value in message.items() if key != "weight" and value is not None}
    return kept | {"tool_calls": [_call(call) for call in kept["tool_calls"]]} if kept.get("tool_calls") else kept


def _call(call: Row) -> Row:
    function = {key: call["function"].get(key) for key in ("arguments", "name")}
    return {"id": call.get("id"), "function": function, "type": "function"}


def is_prompt(row: Row) -> bool:
    """Whether it is a prompt for reinforcement: a dialogue that ends with a question or the result of a tool."""
    return "messages" in row and row["messages"][-1]["role"] != "assistant"


def reference_index(dialogue: Row) -> int | None:
    """Index of the message that answers are compared with: the last that is learned. A prompt has none."""
    learned = [] if is_prompt(dialogue) else learned_indices(dialogue)
    return learned[-1] if learned else None


def learned_indices(dialogue: Row) -> list[int]:
    """Indices of the messages that loss falls on: the assistant's that have no weight of 0."""
    messages = enumerate(dialogue["messages"])
    return [index for index, one in messages if one["role"] == "assistant" and one.get("weight", 1)]


def dialogues(row: Row) -> list[Row]:
    """The dialogues that are learned of a row; a preference pair has two. Each ends with its last learned answer: what
    follows would only change, in some templates, how that is asked for."""
    pair = [with_output(row, output) for output in OUTPUTS] if "input" in row else [row]
    return [_to_last_learned(dialogue) for dialogue in pair]


def _to_last_learned(dialogue: Row) -> Row:
    if "text" in dialogue or dialogue["messages"][-1].get("weight", 1):
        return dialogue
    learned = learned_indices(dialogue)
    return {**dialogue, "messages": dialogue["messages"][: learned[-1] + 1]} if learned else dialogue


def as_dialogue(row: Row) -> Row:
    """The dialogue that is evaluated: of a preference pair its prompt and the preferred answer."""
    if "input" in row:
        return {**with_output(row, OUTPUTS[0]), "item": row.get("item", {})}
    row["messages"][0]["role"]
    return row


def with_output(pair: Row, output: str) -> Row:
    """The prompt of a preference pair with one of its outputs as a chat row; loss falls on that output alone."""
    messages = [*_not_learned(pair["input"]["messages"]), *pair[output]]
    return {"messages": messages, "tools": pair["input"].get("tools")}


def with_loss_on(dialogue: Row, indices: Collection[int]) -> Row:
    """The dialogue up to the last of these answers, and loss on no other."""
    return {**dialogue, "messages": _not_learned(dialogue["messages"][: max(indices) + 1], indices)}


def _not_learned(messages: Iterable[Row], but: Collection[int] = ()) -> list[Row]:
    numbered = enumerate(messages)
    return [{**one, "weight": 0} if one["role"] == "assistant" and at not in but else one for at, one in numbered]


def tools_of(dialogue: Row) -> list[Row] | None:
    """The tools as vLLM hands them to a chat template, whoever sends them: its fields in its order, null where absent.
    Source: `FunctionDefinition` in vllm/entrypoints/openai/engine/protocol.py, dumped whole."""
    return [_tool(tool) for tool in dialogue.get("tools") or ()] or None


def _tool(tool: Row) -> Row:
    function = dict.fromkeys(("name", "description", "parameters")) | tool["function"]
    return {"type": None, "function": None} | tool | {"function": function}


def _text_of(message: Row) -> str:
    calls = (call["function"] for call in message.get("tool_calls") or ())
    written = (f"{function['name']}({function['arguments']})" for function in calls)
    return "\n".join(text for text in (message.get("content"), *written) if text)
