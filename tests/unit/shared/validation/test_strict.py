"""What the fast reader says of a line is what the slow and obvious one says."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.domain.blank import is_blank
from shared.validation.rows import read_row

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


@settings(deadline=None, max_examples=500)
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


@settings(deadline=None, max_examples=300)
@given(st.lists(TEXT, min_size=1, max_size=5), st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_text_alone_never_looks_like_a_lost_key(texts, ascii_only, separators) -> None:
    messages = [{"role": "user", "content": text} for text in texts] + [{"role": "assistant", "content": texts[0]}]
    line = json.dumps({"messages": messages}, ensure_ascii=ascii_only, separators=separators).encode()
    row, codes = read_row(line)
    assert not codes
    assert row is not None
    assert json.loads(row.canonical) == {"messages": messages, "item": {}}


@settings(deadline=None, max_examples=300)
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
