"""Rows of other shapes as dialogues: pairs, ShareGPT, preference pairs, prompts."""

import re
from itertools import chain, cycle
from typing import Any

import orjson

from shared.domain.beside import read_beside
from shared.validation.marks import is_verdict, plain_name
from shared.validation.names import EMPTY, NO_VALUE, NONE, Refused, wrong_type
from shared.validation.strict import lost_in
from shared.validation.turns import Source, calls_of, is_call, is_message, loaded_field, messages_of, turns_of

_TABLES = read_beside(__file__)
NAMES = {part: tuple(names.split()) for part, names in _TABLES["names"].items()}
SYSTEM, TOOLS, CONTEXT, PROMPT_FIELDS, ANSWER_FIELDS, HISTORY, *_OUTPUTS = NAMES.values()
OUTPUTS = tuple(zip(*_OUTPUTS, strict=True))
AS_TEXT = re.compile("|".join(_TABLES["as_text"]))
_BLOCK_KEYS = frozenset({"type", "text", "cache_control"})
_WORD = re.compile(r"\s*[^\s{\[]")  # else an object or a list


def pair_of(source: Source) -> tuple[str | None, str | None]:
    """Names of the prompt field and of the answer field: the first that are not null, or the first."""
    prompt_field, answer_field = (
        max((name for name in names if name in source), key=lambda name: source[name] is not None, default=None)
        for names in (PROMPT_FIELDS, ANSWER_FIELDS)
    )
    return prompt_field, answer_field


def refuse_several(source: Source, *fields: str | None) -> None:
    """Raises Refused `ambiguous_field` where fields beside these, which are read, say something else."""
    found = []
    for own in filter(None, fields):
        names = ANSWER_FIELDS if own in ANSWER_FIELDS else PROMPT_FIELDS
        if own in names and source[own] is not None:
            others = [name for name in {*source} - {own} if plain_name(name) in names and _differs(own, name, source)]
            use = "what it learns" if names is ANSWER_FIELDS else "what the model reads"
            found += [f"{use} ({', '.join([own, *sorted(others)])})"] if others else []
    if found:
        raise Refused(f"ambiguous_field|{' and '.join(found)}")


def _differs(own: str, name: str, source: Source) -> bool:
    """Whether a field says what another one, that is read, does not. `input` is read too, `user` may be a person."""
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
    if type(answer) in (int, float, bool) or (type(answer) is dict and not is_message(answer)):
        answer = orjson.dumps(answer).decode()
    text = orjson.dumps(answer).decode() if type(answer) is list else answer
    found = loaded_field(text) if any(map(source.get, TOOLS)) else None
    are_calls = all(map(is_call, found if type(found) is list else [found]))  # xLAM
    turns = [calls_of({}, text, 0)] if are_calls else turns_of("assistant", answer_field, answer)
    return _dialogue(source, _prompt_turns(source, prompt_field) + turns)


def prompt(source: Source, prompt_field: str) -> Source:
    """A question; what answers it, also as a dialogue, stays a field for graders."""
    return _dialogue(source, _prompt_turns(source, prompt_field))


def chat(source: Source) -> Source:
    messages = _parsed(source.pop("messages", None))
    if type(messages) is str:
        raise Refused(wrong_type("messages", messages, "a list of turns or its JSON"))
    return _dialogue(source, messages_of(messages) if type(messages) is list else messages)


def sharegpt(source: Source) -> Source:
    turns = _parsed(source.pop("conversations"))
    if type(turns) is not list:
        raise Refused(wrong_type("conversations", turns, "a list of turns"))
    return _dialogue(source, messages_of(turns))


def _parsed(value: Any) -> Any:
    """A list that is written as JSON text, as a cell of a table has it."""
    found = loaded_field(value) if type(value) is str else value
    if type(found) is not list:
        return value
    if type(value) is str and (code := lost_in(value, found)):
        raise Refused(code)
    return found


def preference(source: Source) -> Source:
    question = source["input"]
    if type(question) is not dict:
        raise Refused(wrong_type("input", question, "an object with messages"))
    dialogue = _question(source, question.get("messages"), {**question, "messages": None})
    return {**source, "input": dialogue}


