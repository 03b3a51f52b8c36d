"""Random rows of all formats with random fields beside them: what is learned, kept and reported is the whole row."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from shared.domain.findings import Findings
from shared.domain.recipe import Recipe
from shared.validation.codes import CODES
from shared.validation.conversions import ANSWER_FIELDS, OUTPUTS, PROMPT_FIELDS
from shared.validation.fields import MEDIA, FieldNotes, used_fields
from shared.validation.formats import BESIDE as READ_BESIDE
from shared.validation.formats import KNOWN_NAMES
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
    *("context", "documents", "tool_call_id", "value", "timestamp"),
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
TURN_KEYS = extra("value", "content", "role", "weight", "mood", "tool_calls", "name", "text", "context", "images")


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
    lists(
        turn("human", TEXT),
        turn(
            "gpt",
            st.builds(
                call_of,
                st.tuples(TEXT, TEXT),
                CALL_KEYS,
                TEXT.map(lambda text: text + "<tool_call>"),
                TEXT.map(lambda text: "</tool_call>" + text),
            ),
        ),
        turn("tool", TEXT.map(lambda text: f"<tool_response>{text}</tool_response>")),
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
ROWS = st.one_of(
    of(messages=ANTHROPIC | BEDROCK),
    of(contents=GEMINI),
    of(chat_history=lists(*(obj(MESSAGE_KEYS, role=st.just(role), message=TEXT) for role in ("USER", "CHATBOT")))),
    of(data=lists(TEXT, TEXT)),
    of(messages=DIALOGUE),
    of(messages=DIALOGUE, tools=lists(TOOL)),
    of(messages=st.lists(QUESTION, min_size=1, max_size=3), target=TEXT),
    of(conversations=TURNS),
    of(text=TEXT),
    of(
        input=obj(
            extra(
                "system", "system_prompt", "documents", "functions", "tools", "parallel_tool_calls", "note", "images"
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
    {}, optional={"item": st.dictionaries(st.sampled_from(["note", "id", "category"]), VALUE, max_size=2)}
)
BESIDE = st.builds(with_own, FIELDS | obj(FIELDS, answer=TEXT), ITEM)
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


@examples(1000, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS, BESIDE, USED, st.booleans())
def test_what_is_learned_kept_and_reported_is_the_row(row: Any, beside: Any, used: Any, prompts: Any) -> None:
    row = numbered({**beside, **row})
    form = open_rows([json.dumps(row).encode()], ExpectedRows(prompts=prompts)).form
    assert form is not None
    read_by_recipe = DEFAULT._replace(names=DEFAULT.names | used)
    read, codes = read_row(json.dumps(row).encode(), form, read_by_recipe.names)
    assert all(code.partition("|")[0] in CODES for code in codes)
    if read is None:
        assert codes  # refused, with a reason
        return
    document = json.loads(read.canonical)
    left_out = [inner(code.split("|")[1]) for code in codes if code.startswith(("ignored_field|", "media_named|"))]
    kept = {token for _, token in placed(document)}
    for path, token in placed(row):
        holders = (f"{path}.", f"{inner(path)}.")
        named = any(holder.startswith((f"{name}.", f"{name}[")) for name in left_out for holder in holders)
        # A key of a call or a result among the parts of a message is named at its place in the canonical form.
        in_part = re.findall(r"\w+", path) if "].content[]" in path or "].parts[]" in path else []
        named = named or any(name.rpartition(".")[2] in in_part for name in left_out)
        assert token in kept or named, (path, codes, row, document)
    findings = Findings(CODES)
    notes = FieldNotes(read_by_recipe)
    notes.add(1, read.item, read.messages, has_answer=form.kind == "chat")
    notes.report(findings, "train")
    named_fields = " ".join(problem.message for problem in findings.problems())
    for name, value in read.item.items():
        empty = value in (None, "", [], {})
        is_named = any(words in named_fields for words in (f"field {name}", f"reads {name}:", f"reads {name} (words"))
        assert empty or name in used or is_named or not _shown(name), (name, named_fields)


def _shown(name: str) -> bool:
    return not TOKEN.search(name)
