"""Rows of other shapes as dialogues: pairs, ShareGPT, preference pairs, prompts."""

from __future__ import annotations

import ast
import re
from itertools import chain, cycle
from typing import Any

import orjson

from shared.validation.marks import is_verdict, plain_name
from shared.validation.names import EMPTY, NO_VALUE, NONE, wrong_type
from shared.validation.strict import loaded_text, lost_in

Source = dict[str, Any]

# The last ones: Gemini, OpenAI's Responses, Cohere.
SYSTEM = ("system", "system_message", "system_prompt", "sys_prompt", "system_instruction", "instructions", "preamble")
TOOLS = ("tools", "functions")
# What the answer is read from, beside the question: Alpaca has `input`, Dolly and SQuAD `context`.
CONTEXT = ("context", "passage", "input")
PROMPT_FIELDS = ("prompt", "question", "instruction", "query", "problem", "user", "input")
ANSWER_FIELDS = ("completion", "response", "output", "solution", "answer", "target", "assistant")
# Turns before the question.
HISTORY = ("history", "chat_history", "conversation_history", "dialogue_history", "message_history")
OUTPUTS = (("chosen", "rejected"), ("chosen_messages", "rejected_messages"), ("chosen_response", "rejected_response"))
# ShareGPT, OASST, LangChain, Cohere and Gemini, in small letters.
_ROLES = {
    **dict.fromkeys(("human", "prompter", "user"), "user"),
    **dict.fromkeys(("ai", "assistant", "bard", "bing", "bot", "chatbot", "chatgpt", "gpt", "model"), "assistant"),
    "system": "system",
    "developer": "developer",
}
_ASSISTANTS = frozenset(name for name, role in _ROLES.items() if role == "assistant")
_CALLS = frozenset({"function_call", "tool_call"})
_CALL_KEYS = frozenset({"name", "arguments", "parameters", "id", "type"})
_RESULTS = frozenset({"observation", "function_response", "tool_response", "tool", "function"})
# Of Hermes and Qwen: calls and results as text of a turn.
_CALL_TEXT = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_RESULT_TEXT = re.compile(r"<tool_response>(.*?)</tool_response>", re.DOTALL)
_BLOCK_KEYS = frozenset({"type", "text", "cache_control"})
# What OASST, Cohere and Gemini call the content of a message.
_CONTENT_KEYS = ("text", "message", "parts")
# Calls and results among the parts of a message, with the keys of their id and of what they say: Anthropic, Bedrock,
# Gemini.
_CALL_PARTS = {"tool_use": ("id", "input"), "toolUse": ("toolUseId", "input"), "functionCall": ("id", "args")}
_RESULT_PARTS = {
    "tool_result": ("tool_use_id", "content"),
    "toolResult": ("toolUseId", "content"),
    "functionResponse": ("id", "response"),
}
# What stands before an answer where a dialogue is one text: ChatML, Llama, Gemma, Phi; Guanaco, LangChain, Vicuna.
AS_TEXT = re.compile(
    r"(?m)<\|?(im_start|start_header_id|start_of_turn|assistant)\|?>|\[/INST\]|\bASSISTANT:"
    r"|(^|###)[ *]*(?i:agent|ai|assistant|(chat)?bot|(chat)?gpt|response)[ *]*:"
)
# A dialogue as one text (Anthropic's hh-rlhf).
_TRANSCRIPT = re.compile(r"\n\n(Human|Assistant):")
_WORD = re.compile(r"\s*[^\s{\[]")  # else an object or a list
_PYTHON_MAX = 2**16  # the parser of Python takes a hundred bytes for each character
_TWICE = {
    "role": "the speaker of a turn (from and role)",
    "content": "the text of a turn (value and content)",
    "tool_calls": "the calls of a turn (value and tool_calls)",
}


