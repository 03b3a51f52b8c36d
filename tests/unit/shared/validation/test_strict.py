"""What the fast reader says of a line is what the slow and obvious one says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.domain.blank import is_blank
from shared.domain.findings import Findings, Place
from shared.domain.recipe import Data
from shared.validation.codes import CONTENT_CODES
from shared.validation.compared import content_of
from shared.validation.content.scan import ContentScan
from shared.validation.formats import CHAT, detect
from shared.validation.rows import read_row
from shared.validation.strict import loaded_text
from tests.examples import examples

TEXTS = ['"a"', '"b:"', r'"\":"', r'"\u003a"', r'"\\u003a"', r'"\u0022:"', '"e+20"', '""']
NUMBERS = [str(2**64 - 1), str(2**64), str(-(2**63)), str(-(2**63) - 1), "9" * 5000, "1", "1.5e+22"]
SCALARS = st.sampled_from([*TEXTS, *NUMBERS, "null"])
KEYS = st.sampled_from(
    ['"a"', r'"\u0061"', '"b"', '":"', r'"\u003a"', r'"\u003A"', '"role"', '"content"', '"messages"']
)
BLANKS = st.sampled_from(["", " ", "\t", "\r"])


def as_object(pairs: list[tuple[str, str, str, str]]) -> str:
    return "{" + ",".join(f"{before}{key}{after}:{value}" for key, value, before, after in pairs) + "}"


VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: "[" + ",".join(parts) + "]")
        | st.lists(st.tuples(KEYS, inner, BLANKS, BLANKS), max_size=4).map(as_object)
    ),
    max_leaves=8,
)
PLAIN = '{"role":"user","content":"q: 1"},{"role":"assistant","content":"a"}'
ANSWER = '{"role":"assistant","content":"a"}'
EXTRA = st.lists(st.tuples(KEYS, VALUES, BLANKS, BLANKS), max_size=3)


class Lost(Exception):
    pass


def reference(line: bytes) -> str | None:
    """Decided by the standard library alone."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in found}) < len(found):
            raise Lost("duplicate_key")
        return dict(found)

    def integer(digits: str) -> int:
        if len(digits) > 30 or not -(2**63) <= int(digits) < 2**64:
            raise Lost("number_out_of_range")
        return int(digits)

    try:
        json.loads(line.decode(), object_pairs_hook=pairs, parse_int=integer)
    except Lost as error:
        return str(error)
    return None


def found(line: bytes) -> set[str]:
    return set(read_row(line)[1]) & {"duplicate_key", "number_out_of_range", "invalid_json"}


@examples(500)
@given(EXTRA, EXTRA, st.booleans())
@example([('"messages"', "[]", "", "")], [], False)
@example([], [('"role"', '"user"', "", "")], False)
@example([('"a"', r'"\u003a"', "", ""), ('"a"', '"x"', "", "")], [], False)
@example([('"a"', '"x"', "", ""), ('"a"', r'"\u003a"', "", "")], [], False)
@example([('"a"', "9" * 5000, "", "")], [], True)
def test_no_lost_key_and_no_lost_digit_goes_unseen_and_none_is_made_up(row, message, spaced) -> None:
    """The row's own fields beside plain messages, and fields inside a message, may each repeat a key."""
    first = as_object([('"role"', '"user"', "", ""), ('"content"', '"q: 1"', "", ""), *message])
    line = as_object([('"messages"', f"[{first},{ANSWER}]", "", ""), *row])
    line = line.replace(":", ": ", 1) if spaced else line
    expected = reference(line.encode())
    if "9" * 5000 in line:  # the parser refuses what is no finite number before anything is lost
        assert found(line.encode()) == {"invalid_json"}
    elif expected is None:
        assert found(line.encode()) == set()
    else:
        assert len(found(line.encode())) == 1


TEXT = st.text(st.sampled_from('a:"\\é\n\u0001😀/'), max_size=12).filter(lambda text: not is_blank(text))


@examples(300)
@given(st.lists(TEXT, min_size=1, max_size=5), st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_text_alone_never_looks_like_a_lost_key(texts, ascii_only, separators) -> None:
    messages = [{"role": "user", "content": text} for text in texts] + [{"role": "assistant", "content": texts[0]}]
    line = json.dumps({"messages": messages}, ensure_ascii=ascii_only, separators=separators).encode()
    row, codes = read_row(line)
    assert not codes
    assert row is not None
    assert json.loads(row.canonical) == {"messages": messages, "item": {}}


@examples(300)
@given(st.lists(TEXT, min_size=1, max_size=4), st.data())
def test_a_key_twice_inside_plain_messages_is_always_seen(texts, data) -> None:
    messages = [[("role", "user"), ("content", text)] for text in texts] + [[("role", "assistant"), ("content", "x")]]
    where = data.draw(st.integers(0, len(messages) - 1))
    key = data.draw(st.sampled_from(["role", "content"]))
    value = data.draw(st.sampled_from(["user", "", ":", "::"]))
    messages[where].insert(data.draw(st.integers(0, 1)), (key, value))
    spell = data.draw(st.sampled_from([(json.dumps("x: y")), r'"x\u003a y"', r'"\u003a\u003A"']))
    parts = (
        "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(text)}" for name, text in message) + "}"
        for message in messages
    )
    line = '{"messages": [' + ", ".join(parts) + "]}"
    line = line.replace('"x"', spell)
    assert found(line.encode()) == {"duplicate_key"}


DIALOGUE = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
HOLDERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "arguments of a call": lambda text: {
        "messages": [DIALOGUE["messages"][0], {"role": "assistant", "tool_calls": [call_of(f'{{"a":{text}}}')]}]
    },
    "arguments encoded twice": lambda text: {
        "messages": [
            DIALOGUE["messages"][0],
            {"role": "assistant", "tool_calls": [call_of(json.dumps(f'{{"a":{text}}}'))]},
        ]
    },
    "a field named arguments": lambda text: {**DIALOGUE, "arguments": text},
    "tools as text": lambda text: {**DIALOGUE, "tools": f'[{{"name": "f", "parameters": {{"a": {text}}}}}]'},
    "a turn with a call": lambda text: {
        "conversations": [
            {"from": "human", "value": "q"},
            {"from": "function_call", "value": f'{{"name": "f", "arguments": {{"a": {text}}}}}'},
        ]
    },
}


def call_of(arguments: str) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("depth", [1, 100, 240, 250, 253, 254, 255, 300, 900, 1023, 1024, 3000])
@pytest.mark.parametrize("ends", ["[]", "{}"])
def test_json_in_a_text_of_a_row_may_nest_as_deep_as_it_likes(holder: str, depth: int, ends: str) -> None:
    opening = "[" if ends == "[]" else '{"a":'
    text = opening * depth + '"mail to a.person@example.com"' + ends[1] * depth
    source = HOLDERS[holder](text)
    row, codes = read_row(json.dumps(source).encode(), detect([source]) or CHAT)
    assert row is not None or codes
    if row is not None:
        findings = Findings(CONTENT_CODES)
        document = ContentScan(findings, Data(personal_data="redact")).read(Place("train", 1), row.document)
        assert b"a.person" not in orjson.dumps(document)
        content_of(row)


@pytest.mark.parametrize("depth", [254, 255])
def test_a_text_is_read_as_deep_as_the_encoder_writes(depth: int) -> None:
    text = "[" * depth + "]" * depth
    if depth == 254:
        assert orjson.dumps(loaded_text(text)) == text.encode()
    else:
        assert loaded_text(text) is None
