"""Random rows of all formats with random fields beside them: what is learned, kept and reported is the whole row."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from shared.domain.findings import Findings
from shared.domain.recipe import Recipe
from shared.validation.codes import CODES
from shared.validation.conversions import ANSWER_FIELDS, OUTPUTS, PROMPT_FIELDS
from shared.validation.fields import MEDIA, FieldNotes, UsedFields, used_fields
from shared.validation.formats import BESIDE as READ_BESIDE
from shared.validation.formats import KNOWN_NAMES, Format
from shared.validation.intake import ExpectedRows, open_rows
from shared.validation.marks import MARKS, WORDS
from shared.validation.rows import read_row
from tests.examples import examples

# Each text of a row is a token of its own, so that it is known wherever it went.
TOKEN = re.compile(r"t\d+z")


@st.composite
def tokens(draw: Any) -> str:
    return f"t{draw(st.integers(1, 10**9))}z"


TEXT = tokens()
MAYBE = st.none() | st.just("") | TEXT
VALUE = st.recursive(
    TEXT | st.booleans() | st.integers(-3, 9) | st.none() | st.just(""),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)


def extra(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """At most one key that an object at this level may have beside its own."""
    return st.dictionaries(st.sampled_from(names), VALUE, max_size=1)


MESSAGE_KEYS = extra(
    *("name", "weight", "train", "trainable", "loss_weight", "thinking", "images", "mood", "refusal", "reasoning"),
    *("context", "documents", "tool_call_id", "value", "timestamp", "function_call", "tool_calls", "functions", "data"),
)


def with_own(more: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    return {**more, **own}


def obj(more: st.SearchStrategy[dict[str, Any]], **own: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(with_own, more, st.fixed_dictionaries(own))


def lists(*parts: Any) -> st.SearchStrategy[list[Any]]:
    return st.tuples(*parts).map(list)


PART = obj(extra("citations", "cache_control", "annotations", "value", "images"), type=st.just("text"), text=TEXT)
CONTENT = TEXT | TEXT | st.lists(PART | TEXT, min_size=1, max_size=2)
QUESTION = obj(MESSAGE_KEYS, role=st.sampled_from(["user", "user", "system"]), content=CONTENT)
ANSWER = obj(MESSAGE_KEYS, role=st.just("assistant"), content=CONTENT)
FUNCTION = obj(
    extra("thought", "description", "parsed"),
    name=st.just("find"),
    arguments=st.fixed_dictionaries({"part": TEXT}),
)
CALL = obj(
    extra("result", "index", "name", "images"),
    id=st.just("c1") | st.none(),
    type=st.just("function"),
    function=FUNCTION,
)
CALLING = obj(MESSAGE_KEYS, role=st.just("assistant"), content=st.none() | CONTENT, tool_calls=lists(CALL))
RESULT = obj(
    extra("name", "status", "documents", "artifact", "tool_call_id"),
    role=st.just("tool"),
    tool_call_id=st.just("c1") | st.none(),
    content=CONTENT,
)
TOOL = obj(
    extra("strict", "x_note"),
    type=st.just("function"),
    function=obj(extra("returns", "strict"), name=st.just("find"), description=TEXT),
)
DIALOGUE = st.one_of(
    st.builds(lambda prompt, answer: [*prompt, answer], st.lists(QUESTION, min_size=1, max_size=2), ANSWER),
    lists(QUESTION, CALLING, RESULT, ANSWER),
)
TURN_KEYS = extra(
    "value", "content", "role", "weight", "mood", "tool_calls", "name", "text", "context", "images", "tool_call_id"
)


def turn(sender: str, value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    own = {"from": st.just(sender), "value": value}
    return st.builds(with_own, TURN_KEYS, st.fixed_dictionaries(own))


def call_of(texts: tuple[str, str], key: str, before: str, after: str) -> str:
    called = {"name": "find", "arguments": {"part": texts[0]}} | ({key: texts[1]} if key else {})
    return f"{before}{json.dumps(called)}{after}"


CALL_KEYS = st.sampled_from(["", "", "thought", "id", "parameters"])
TURNS = st.one_of(
    lists(turn("human", TEXT), turn("gpt", TEXT)),
    lists(
        turn("human", TEXT),
        turn("function_call", st.builds(call_of, st.tuples(TEXT, TEXT), CALL_KEYS, st.just(""), st.just(""))),
        turn("observation", TEXT),
        turn("gpt", TEXT),
    ),
)


def of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(fields)


def whole(row: dict[str, Any]) -> dict[str, Any]:
    """The pair with its dialogues written out, as UltraFeedback has it."""
    prompt = {"role": "user", "content": row["prompt"]}
    better, worse = ({"role": "assistant", "content": row[name]} for name in ("chosen", "rejected"))
    return {**row, "messages": [prompt, better], "chosen": [prompt, better], "rejected": [prompt, worse]}


def part_of(
    kind: str, identifier: str, key: str, content: st.SearchStrategy[Any], **own: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """A call or a result among the parts of a message, as Anthropic has it or, with capitals, Bedrock and Gemini."""
    keys = extra("cache_control", "mood", "name", "id", "images", "function")
    flat = {"type": st.just(kind)} if kind.islower() else {}
    value = obj(keys, **{**flat, identifier: st.just("c1"), key: content}, **own)
    return value if flat else value.map(lambda inner: {kind: inner})


def in_parts(
    calls: st.SearchStrategy[Any], results: st.SearchStrategy[Any], key: str = "content"
) -> st.SearchStrategy[list[dict[str, Any]]]:
    text = PART if key == "content" else st.fixed_dictionaries({"text": TEXT})
    return lists(
        obj(MESSAGE_KEYS, role=st.just("user"), **{key: lists(text)}),
        obj(MESSAGE_KEYS, role=st.just("assistant"), **{key: lists(text, calls) | lists(calls, text) | lists(calls)}),
        obj(MESSAGE_KEYS, role=st.just("user"), **{key: lists(results) | lists(results, text)}),
        obj(MESSAGE_KEYS, role=st.just("assistant"), **{key: lists(text)}),
    )


ARGUMENTS = st.fixed_dictionaries({"part": TEXT})
FIND = st.just("find")
ANTHROPIC = in_parts(
    part_of("tool_use", "id", "input", ARGUMENTS, name=FIND),
    part_of("tool_result", "tool_use_id", "content", TEXT | lists(PART)),
)
BEDROCK = in_parts(
    part_of("toolUse", "toolUseId", "input", ARGUMENTS, name=FIND),
    part_of("toolResult", "toolUseId", "content", lists(st.fixed_dictionaries({"json": VALUE}))),
)
GEMINI = in_parts(
    part_of("functionCall", "id", "args", ARGUMENTS, name=FIND),
    part_of("functionResponse", "id", "response", VALUE, name=FIND),
    "parts",
)
LANGCHAIN_CALL = obj(extra("type", "index", "function", "mood"), id=st.just("c1"), name=FIND, args=ARGUMENTS)
LANGCHAIN = lists(
    obj(MESSAGE_KEYS, type=st.just("human"), content=TEXT),
    obj(MESSAGE_KEYS, type=st.just("ai"), content=TEXT, tool_calls=lists(LANGCHAIN_CALL)),
    obj(MESSAGE_KEYS, type=st.just("tool"), tool_call_id=st.just("c1"), content=TEXT),
    obj(MESSAGE_KEYS, type=st.just("ai"), data=obj(MESSAGE_KEYS, content=TEXT)),
)
ROWS = st.one_of(
    of(messages=LANGCHAIN, tools=lists(TOOL)),
    of(messages=ANTHROPIC | BEDROCK),
    of(contents=GEMINI),
    of(chat_history=lists(*(obj(MESSAGE_KEYS, role=st.just(role), message=TEXT) for role in ("USER", "CHATBOT")))),
    of(messages=DIALOGUE),
    of(messages=DIALOGUE, tools=lists(TOOL)),
    of(messages=st.lists(QUESTION, min_size=1, max_size=3), target=TEXT),
    of(conversations=TURNS),
    of(text=TEXT),
    of(
        input=obj(
            extra(
                "system",
                "system_prompt",
                "documents",
                "functions",
                "tools",
                "parallel_tool_calls",
                "note",
                "images",
                "item",
            ),
            messages=st.lists(QUESTION, min_size=1, max_size=2),
        ),
        preferred_output=lists(ANSWER),
        non_preferred_output=lists(ANSWER),
    ),
    st.tuples(st.sampled_from(PROMPT_FIELDS), st.sampled_from(ANSWER_FIELDS)).flatmap(
        lambda names: of(**{names[0]: TEXT | DIALOGUE, names[1]: TEXT})
    ),
    st.sampled_from(OUTPUTS).flatmap(lambda names: of(**{PROMPT_FIELDS[0]: TEXT, names[0]: TEXT, names[1]: TEXT})),
    of(prompt=TEXT, messages=DIALOGUE, chosen=DIALOGUE, rejected=DIALOGUE),
    of(messages=DIALOGUE, chosen=TEXT, rejected=TEXT),
    of(prompt=TEXT, chosen=TEXT, rejected=TEXT).map(whole),
)
# Every second name is one that formats read beside a question, so that each of them is often there.
FIELDS = st.dictionaries(
    st.sampled_from(sorted(READ_BESIDE))
    | st.sampled_from(
        [
            *sorted(
                {*KNOWN_NAMES, *MEDIA, *WORDS["fields"]["passages"], *WORDS["fields"]["choices"], *MARKS}
                - {"messages", "conversations"}
            ),
            *("note", "id", "functions", "category", "item", "documents", "parallel_tool_calls", "systemPrompt"),
        ]
    ),
    TEXT | VALUE | MAYBE,
    max_size=3,
)
ITEM = st.fixed_dictionaries(
    {},
    optional={
        "item": st.dictionaries(st.sampled_from(["note", "id", "category", "functions", "tools"]), VALUE, max_size=2)
    },
)
BESIDE = st.builds(with_own, FIELDS | obj(FIELDS, answer=TEXT), ITEM)
ASKS, ANSWERS, ANSWERS_WORSE = (
    {"role": role, "content": text} for role, text in (("user", "t1z"), ("assistant", "t2z"), ("assistant", "t3z"))
)
PAIR = {"input": {"messages": [ASKS]}, "preferred_output": [ANSWERS], "non_preferred_output": [ANSWERS_WORSE]}
DEFAULT = used_fields(Recipe(base_model="droptune/tiny-llama"))
USED = st.frozensets(
    st.sampled_from(["note", "context", "system", "label", "score", "prompt", "documents"]), max_size=2
)


def numbered(row: dict[str, Any]) -> dict[str, Any]:
    """The row with tokens that are all different."""
    numbers = itertools.count(1)
    found: dict[str, Any] = json.loads(TOKEN.sub(lambda _: f"t{next(numbers)}z", json.dumps(row)))
    return found


def placed(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every token with the path of what holds it, as a report writes it."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from ((path, token) for token in TOKEN.findall(name))
            yield from placed(part, f"{path}.{name}".removeprefix("."))
    elif isinstance(value, list):
        for part in value:
            yield from placed(part, f"{path}[]")
    elif isinstance(value, str):
        yield from ((path, token) for token in TOKEN.findall(value))


def inner(path: str) -> str:
    """Without the name of the dialogue, which has one of its own in the canonical form."""
    return path.partition("[].")[2] or path


def lost(row: dict[str, Any], form: Format, read_by_recipe: UsedFields = DEFAULT) -> list[Any]:
    """What of a row is neither learned nor kept nor reported."""
    read, codes = read_row(json.dumps(row).encode(), form, read_by_recipe.names)
    assert all(code.partition("|")[0] in CODES for code in codes)
    if read is None:
        return [] if codes else ["refused without a reason"]
    document = json.loads(read.canonical)
    left_out = [inner(code.split("|")[1]) for code in codes if code.startswith(("ignored_field|", "media_named|"))]
    kept = {token for _, token in placed(document)}
    found: list[Any] = []
    for path, token in placed(row):
        holders = [f"{one}." for known in _paths(path) for one in (known, inner(known))]
        named = any(holder.startswith((f"{name}.", f"{name}[")) for name in left_out for holder in holders)
        # A key of a call or a result among the parts of a message, too.
        in_part = re.findall(r"\w+", path) if "].content[]" in path or "].parts[]" in path else []
        named = named or any(name.rpartition(".")[2] in (token, *in_part) for name in left_out)
        found += [] if token in kept or named else [(path, codes, document)]
    findings = Findings(CODES)
    notes = FieldNotes(read_by_recipe)
    notes.add(1, read.item, read.messages, has_answer=form.kind == "chat")
    notes.report(findings, "train")
    named_fields = " ".join(problem.message for problem in findings.problems())
    for name, value in read.item.items():
        empty = value in (None, "", [], {})
        words = (f"field {name}", f"reads {name}:", f"reads {name} (words", f"an answer: {name}.")
        is_named = any(one in named_fields for one in words)
        if not (empty or name in read_by_recipe.names or is_named or not _shown(name)):
            found.append((name, named_fields))
    return found


# Where a key of a wrapper, an older call, or an answer that is a turn is named.
CANONICAL = {
    r"^input\.item\b": "input",
    r"\.(data|kwargs)\b": "",
    r"\.function_call\b": ".tool_calls[].function",
    r"^(chosen|rejected)\b": "[]",
}


def _paths(path: str) -> set[str]:
    found = {path}
    for own, canonical in CANONICAL.items():
        found |= {re.sub(own, canonical, known, count=1) for known in found}
    return found


def _shown(name: str) -> bool:
    return not TOKEN.search(name)


@examples(1000, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS, BESIDE, USED, st.booleans())
@example({**PAIR, "input": {"functions": "t1z", "messages": [ASKS]}}, {}, frozenset(), False)
def test_what_is_learned_kept_and_reported_is_the_row(row: Any, beside: Any, used: Any, prompts: Any) -> None:
    row = numbered({**beside, **row})
    form = open_rows([json.dumps(row).encode()], ExpectedRows(prompts=prompts)).form
    assert form is not None
    assert lost(row, form, DEFAULT._replace(names=DEFAULT.names | used)) == [], row


# A row of each shape. Each object in it gets each name with a value of each type.
CALLED = {"name": "find", "arguments": '{"part": "t4z"}'}
A_CALL = {"id": "c1", "type": "function", "function": CALLED}
A_TOOL = {"type": "function", "function": {"name": "find", "description": "t5z"}}
A_RESULT = {"role": "tool", "tool_call_id": "c1", "content": "t6z"}
OLDER_RESULT = {"role": "function", "name": "find", "content": "t6z"}
CALLS = {"role": "assistant", "content": None, "tool_calls": [A_CALL]}
TURN, REPLY = {"from": "human", "value": "t1z"}, {"from": "gpt", "value": "t2z"}


def with_calls(call: Any, result: Any, **beside: Any) -> dict[str, Any]:
    messages = [ASKS, {"role": "assistant", "content": call}, {"role": "user", "content": result}, ANSWERS]
    return {"messages": messages, "tools": [{"name": "find", "input_schema": {}}], **beside}


SHAPES: dict[str, dict[str, Any]] = {
    "messages": {"messages": [ASKS, ANSWERS]},
    "parts": {"messages": [ASKS, {"role": "assistant", "content": [{"type": "text", "text": "t2z"}]}]},
    "calls": {"messages": [ASKS, CALLS, A_RESULT, ANSWERS], "tools": [A_TOOL], "item": {"note": "t7z"}},
    "older calls": {
        "messages": [ASKS, {"role": "assistant", "content": None, "function_call": CALLED}, OLDER_RESULT, ANSWERS],
        "functions": [A_TOOL["function"]],
    },
    "both calls": {"messages": [ASKS, {**CALLS, "function_call": CALLED}, A_RESULT, ANSWERS], "tools": [A_TOOL]},
    "words": {"messages": [ASKS, ANSWERS], "tools": "t8z", "item": {"note": "t7z"}},
    "Anthropic": with_calls(
        [{"type": "tool_use", "id": "c1", "name": "find", "input": {"part": "t4z"}}],
        [{"type": "tool_result", "tool_use_id": "c1", "content": "t6z"}],
        system=[{"type": "text", "text": "t9z"}],
    ),
    "Bedrock": with_calls(
        [{"toolUse": {"toolUseId": "c1", "name": "find", "input": {"part": "t4z"}}}],
        [{"toolResult": {"toolUseId": "c1", "content": [{"json": {"part": "t6z"}}]}}],
    ),
    "Gemini": {
        "system_instruction": {"role": "system", "parts": [{"text": "t9z"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "t1z"}]},
            {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "find", "args": {"part": "t4z"}}}]},
            {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "find", "response": {"a": "t6z"}}}]},
            {"role": "model", "parts": [{"text": "t2z"}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "find", "description": "t5z"}]}],
    },
    "LangChain in data": {
        "messages": [{"type": "human", "data": {"content": "t1z"}}, {"type": "ai", "data": {"content": "t2z"}}]
    },
    "LangChain": {
        "messages": [
            {"type": "human", "content": "t1z"},
            {"type": "ai", "content": "t2z", "tool_calls": [{"name": "find", "args": {"part": "t4z"}, "id": "c1"}]},
            {"type": "tool", "tool_call_id": "c1", "content": "t6z"},
            {"type": "ai", "content": "t3z"},
        ],
        "tools": [A_TOOL],
    },
    "Cohere": {"chat_history": [{"role": "USER", "message": "t1z"}, {"role": "CHATBOT", "message": "t2z"}]},
    "ShareGPT": {"conversations": [TURN, REPLY]},
    "ShareGPT with calls": {
        "conversations": [
            TURN,
            {"from": "function_call", "value": json.dumps(CALLED)},
            {"from": "observation", "value": "t6z"},
            REPLY,
        ],
        "tools": json.dumps([A_TOOL]),
    },
    "a pair": {"prompt": "t1z", "completion": "t2z"},
    "a pair of dialogues": {"prompt": [ASKS], "completion": [ANSWERS]},
    "Alpaca": {"instruction": "t1z", "input": "t4z", "output": "t2z", "system": "t9z", "history": [["t5z", "t6z"]]},
    "a target": {"messages": [ASKS], "target": "t2z"},
    "a text": {"text": "t2z"},
    "a preference": PAIR,
    "a preference with tools": {
        "input": {"messages": [ASKS], "tools": [A_TOOL], "item": {"note": "t7z"}},
        "preferred_output": [CALLS],
        "non_preferred_output": [ANSWERS_WORSE],
    },
    "two answers": {"prompt": "t1z", "chosen": "t2z", "rejected": "t3z"},
    "two dialogues": {
        "prompt": "t1z",
        "messages": [ASKS, ANSWERS],
        "chosen": [ASKS, ANSWERS],
        "rejected": [ASKS, ANSWERS_WORSE],
    },
    "two turns": {"conversations": [TURN], "chosen": REPLY, "rejected": {"from": "gpt", "value": "t3z"}},
    "a prompt": {"messages": [ASKS], "item": {"note": "t7z"}},
}
NAMES = [
    *("arguments", "content", "context", "conversations", "data", "documents", "from", "function", "function_call"),
    *("functions", "history", "id", "images", "input", "item", "kwargs", "messages", "name", "note", "parts", "prompt"),
    *("non_preferred_output", "parallel_tool_calls", "parameters", "preferred_output", "refusal", "role", "system"),
    *("text", "tool_call_id", "tool_calls", "tools", "type", "value"),
]
TYPES: dict[str, Any] = {
    "text": "t90z",
    "a number": 712345,
    "0": 0,
    "true": True,
    "false": False,
    "a list": ["t90z"],
    "a list of lists": [["t90z"]],
    "a list of objects": [{"key": "t90z"}],
    "an object": {"key": "t90z"},
    "an object of numbers": {"t90z": 1},
    "messages": [{"role": "user", "content": "t90z"}, {"role": "assistant", "content": "t91z"}],
    "JSON": '["t90z"]',
}


def objects(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every object."""
    if isinstance(value, dict):
        yield path
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from objects(part, (*path, key))