def chosen_rejected(source: Source) -> Source:
    names = outputs_of(source)
    refuse_several(source, pair_of(source)[0])
    if names is None:
        raise Refused(f"missing_field|{', '.join(name for name in OUTPUTS[0] if name not in source)}")
    (before, preferred), (before_other, other) = (
        _prompt_and_answer(turns_of("assistant", name, source.pop(name))) for name in names
    )
    beside = _prompt_beside(source, before, (preferred, other))
    if before != before_other or (beside and before and not _contains(before, beside)):
        raise Refused("outputs_differ_in_question")
    if not before and not beside:
        raise Refused(f"missing_field|{PROMPT_FIELDS[0]}")
    question = _question(source, before or beside, {})
    made = {"input": question, "preferred_output": preferred, "non_preferred_output": other}
    for name in [name for name in made if source.get(name) not in EMPTY]:
        leave_out(source, name)
    return {**source, **made}


def _prompt_beside(source: Source, before: list[Any], answers: tuple[list[Any], list[Any]]) -> list[Any]:
    """The question beside the two answers of a pair, if any. A dialogue that ends with one of the answers asks what is
    before it (UltraFeedback); one with another answer is not read if the question is known."""
    name = next((name for name in ("conversations", "messages") if source.get(name) is not None), None)
    beside, _ = pair_of(source)
    if name is not None:
        turns = turns_of("user", name, whole := source.pop(name))
        prompt_turns, answer = _prompt_and_answer(turns)
        if _same(answer, answers[0]) or _same(answer, answers[1]):
            turns = prompt_turns
        elif answer and (beside or _same(prompt_turns, before)):
            source[name] = whole
            leave_out(source, name)
            turns = []
        if beside and turns and _contains(turns, turns_of("user", beside, source[beside])):
            del source[beside]
        if turns:
            return turns
    return _prompt_turns(source, beside) if beside and source[beside] is not None else []


def leave_out(source: Source, name: str) -> None:
    """Keep in `item` what has the name of a field that is read."""
    item, value = source.get("item", {}), source.pop(name)
    item = item if type(item) is dict else {"item": item}
    if item.get(name, value) != value:
        raise Refused(f"field_twice|the field {name} (in item and beside it)")
    source["item"] = {**item, name: value}


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
    beside = {name: value for name in (*SYSTEM, *TOOLS) if (value := source.pop(name, None)) not in EMPTY}
    for name, value in beside.items():
        if question.get(name) not in EMPTY and (name in TOOLS or value != question[name]):
            raise Refused("tools_twice" if name in TOOLS else "system_twice")
    return _dialogue({**question, **beside}, messages)


def _prompt_turns(source: Source, name: str) -> list[Any]:
    """The turns before the answer: those of `history`, then the question with the text it is about on a line below."""
    turns = _history(source) + turns_of("user", name, source.pop(name))
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
        value = [] if source[name] in EMPTY else _parsed(source[name])
        if type(value) is str and not AS_TEXT.search(value):
            continue
        if type(value) is not list:
            raise Refused(wrong_type(name, value, "a list of turns or of [question, answer]"))
        del source[name]
        are_pairs = all(type(one) is list and len(one) == 2 for one in value)
        parts = zip(cycle(("user", "assistant")), chain.from_iterable(value)) if are_pairs else [("user", value)]
        for role, text in parts:
            turns += turns_of(role, name, text)
    return turns


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
    if source.get("messages") not in EMPTY:  # another dialogue is read
        leave_out(source, "messages")
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
    if type(value) is dict and value.keys() <= {"role", "parts"} and value.get("role") in (None, "system", "user"):
        value = value.get("parts")
    if type(value) is list and all(map(_is_block, value)):
        value = "\n".join(part["text"] for part in value)
    if type(value) is not str:
        raise Refused(wrong_type(name, value))
    return value


def _is_block(part: Any) -> bool:
    is_known = type(part) is dict and part.keys() <= _BLOCK_KEYS and part.get("type", "text") == "text"
    return is_known and type(part.get("text")) is str


def _leave_out_words(source: Source) -> None:
    """Those of fields that are called as tools are: the tools of a workshop, the functions of a part."""
    for name in [name for name in TOOLS if name in source]:
        value = source[name]
        listed = loaded_field(value) if type(value) is str else value
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
    """OpenAI's older functions, tools of Responses, Anthropic (`input_schema`), MCP (`inputSchema`) as one."""
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
