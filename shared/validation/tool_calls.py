"""Canonical tool calls, and whether calls, results and tools fit together: codes as `code||place`, of the first."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

import orjson

from shared.grading.errors import GradingFailed
from shared.validation.fields import Unread
from shared.validation.names import EMPTY
from shared.validation.strict import loaded_text, lost_in

if TYPE_CHECKING:
    from shared.grading.schema import Schema

Message = dict[str, Any]
Call = dict[str, Any]
_CALL_KEYS = frozenset({"id", "type", "function"})
_FUNCTION_KEYS = frozenset({"name", "arguments"})
_SCHEMA_KEYS = frozenset({"properties", "additionalProperties", "$defs", "definitions", "not", "if"})
_SCHEMAS_KEPT = 4096


def report(codes: set[str], code: str, place: str) -> None:
    """Add a code with its place, unless the row has it already."""
    if not any(known.startswith(f"{code}||") for known in codes):
        codes.add(f"{code}||{place}")


def without_functions(messages: list[Any], codes: set[str], at: str) -> list[Any]:
    """The messages, with OpenAI's older `function_call` as one of `tool_calls`, and the role function as tool."""
    if not any(type(one) is dict and (one.get("function_call") or one.get("role") == "function") for one in messages):
        return messages
    return [_without_function(message, codes, f"{at}[{index}]") for index, message in enumerate(messages)]


def _without_function(message: Any, codes: set[str], place: str) -> Any:
    if type(message) is not dict:
        return message
    if message.get("role") == "function":
        return {**message, "role": "tool"}
    function = message.get("function_call")
    if not function:
        return message
    calls = [{"type": "function", "function": _loaded(function, codes)}]
    rest = {key: value for key, value in message.items() if key != "function_call"}
    if message.get("tool_calls") not in EMPTY:
        if _functions_called(message) != _functions_called({"tool_calls": calls}):
            codes.add("field_twice|the calls of a message (function_call and tool_calls)")
        return rest
    if not _calls_of({"tool_calls": calls}):
        report(codes, "invalid_tool_calls", f"{place}.function_call")
    return {**rest, "tool_calls": calls}


def _loaded(function: Any, codes: set[str]) -> Any:
    """The object that a cell of a table holds as JSON text."""
    found = loaded_text(function) if type(function) is str else None
    if found is None:
        return function
    if lost := lost_in(function, found):
        codes.add(lost)
    return found


def _functions_called(message: Message) -> list[Any]:
    functions = [call["function"] for call in _calls_of(message)]
    texts = [_read_arguments(one.get("arguments"), set(), "") for one in functions]
    return [{**one, "arguments": orjson.loads(text or "0")} for one, text in zip(functions, texts, strict=True)]


def with_ids(messages: list[Any], first: int = 0) -> list[Any]:
    """The messages, with an id for each call that has none and for its result, as rows of Transformers and TRL lack:
    that of the first open call of its `name`, or of any. `first`: number of the first message in its dialogue."""
    if not any(type(message) is dict and _lacks_id(message) for message in messages):
        return messages
    read: list[Any] = []
    waiting: list[tuple[str, Any]] = []  # id and function of each open call
    for index, message in enumerate(messages):
        if type(message) is not dict:
            read.append(message)
        elif message.get("role") == "tool":
            read.append(_result_with_id(message, waiting))
        else:
            given = _is_given_ids(islice(messages, index + 1, None))
            made = message if given else _calls_with_ids(message, first + index)
            waiting = [(call["id"], call["function"]["name"]) for call in _calls_of(made) if "id" in call]
            read.append(made)
    return read


def _calls_of(message: Message) -> list[Call]:
    """The calls of a message that are written as calls."""
    calls = message.get("tool_calls")
    return [call for call in calls if _is_call(call)] if type(calls) is list else []


def _is_call(call: Any) -> bool:
    function = call.get("function") if type(call) is dict else None
    return type(function) is dict and "name" in function


def _lacks_id(message: Message) -> bool:
    if message.get("role") == "tool":
        return message.get("tool_call_id") is None
    return "tool_calls" in message and any(call.get("id") is None for call in _calls_of(message))


def _is_given_ids(after: Iterable[Any]) -> bool:
    """Whether the results that follow have ids, which those of the calls should equal."""
    results = takewhile(lambda message: type(message) is dict and message.get("role") == "tool", after)
    return any(message.get("tool_call_id") is not None for message in results)


