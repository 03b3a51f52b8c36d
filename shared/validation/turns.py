"""Turns of ShareGPT, LangChain, Anthropic, Bedrock and Gemini (`turns.toml`) as messages."""

from typing import Any

import orjson

from shared.domain.beside import read_beside
from shared.validation.names import EMPTY, Refused, wrong_type
from shared.validation.strict import loaded_text, lost_in

Source = dict[str, Any]

_TABLES: dict[str, dict[str, str]] = read_beside(__file__)
_ROLES = {name: role for role, names in _TABLES["roles"].items() for name in names.split()}
_TYPES = {**_ROLES, "tool": "tool"}  # of LangChain
_CALLS, _RESULTS = (_TABLES["senders"][name].split() for name in ("calls", "results"))
_CONTENT_KEYS, _CALL_KEYS = _TABLES["keys"]["content"].split(), frozenset(_TABLES["keys"]["call"].split())
_CALL_PARTS = {kind: keys.split() for kind, keys in _TABLES["calls"].items()}
_RESULT_PARTS = {kind: keys.split() for kind, keys in _TABLES["results"].items()}


def turns_of(role: str, name: str, value: Any) -> list[Any]:
    """A text as a turn; a list is a dialogue already, an object a turn. `name`: of the field."""
    if type(value) is list:
        if not all(type(turn) is dict for turn in value) or (value and not any(map(is_message, value))):
            raise Refused(wrong_type(name, value, "text or messages"))
        return messages_of(value)
    if type(value) is dict and is_message(value):
        return messages_of([value])
    if value is not None and type(value) is not str:
        raise Refused(wrong_type(name, value, "text or messages" if type(value) is dict else "text"))
    return [{"role": role, "content": value}]


def is_message(value: Source) -> bool:
    return not value.keys().isdisjoint(("role", "from", "content"))


def messages_of(turns: list[Any]) -> list[Any]:
    """Turns of `from` and `value` as messages. Calls, which have no ids there, are answered in order."""
    if not any(type(turn) is dict and "from" in turn for turn in turns):
        return [message for turn in turns for message in _unpacked(_with_role(turn))]
    messages: list[Any] = []
    open_calls: list[str] = []
    for turn in turns:
        if type(turn) is not dict or "from" not in turn:
            messages.append(turn)
        elif turn["from"] in _RESULTS:
            messages += _results(turn, open_calls)
        elif turn["from"] in _CALLS:
            messages.append(calls_of(turn, turn.get("value"), len(messages)))
            open_calls = [call["id"] for call in messages[-1]["tool_calls"]]
        else:
            messages.append(_message(turn, {"role": role_of(turn["from"]), "content": turn.get("value")}))
    return messages


def role_of(name: Any) -> Any:
    return _ROLES.get(name.casefold(), name) if type(name) is str else name


def _called(id: Any, name: Any, args: Any, **beside: Any) -> Source:
    kind = beside.pop("type", "tool_call")  # LangChain's word
    function = {"name": name, "arguments": args}
    return {"id": id, "type": "function" if kind == "tool_call" else kind, "function": function, **beside}


def _of_langchain(message: Source) -> Source:
    """LangChain's messages have a `type`, and other keys may stand in `data` or `kwargs`; its calls have `args`."""
    name = next((name for name in ("data", "kwargs") if type(message.get(name)) is dict), "")
    inner, own = message.get(name, {}), (name, "lc", "id", "type") if message.get("type") == "constructor" else (name,)
    found = _joined({key: message[key] for key in message.keys() - own if message[key] != inner.get(key, own)}, inner)
    role = _TYPES.get(str(found.get("type")).casefold().removesuffix("chunk").removesuffix("message"))
    if role is None:
        return message
    calls = found.get("tool_calls")
    if type(calls) is list and all(type(call) is dict and "args" in call and "function" not in call for call in calls):
        found["tool_calls"] = [_called(**{"id": None, "name": None, **call}) for call in calls]
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
    if "role" not in message or (role := role_of(message["role"])) == message["role"]:
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
            calls.append(_joined(part, _called(identifier, part.pop("name", None), content)))
        else:
            result = {"role": "tool", "tool_call_id": identifier, "content": "" if content is None else content}
            results.append(_joined(part, result))
    rest = {**message, "content": [part for part in parts if not _tool_part(part)] or None}
    if calls:
        rest = _joined(rest, {"tool_calls": calls})
    elif rest["content"] is None and rest.get("role") in ("user", "tool", "function", None):
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
        if name == "role":
            other = role_of(other)
        if value in EMPTY:
            message[name] = other if other not in EMPTY else value
        elif other not in EMPTY and other != value:
            raise Refused(f"field_twice|{_TABLES['twice'][name]}")
    return {**message, **rest}


def calls_of(turn: Source, text: Any, number: int) -> Source:
    """The assistant's message of a `function_call` turn: one call, or a list of calls, as JSON text."""
    found = loaded_field(text)
    calls = found if type(found) is list else [found]
    if not calls or not all(map(is_call, calls)):
        raise Refused("invalid_tool_calls")
    if code := lost_in(text, found):
        raise Refused(code)
    made = [
        _called(call.get("id", f"call_{number}_{n}"), call["name"], as_text(arguments))
        for n, call in enumerate(calls)
        for arguments in [call.get("arguments", call.get("parameters", {}))]
    ]
    return _message(turn, {"role": "assistant", "content": "", "tool_calls": made})


def is_call(call: Any) -> bool:
    if type(call) is not dict or type(call.get("name")) is not str or not call.keys() <= _CALL_KEYS:
        return False
    return not ("arguments" in call and "parameters" in call) and call.get("type", "function") == "function"


def _results(turn: Source, open_calls: list[str]) -> list[Source]:
    """The tool messages of an `observation` turn: of all open calls if it is a list of as many results, else of one."""
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
    several = loaded_field(value) if count > 1 else None
    if type(several) is not list or len(several) != count:
        return [value]
    if code := lost_in(value, several):
        raise Refused(code)
    return [as_text(one) for one in several]


def as_text(value: Any) -> Any:
    """A text as it is, another value as JSON."""
    return value if type(value) is str else orjson.dumps(value).decode()


def loaded_field(value: Any) -> Any:
    """What the text of a field holds as JSON; None of another value."""
    return loaded_text(value) if type(value) is str else None