def put(row: dict[str, Any], path: tuple[Any, ...], name: str, *values: Any) -> dict[str, Any]:
    """A copy of the row with a value in one of its objects, or without the one it has."""
    made: dict[str, Any] = json.loads(json.dumps(row))
    place: Any = made
    for key in path:
        place = place[key]
    place.pop(name, None)
    place |= dict.fromkeys([name] * len(values), *values)
    return made


def reading_of(row: dict[str, Any], form: Format) -> tuple[bytes, set[str]]:
    read, codes = read_row(json.dumps(row).encode(), form, DEFAULT.names)
    return read.canonical if read else b"", set(codes)


@pytest.mark.few_cases(50, ci=150)
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_value_of_each_type_at_each_place_is_read_kept_or_reported(shape: str, kind: str) -> None:
    row, value = SHAPES[shape], TYPES[kind]
    form = open_rows([json.dumps(row).encode()], ExpectedRows(prompts=shape == "a prompt")).form
    assert form is not None
    assert reading_of(row, form)[0]
    for path in objects(row):
        for name in NAMES:
            changed = put(row, path, name, value)
            assert lost(changed, form) == [], (path, name)
            if not TOKEN.search(json.dumps(value)):  # what it says has no name of its own
                canonical, codes = reading_of(changed, form)
                assert not canonical or (canonical, codes) != reading_of(put(row, path, name), form), (path, name)