def _calls_with_ids(message: Message, number: int) -> Message:
    calls = _calls_of(message)
    if calls != message.get("tool_calls"):
        return message
    named = [
        {**call, "id": f"call_{number}_{index}"} if call.get("id") is None else call for index, call in enumerate(calls)
    ]
    return {**message, "tool_calls": named} if named else message


def _result_with_id(message: Message, waiting: list[tuple[str, Any]]) -> Message:
    """Takes the call that the result is of from those that wait."""
    identifier, name = message.get("tool_call_id"), message.get("name")
    for place, (known, function) in enumerate(waiting):
        if identifier == known if identifier is not None else name in (None, "", function):
            del waiting[place]
            return {**message, "tool_call_id": known}
    return message


def read_tool_calls(message: Message, role: str, codes: set[str], unread: list[Unread], place: str) -> list[Call]:
    """The calls of a message in OpenAI's form, arguments as JSON text; empty if there are none."""
    calls = message.get("tool_calls")
    if calls is None or calls == []:
        return []
    if role != "assistant" or type(calls) is not list:
        report(codes, "invalid_tool_calls", f"{place}.tool_calls")
        return []
    read = [_read_call(call, codes, unread, f"{place}.tool_calls[{index}]") for index, call in enumerate(calls)]
    return [call for call in read if call is not None]