class Refused(Exception):
    """The row cannot be converted; `code` is one of `CODES`, with what it says after a `|`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def pair_of(source: Source) -> tuple[str | None, str | None]:
    """Names of the prompt field and of the answer field: the first that are not null, or the first."""
    prompt_field, answer_field = (
        max((name for name in names if name in source), key=lambda name: source[name] is not None, default=None)
        for names in (PROMPT_FIELDS, ANSWER_FIELDS)
    )
    return prompt_field, answer_field


def refuse_several(source: Source, *fields: str | None) -> None:
    """Raises Refused `ambiguous_field` where other fields could be the question or the answer too, and say something
    else. `fields`: those that are read as such."""
    found = []
    for own in fields:
        names = ANSWER_FIELDS if own in ANSWER_FIELDS else PROMPT_FIELDS
        if own in names and source[own] is not None:
            others = [name for name in {*source} - {own} if plain_name(name) in names and _differs(own, name, source)]
            use = "what it learns" if names is ANSWER_FIELDS else "what the model reads"
            found += [f"{use} ({', '.join([own, *sorted(others)])})"] if others else []
    if found:
        raise Refused(f"ambiguous_field|{' and '.join(found)}")


def _differs(own: str, name: str, source: Source) -> bool:
    """Whether a field says what another one, that is read, does not. `input` is read too, below the question; a `user`
    may be a person, and an `answer` what Prodigy writes of a row."""
    read, value = source[own], source[name]
    if own in ANSWER_FIELDS:
        return (
            value not in EMPTY and str(value).strip() not in ("", str(read).strip()) and not is_verdict(name, [value])
        )
    if value in EMPTY or (name in CONTEXT and own != "user") or not {type(read), type(value)} <= {str, list}:
        return False
    text = read if type(read) is str else "\n".join(str(turn.get("content")) for turn in read if type(turn) is dict)
    return value != read if type(value) is list else value.strip() not in text


def outputs_of(source: Source) -> tuple[str, str] | None:
    """Names of the two answers of a preference pair."""
    both = (names for names in OUTPUTS if names[0] in source and names[1] in source)
    return max(both, key=lambda names: all(source[name] is not None for name in names), default=None)


def pair(source: Source, prompt_field: str, answer_field: str) -> Source:
    """A question and its answer, texts or dialogues. An answer that is another value is text as JSON has it."""
    answer = source.pop(answer_field)
    if type(answer) is dict and answer.keys() == {"text", "answer_start"}:  # SQuAD
        answer = answer["text"]
    if type(answer) is list and len(answer) == 1 and type(answer[0]) is not dict:  # doccano
        answer = answer[0]
    if type(answer) in (int, float, bool) or (type(answer) is dict and not _is_message(answer)):
        answer = orjson.dumps(answer).decode()
    text = orjson.dumps(answer).decode() if type(answer) is list else answer
    found = _loaded(text) if any(map(source.get, TOOLS)) else None
    are_calls = all(map(_is_call, found if type(found) is list else [found]))  # xLAM
    turns = [_calls({}, text, 0)] if are_calls else _turns("assistant", answer_field, answer)
    return _dialogue(source, _prompt_turns(source, prompt_field) + turns)


def prompt(source: Source, prompt_field: str) -> Source:
    """A question; what answers it, also as a dialogue, stays a field for graders."""
    if "messages" in source:
        leave_out(source, "messages")
    return _dialogue(source, _prompt_turns(source, prompt_field))


def chat(source: Source) -> Source:
    messages = _parsed(source.get("messages"))
    if type(messages) is str:
        raise Refused(wrong_type("messages", messages, "a list of turns or its JSON"))
    return _dialogue(source, _messages_of(messages) if type(messages) is list else messages)


def sharegpt(source: Source) -> Source:
    turns = _parsed(source.pop("conversations"))
    if type(turns) is not list:
        raise Refused(wrong_type("conversations", turns, "a list of turns"))
    if turns and all(type(turn) is str for turn in turns):  # UltraChat
        turns = [{"role": role, "content": turn} for role, turn in zip(cycle(("user", "assistant")), turns)]
    return _dialogue(source, _messages_of(turns))


def _parsed(value: Any) -> Any:
    """A list that is written as JSON text, as a cell of a table has it."""
    found = _loaded(value) if type(value) is str else value
    if type(found) is not list:
        return value
    if type(value) is str and (code := lost_in(value, found)):
        raise Refused(code)
    return found


def preference(source: Source) -> Source:
    question = source["input"]
    if type(question) is not dict:
        raise Refused(wrong_type("input", question, "an object with messages"))
    dialogue = _question(source, question.get("messages"), question)
    return {**source, "input": dialogue}


def chosen_rejected(source: Source) -> Source:
    names = outputs_of(source)
    refuse_several(source, pair_of(source)[0])
    if names is None:
        raise Refused(f"missing_field|{', '.join(name for name in OUTPUTS[0] if name not in source)}")
    (before, preferred), (before_other, other) = (
        _prompt_and_answer(_turns("assistant", name, _of_transcript(source.pop(name)))) for name in names
    )
    beside = _prompt_beside(source, before, (preferred, other))
    if before != before_other or (beside and before and not _contains(before, beside)):
        raise Refused("outputs_differ_in_question")
    if not before and not beside:
        raise Refused(f"missing_field|{PROMPT_FIELDS[0]}")
    question = _question(source, before or beside, {})
    return {**source, "input": question, "preferred_output": preferred, "non_preferred_output": other}


def _of_transcript(value: Any) -> Any:
    """The messages of a text that begins with `Human:` and has an answer; another value as it is."""
    if type(value) is not str or not value.startswith("\n\nHuman:"):
        return value
    _, *parts = _TRANSCRIPT.split(value)
    return [{"role": _role(name), "content": text.strip()} for name, text in zip(parts[::2], parts[1::2], strict=True)]


def _prompt_beside(source: Source, before: list[Any], answers: tuple[list[Any], list[Any]]) -> list[Any]:
    """The question that stands beside the two answers of a pair, if one does.

    A dialogue that ends with one of the answers asks what is before it (UltraFeedback). One that ends with another
    answer is not read, if the question is known without it.
    """
    name = next((name for name in ("conversations", "messages") if source.get(name) is not None), None)
    beside, _ = pair_of(source)
    if name is not None:
        turns = _turns("user", name, whole := source.pop(name))
        prompt_turns, answer = _prompt_and_answer(turns)
        if _same(answer, answers[0]) or _same(answer, answers[1]):
            turns = prompt_turns
        elif answer and (beside or _same(prompt_turns, before)):
            source[name] = whole
            leave_out(source, name)
            turns = []
        if beside and turns and _contains(turns, _turns("user", beside, source[beside])):
            del source[beside]
        if turns:
            return turns
    return _prompt_turns(source, beside) if beside and source[beside] is not None else []


def leave_out(source: Source, name: str) -> None:
    """Keep in `item` what has the name of a field that is read."""
    item = source.get("item", {})
    source["item"] = {**(item if type(item) is dict else {"item": item}), name: source.pop(name)}


def _same(turns: list[Any], others: list[Any]) -> bool:
    return bool(turns) and list(map(_as_key, turns)) == list(map(_as_key, others))


def _contains(dialogue: list[Any], turns: list[Any]) -> bool:
    """Whether the dialogue has all the turns; a system message may be only in it."""
    known = set(map(_as_key, dialogue))
    return all(_as_key(turn) in known for turn in turns)


def _as_key(turn: Any) -> bytes:
    """Equal for turns that say the same, but for blanks around it."""
    if type(turn) is dict and type(turn.get("content")) is str:
        turn = {**turn, "content": turn["content"].strip()}
    return orjson.dumps(turn, option=orjson.OPT_SORT_KEYS)


def _question(source: Source, messages: Any, question: Source) -> Source:
    """`input` of a preference pair, with the system text and the tools in it or beside it."""
    _leave_out_words(source)
    beside = {name: source.pop(name) for name in (*SYSTEM, *TOOLS) if name in source}
    for name, value in beside.items():
        if value and question.get(name) and (name in TOOLS or value != question[name]):
            raise Refused("tools_twice" if name in TOOLS else "system_twice")
    return _dialogue({**question, **{name: value for name, value in beside.items() if value}}, messages)


def _prompt_turns(source: Source, name: str) -> list[Any]:
    """The turns before the answer: those of `history`, then the question with the text it is about on a line below."""
    turns = _history(source) + _turns("user", name, source.pop(name))
    texts = {other: text for other in CONTEXT if other in source and (text := _context(other, source.pop(other)))}
    if not texts:
        return turns
    last = turns[-1] if turns else None
    if type(last) is not dict or last.get("role") != "user" or type(last.get("content")) is not str:
        raise Refused(f"passage_not_read|{next(iter(texts))}")
    turns[-1] = {**last, "content": "\n".join(filter(None, [last["content"], *texts.values()]))}
    return turns


def _context(name: str, value: Any) -> str:
    """A text, or several with a blank line between them; a word such as `nan` is none."""
    if type(value) is list and all(type(text) is str for text in value):
        return "\n\n".join(value)
    if value is not None and type(value) is not str:
        raise Refused(wrong_type(name, value))
    return value if value and not _says_nothing(value) else ""


def _says_nothing(text: str) -> bool:
    return text.strip() in NO_VALUE | NONE | {""}


def _history(source: Source) -> list[Any]:
    """Messages, or pairs of a question and its answer. Text that is no dialogue stays a field (a patient's history)."""
    turns: list[Any] = []
    for name in [name for name in HISTORY if name in source]:
        value = _parsed(source[name]) or []
        if type(value) is str and not AS_TEXT.search(value):
            continue
        if type(value) is not list:
            raise Refused(wrong_type(name, value, "a list of turns or of [question, answer]"))
        del source[name]
        are_pairs = all(type(one) is list and len(one) == 2 for one in value)
        parts = zip(cycle(("user", "assistant")), chain.from_iterable(value)) if are_pairs else [("user", value)]
        for role, text in parts:
            turns += _turns(role, name, text)
    return turns


def _turns(role: str, name: str, value: Any) -> list[Any]:
    """A text as a turn; a list is a dialogue already, an object a turn."""
    if type(value) is list:
        if not all(type(turn) is dict for turn in value) or (value and not any(map(_is_message, value))):
            raise Refused(wrong_type(name, value, "text or messages"))
        return _messages_of(value)
    if type(value) is dict and _is_message(value):
        return _messages_of([value])
    if value is not None and type(value) is not str:
        raise Refused(wrong_type(name, value, "text or messages" if type(value) is dict else "text"))
    return [{"role": role, "content": value}]


def _is_message(value: Source) -> bool:
    return not value.keys().isdisjoint(("role", "from", "content"))


def _dialogue(source: Source, messages: Any) -> Source:
    """The row with `messages`, the system text beside them at their start, and tools in one form."""
    _leave_out_words(source)
    tools = _tools(source)
    system = _system(source)
    if type(messages) is list and system is not None:
        first = messages[0] if messages and type(messages[0]) is dict else {}
        if first.get("role") not in ("system", "developer"):
            messages = [{"role": "system", "content": system}, *messages]
        elif first.get("content") != system:
            raise Refused("system_twice")
    source = {**source, "messages": messages}
    return source if tools is None else {**source, "tools": tools}


def _system(source: Source) -> Any:
    found = {name: source.pop(name) for name in SYSTEM if name in source}
    given = (_checked_text(name, value) for name, value in found.items() if value is not None)
    texts = [text for text in given if not _says_nothing(text)]
    if any(text != texts[0] for text in texts):
        raise Refused("system_twice")
    return texts[0] if texts else None


def _checked_text(name: str, value: Any) -> str:
    """A text, or those of Anthropic's, Bedrock's and Gemini's blocks, a line each."""
    if type(value) is dict and value.keys() <= {"role", "parts"}:
        value = value.get("parts")
    if type(value) is list and all(type(part) is dict and part.keys() <= _BLOCK_KEYS for part in value):
        value = "\n".join(part["text"] for part in value if type(part.get("text")) is str)
    if type(value) is not str:
        raise Refused(wrong_type(name, value))
    return value


def _leave_out_words(source: Source) -> None:
    """Those of fields that are called as tools are: the tools of a workshop, the functions of a part."""
    for name in [name for name in TOOLS if name in source]:
        value = source[name]
        listed = _loaded(value) if type(value) is str else value
        words = listed if type(listed) is list else [value]
        if words and all(word is not None and _WORD.match(str(word)) for word in words):
            leave_out(source, name)


def _tools(source: Source) -> Any:
    """`tools` as a list, which may be written as JSON text, or OpenAI's older `functions`."""
    tools, functions = source.pop("tools", None), source.pop("functions", None)
    if type(tools) is str:
        tools = _parsed(tools) if tools.strip() else None
    if tools and functions:
        raise Refused("tools_twice")
    if functions:
        tools = functions
    return [_tool(tool) for each in tools for tool in _declared(each)] if type(tools) is list else tools


def _declared(tool: Any) -> list[Any]:
    """Gemini has a list of functions in each tool."""
    inner = tool.get("functionDeclarations", tool.get("function_declarations")) if type(tool) is dict else None
    return inner if type(inner) is list and len(tool) == 1 else [tool]


def _tool(tool: Any) -> Any:
    """OpenAI's older functions and the tools of its Responses have no `function` around name and parameters; Anthropic
    calls these `input_schema`, MCP `inputSchema`."""
    if type(tool) is not dict or "function" in tool or tool.get("type", "function") not in ("function", "custom"):
        return tool
    function = {name: value for name, value in tool.items() if name != "type"}
    for name in ("input_schema", "inputSchema"):
        if name in function and "parameters" not in function:
            function["parameters"] = function.pop(name)
    return {"type": "function", "function": function}


def _prompt_and_answer(messages: list[Any]) -> tuple[list[Any], list[Any]]:
    """A dialogue up to the user's last message, and what follows."""
    users = [n for n, message in enumerate(messages) if type(message) is dict and message.get("role") == "user"]
    end = users[-1] + 1 if users else 0
    return messages[:end], messages[end:]


def _messages_of(turns: list[Any]) -> list[Any]:
    """Turns of `from` and `value` as messages. Calls, which have no ids there, are answered in order."""
    if not any(type(turn) is dict and "from" in turn for turn in turns):
        turns = [message for turn in turns for message in _unpacked(_with_role(turn))]
        if not _calls_are_text(turns):
            return turns
        turns = [{"from": turn.pop("role"), "value": turn.pop("content", None), **turn} for turn in turns]
    senders = [_sender(turn) for turn in turns]
    reads_text = not _RESULTS.isdisjoint(senders)
    messages: list[Any] = []
    open_calls: list[str] = []
    for sender, turn in zip(senders, turns, strict=True):
        if sender in _CALLS:
            messages.append(_calls(turn, turn.get("value"), len(messages)))
        elif reads_text and sender in _ASSISTANTS and _holds_call(turn.get("value")):
            messages.append(_text_calls(turn, len(messages)))
        elif sender in _RESULTS:
            messages += _results(turn, open_calls)
            continue
        else:
            messages.append(_text_message(turn))
            continue
        open_calls = [call["id"] for call in messages[-1]["tool_calls"]]
    return messages


def _sender(turn: Any) -> str:
    sender = turn.get("from") if type(turn) is dict else None
    return sender if type(sender) is str else ""


def _calls_are_text(messages: list[Any]) -> bool:
    """Whether tools answer, by no id, what assistants have called in their texts alone."""
    if not all(type(message) is dict and "value" not in message and "role" in message for message in messages):
        return False
    results = [message for message in messages if message["role"] == "tool"]
    if not results or any("tool_call_id" in one for one in results) or any("tool_calls" in one for one in messages):
        return False
    return any(message["role"] == "assistant" and _holds_call(message.get("content")) for message in messages)


def _holds_call(text: Any) -> bool:
    return type(text) is str and "<tool_call>" in text


def _text_message(turn: Any) -> Any:
    if type(turn) is not dict or "from" not in turn:
        return turn
    sender = turn["from"]
    return _message(turn, {"role": _role(sender), "content": turn.get("value")})


def _role(name: Any) -> Any:
    return _ROLES.get(name.casefold(), name) if type(name) is str else name


def _of_langchain(message: Source) -> Source:
    """LangChain's messages have a `type`, and other keys may stand in `data` or `kwargs`; its calls have `args`."""
    inner = message.get("data", message.get("kwargs"))
    found = {"type": message.get("type"), **inner} if type(inner) is dict else message
    role = {**_ROLES, "tool": "tool"}.get(
        str(found.get("type")).casefold().removesuffix("chunk").removesuffix("message")
    )
    if role is None:
        return message
    calls = found.get("tool_calls")
    if type(calls) is list and all(type(call) is dict and "args" in call for call in calls):
        functions = [(call.get("id"), {"name": call.get("name"), "arguments": call["args"]}) for call in calls]
        found["tool_calls"] = [{"id": identifier, "type": "function", "function": one} for identifier, one in functions]
    return {"role": role, **{name: value for name, value in found.items() if name != "type"}}


def _with_role(message: Any) -> Any:
    if type(message) is not dict:
        return message
    if "role" not in message and "from" not in message:
        message = _of_langchain(message)
    if "content" not in message:
        name = next((name for name in _CONTENT_KEYS if type(message.get(name)) in (str, list)), None)
        if name is not None:
            message = {"content" if key == name else key: value for key, value in message.items()}
    if "role" not in message or (role := _role(message["role"])) == message["role"]:
        return message
    return {**message, "role": role}


def _unpacked(message: Any) -> list[Any]:
    """The messages of one with calls or results among its parts: a message for each result, then what else it says."""
    parts = message.get("content") if type(message) is dict else None
    if type(parts) is not list or not any(map(_tool_part, parts)):
        return [message]
    calls: list[Source] = []
    results: list[Source] = []
    for kind, part in filter(None, map(_tool_part, parts)):
        identifier, content = (part.pop(name, None) for name in (_CALL_PARTS | _RESULT_PARTS)[kind])
        if kind in _CALL_PARTS:
            function = {"name": part.pop("name", None), "arguments": content}
            calls.append(_joined(part, {"id": identifier, "type": "function", "function": function}))
        else:
            result = {"role": "tool", "tool_call_id": identifier, "content": "" if content is None else content}
            results.append(_joined(part, result))
    rest = {**message, "content": [part for part in parts if not _tool_part(part)] or None}
    if calls:
        rest = _joined(rest, {"tool_calls": calls})
    elif rest["content"] is None:
        beside = {key: value for key, value in rest.items() if key not in ("role", "content")}
        return [*results[:-1], _joined(beside, results[-1])]
    return [*results, rest]


def _joined(beside: Source, made: Source) -> Source:
    if beside.keys() & made.keys():
        raise Refused("field_twice|a key of a message (beside its content and in a part of it)")
    return {**beside, **made}


def _tool_part(part: Any) -> tuple[str, Source] | None:
    """A copy of the call or the result that a part is, with its kind."""
    if type(part) is not dict:
        return None
    if part.get("type") in ("tool_use", "tool_result"):
        return part["type"], {key: value for key, value in part.items() if key != "type"}
    kind, inner = next(iter(part.items()), ("", None)) if len(part) == 1 else ("", None)
    return (kind, {**inner}) if type(inner) is dict and (kind in _CALL_PARTS or kind in _RESULT_PARTS) else None


def _message(turn: Source, message: Source) -> Source:
    """What a turn of `from` and `value` says, with its other keys. Raises Refused if they say something else."""
    rest = {name: value for name, value in turn.items() if name not in ("from", "value")}
    for name, value in message.items():
        other = rest.pop(name, None)
        if name == "role" and type(other) is str:
            other = _role(other)
        if value in EMPTY:
            message[name] = other if other not in EMPTY else value
        elif other not in EMPTY and other != value and name in _TWICE:
            raise Refused(f"field_twice|{_TWICE[name]}")
    return {**message, **rest}


def _calls(turn: Source, text: Any, number: int, content: str = "") -> Source:
    """The assistant's message of a `function_call` turn: one call, or a list of calls, as JSON text."""
    found = _loaded(text)
    calls = found if type(found) is list else [found]
    if not calls or not all(_is_call(call) for call in calls):
        raise Refused("invalid_tool_calls")
    if code := lost_in(text, found):
        raise Refused(code)
    return _message(
        turn,
        {
            "role": "assistant",
            "content": content,
            "tool_calls": [
                {"id": call.get("id", f"call_{number}_{n}"), "type": "function", "function": _function(call)}
                for n, call in enumerate(calls)
            ],
        },
    )


def _text_calls(turn: Source, number: int) -> Source:
    """The same of a text with `<tool_call>` around the JSON of each call. What else it says stands before the calls."""
    text = turn["value"]
    texts = [part.strip() for part in _CALL_TEXT.sub("\0", text).split("\0")]
    calls = ",".join(_as_json(call.strip()) for call in _CALL_TEXT.findall(text))
    return _calls(turn, f"[{calls}]", number, "\n".join(filter(None, texts)))


def _as_json(text: str) -> str:
    """A call of Python's `repr`, as a part of the Hermes data has them, as JSON; other text as it is."""
    if not text.startswith("{'") or len(text) > _PYTHON_MAX:
        return text
    try:
        tree = ast.parse(text, mode="eval")
        objects = [node for node in ast.walk(tree) if isinstance(node, ast.Dict)]
        if any(len({ast.unparse(key) for key in one.keys if key}) < len(one.keys) for one in objects):
            raise Refused("duplicate_key")
        return orjson.dumps(ast.literal_eval(tree)).decode()
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return text


def _is_call(call: Any) -> bool:
    if type(call) is not dict or type(call.get("name")) is not str or not _CALL_KEYS.issuperset(call):
        return False
    return not ("arguments" in call and "parameters" in call) and call.get("type", "function") == "function"


def _function(call: Source) -> Source:
    arguments = call.get("arguments", call.get("parameters", {}))
    if type(arguments) is not str:
        arguments = orjson.dumps(arguments).decode()
    return {"name": call["name"], "arguments": arguments}


def _results(turn: Source, open_calls: list[str]) -> list[Source]:
    """The tool messages of an `observation` turn: of all open calls if it is a list of as many results, or has a
    `<tool_response>` for each; else of one."""
    values = _values(turn.get("value"), len(open_calls))
    identifier = turn.get("tool_call_id")
    if type(identifier) is str and len(values) == 1:
        if identifier in open_calls:
            open_calls.remove(identifier)
        return [_message(turn, {"role": "tool", "content": values[0]})]
    if len(values) > len(open_calls):
        raise Refused("tool_message_orphan")
    return [_message(turn, {"role": "tool", "tool_call_id": open_calls.pop(0), "content": value}) for value in values]


def _values(value: Any, count: int) -> list[Any]:
    """The results in the text of a turn, of which as many as `count` are expected."""
    if type(value) is str and "<tool_response>" in value and not _RESULT_TEXT.sub("", value).strip():
        return [text.strip() for text in _RESULT_TEXT.findall(value)]
    several = _loaded(value) if count > 1 else None
    if type(several) is not list or len(several) != count:
        return [value]
    if code := lost_in(value, several):
        raise Refused(code)
    return [one if type(one) is str else orjson.dumps(one).decode() for one in several]


def _loaded(text: Any) -> Any:
    return loaded_text(text) if type(text) is str else None