def _read_call(call: Any, codes: set[str], unread: list[Unread], place: str) -> Call | None:
    function = call.get("function") if type(call) is dict else None
    if type(function) is not dict or type(function.get("name")) is not str or not function["name"].strip():
        report(codes, "invalid_tool_calls", f"{place}.function.name")
        return None
    if call.get("type", "function") != "function":
        report(codes, "invalid_tool_calls", f"{place}.type")
        return None
    if type(call.get("id")) is not str or not call["id"].strip():
        report(codes, "tool_call_without_id", f"{place}.id")
        return None
    arguments = _read_arguments(function.get("arguments"), codes, f"{place}.function.arguments")
    unread += ((place, key, call[key]) for key in call.keys() - _CALL_KEYS)
    unread += ((f"{place}.function", key, function[key]) for key in function.keys() - _FUNCTION_KEYS)
    return {"id": call["id"], "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _read_arguments(value: Any, codes: set[str], place: str) -> str:
    """JSON text of an object, from it, the object, text encoded twice, or nothing; else empty."""
    if type(value) is dict:
        return orjson.dumps(value).decode()
    if value is None or (type(value) is str and not value.strip()):
        return "{}"
    text = value
    for _ in range(2):
        found = loaded_text(text) if type(text) is str else None
        if type(found) is dict:
            if lost := lost_in(text, found):
                report(codes, lost, place)
            return str(text)
        text = found
    report(codes, "tool_arguments_not_json", place)
    return ""


# After these, what is left of the calls says nothing about the row.
_UNREADABLE = frozenset({"data_type", "invalid_tool_calls", "tool_call_without_id"}) | frozenset(
    {"message_missing_key", "unrecognized_role"}
)


def check_conversation(
    messages: Sequence[Message],
    tools: Sequence[Any],
    codes: set[str],
    *,
    at: str = "messages",
    after: Sequence[Message] = (),
    is_rejected: bool = False,
) -> None:
    """Whether each call is answered, each result called for, each function one of `tools`. `after`: what was said
    before, with its faults reported. `is_rejected`: an answer that is to be avoided, which may call what is not
    there."""
    if not any("tool_calls" in one or one.get("role") == "tool" for one in messages):
        return
    if not _UNREADABLE.isdisjoint(code.partition("|")[0] for code in codes):
        return
    turns = _Turns(codes)
    for message in after:
        turns.add(message, None)
    for index, message in enumerate(messages):
        turns.add(message, f"{at}[{index}]")
    turns.finish()
    if not is_rejected:
        _check_functions(messages, tools, codes, at)


@dataclass
class _Turns:
    """Calls by id: those that wait for a result, and those whose results did not come in their turn."""

    codes: set[str]
    waiting: dict[str, str | None] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # of the functions that are called
    passed: dict[str, str | None] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    last: str | None = None

    def add(self, message: Message, place: str | None) -> None:
        self.last = message["role"]
        if message["role"] == "tool":
            self._result(message["tool_call_id"], place)
            if message.get("name") not in (None, "", self.names.get(message["tool_call_id"], message.get("name"))):
                self._report("tool_result_name", place and f"{place}.name")
            return
        self.passed |= self.waiting
        self.waiting = {}
        for index, call in enumerate(message.get("tool_calls", ())):
            self.names[call["id"]] = call["function"]["name"]
            self._call(call["id"], place and f"{place}.tool_calls[{index}].id")

    def _call(self, identifier: str, place: str | None) -> None:
        if identifier in self.waiting:
            self._report("tool_call_id_twice", place)
        elif identifier in self.passed:
            self._report("tool_call_unanswered", self.passed.pop(identifier))
        elif identifier in self.known:
            self._report("tool_call_id_reused", place)
        self.known.add(identifier)
        self.answered.discard(identifier)
        self.waiting[identifier] = place

    def _result(self, identifier: str, place: str | None) -> None:
        if identifier in self.waiting:
            del self.waiting[identifier]
            self.answered.add(identifier)
        elif identifier in self.passed:
            del self.passed[identifier]
            self._report("tool_result_late", place and f"{place}.tool_call_id")
        else:
            code = "tool_result_twice" if identifier in self.answered else "tool_message_orphan"
            self._report(code, place and f"{place}.tool_call_id")

    def finish(self) -> None:
        """A dialogue may end with calls, which are then what is learned."""
        left = self.passed if self.last == "assistant" else self.passed | self.waiting
        for place in left.values():
            self._report("tool_call_unanswered", place)

    def _report(self, code: str, place: str | None) -> None:
        if place is not None:
            report(self.codes, code, place)


def _check_functions(messages: Sequence[Message], tools: Sequence[Any], codes: set[str], at: str) -> None:
    parameters = {tool["function"]["name"]: tool["function"].get("parameters") for tool in tools}
    for place, call in _learned_calls(messages, at):
        name = call["function"]["name"]
        if not tools and "invalid_tools" in codes:
            return
        if not tools:
            report(codes, "tools_missing", f"{place}.function.name")
        elif name not in parameters:
            report(codes, "tool_unknown", f"{place}.function.name")
        elif parameters[name]:
            _check_arguments(parameters[name], call, codes, f"{place}.function.arguments")


def _learned_calls(messages: Sequence[Message], at: str) -> Iterator[tuple[str, Call]]:
    """Calls of answers with weight 0 are left out: what is wrong with them may be the reason for the weight."""
    for index, message in enumerate(messages):
        if message.get("weight", 1):
            for number, call in enumerate(message.get("tool_calls", ())):
                yield f"{at}[{index}].tool_calls[{number}]", call


def _check_arguments(parameters: Any, call: Call, codes: set[str], place: str) -> None:
    arguments = call["function"]["arguments"]
    if not arguments:  # reported
        return
    schema = _schema(orjson.dumps(parameters))
    try:
        if schema is None:
            report(codes, "tool_schema_unreadable", place)
        elif not schema.holds(orjson.loads(arguments)):
            report(codes, "tool_arguments_violate_schema", place)
    except GradingFailed:  # the schema goes round in circles, or takes too long
        report(codes, "tool_schema_unreadable", place)


@lru_cache(maxsize=_SCHEMAS_KEPT)
def _schema(parameters: bytes) -> "Schema | None":
    """None if it cannot be read. Rows share their tools, and a schema takes a millisecond to read."""
    from shared.grading.schema import Schema  # jsonschema: 3 MB that most datasets do without

    try:
        document = orjson.loads(parameters)
        return None if _is_bare(document) else Schema(_nullable(document))
    except (ValueError, TypeError, AttributeError, RecursionError):  # no schema, no object, or nested too deep
        return None


def _is_bare(document: Any) -> bool:
    """Whether these are parameters without a schema around them, as xLAM has them: JSON Schema reads none of them."""
    values = document.values() if type(document) is dict else ()
    return all(type(value) is dict for value in values) and _SCHEMA_KEYS.isdisjoint(document)


def _nullable(schema: Any) -> Any:
    """`nullable` of OpenAPI 3.0, and Gemini's types in capitals, as JSON Schema says it."""
    if type(schema) is list:
        return [_nullable(one) for one in schema]
    if type(schema) is not dict:
        return schema
    made = {name: _nullable(value) for name, value in schema.items()}
    if type(made.get("type")) is str:
        made["type"] = made["type"].lower()
    return {"anyOf": [made, {"type": "null"}]} if schema.get("nullable") is True else made
